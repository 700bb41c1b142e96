"""Names on the broker: streams, subjects, durables, buckets. Their configuration lives in ops/streams.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

RAW: Final = "RAW"
ITEMS: Final = "ITEMS"
DEAD: Final = "DEAD"
REGISTRY_BUCKET: Final = "registry"

SENTRY_ENVELOPE: Final = "sentry.envelope"
SENTRY_STORE: Final = "sentry.store"
SENTRY_SECURITY: Final = "sentry.security"
SENTRY_MINIDUMP: Final = "sentry.minidump"
SENTRY_CRON: Final = "sentry.cron"
SENTRY_ATTACHMENT: Final = "sentry.attachment"
OTLP_LOGS: Final = "otlp.logs"
OTLP_TRACES: Final = "otlp.traces"
NATIVE_EVENT: Final = "event"
ROUTES: Final = (
    SENTRY_ENVELOPE,
    SENTRY_STORE,
    SENTRY_SECURITY,
    SENTRY_MINIDUMP,
    SENTRY_CRON,
    SENTRY_ATTACHMENT,
    OTLP_LOGS,
    OTLP_TRACES,
    NATIVE_EVENT,
)


@dataclass(frozen=True, slots=True)
class Source:
    """Where one worker takes its messages: a stream, the subject filter within it, and the durable that remembers."""

    worker: str
    stream: str
    subject: str

    @property
    def durable(self) -> str:
        """The durable's name; the suffix changes only when the meaning of its messages does."""
        return f"{self.worker}-v1"


UNPACK: Final = "unpack"
# The one list of workers. Provisioning, the command line and docker-compose.yml are derived from or checked against it.
SOURCES: Final[dict[str, Source]] = {
    source.worker: source
    for source in (
        Source(UNPACK, RAW, "raw.sentry.>"),
        Source("event", ITEMS, "item.event.*"),
        Source("transaction", ITEMS, "item.transaction.*"),
        Source("span", ITEMS, "item.span.*"),
        Source("log", ITEMS, "item.log.*"),
        Source("check_in", ITEMS, "item.check_in.*"),
        Source("session", ITEMS, "item.session.*"),
        Source("attachment", ITEMS, "item.attachment.*"),
        Source("feedback", ITEMS, "item.feedback.*"),
        Source("trace_metric", ITEMS, "item.trace_metric.*"),
        Source("otlp_log", RAW, f"raw.{OTLP_LOGS}.*"),
        Source("otlp_span", RAW, f"raw.{OTLP_TRACES}.*"),
        Source("dead", DEAD, "dead.>"),
    )
}


def raw(route: str, channel_id: int) -> str:
    """The subject of a body as it came in through `route` (one of ROUTES)."""
    return f"raw.{route}.{channel_id}"


def item(worker: str, channel_id: int) -> str:
    """The subject of one unpacked item."""
    return f"item.{worker}.{channel_id}"


def dead(stage: str, item_type: str, channel_id: int) -> str:
    """The subject of a dead letter; `stage` is the worker that gave up on it."""
    return f"dead.{stage}.{item_type}.{channel_id}"


def route_of(subject: str) -> str:
    """The route in a raw subject: `raw.otlp.logs.7` -> `otlp.logs`."""
    return subject.split(".", 1)[1].rpartition(".")[0]
