"""What a sender needs: the DSN for Sentry SDKs and the variables of OpenTelemetry exporters, ready to paste."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

# Stands where the address would, if nobody has told it.
UNKNOWN_URL: Final = "https://YOUR-HOST"


@dataclass(frozen=True, slots=True)
class SenderSettings:
    """One key and one channel at one address. It holds a key in clear text: never log it."""

    url: str
    key: str
    channel: int

    @property
    def dsn(self) -> str:
        """`https://key@host/channel`; a path prefix of the address stays before the channel."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{self.key}@{parts.netloc}{parts.path.rstrip('/')}/{self.channel}"

    @property
    def otlp_headers(self) -> str:
        """The value of OTEL_EXPORTER_OTLP_HEADERS."""
        return f"x-api-key={self.key},x-axonpush-channel={self.channel}"

    def sentry_lines(self) -> list[str]:
        """For Sentry SDKs."""
        return [f"export SENTRY_DSN={self.dsn}"]

    def otlp_lines(self) -> list[str]:
        """For OpenTelemetry exporters."""
        return [
            f"export OTEL_EXPORTER_OTLP_ENDPOINT={self.url.rstrip('/')}",
            "export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
            f"export OTEL_EXPORTER_OTLP_HEADERS={self.otlp_headers}",
        ]

    def as_json(self) -> dict[str, str]:
        """For scripts."""
        return {"dsn": self.dsn, "otlp_endpoint": self.url.rstrip("/"), "otlp_headers": self.otlp_headers}
