"""Settings that every process shares, from `AXONPUSH_*`: read once, frozen, secrets masked. Nothing is opened here."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ops.runtime.secret_masking import without_secrets

_EXPORTER = "opentelemetry.exporter.otlp.proto.http"


_HTTP_URL: Final = re.compile(r"https?://[^/\s]")


def _can_trace(url: str) -> str:
    """A process that was told to trace and cannot says so at its start. Raises ValueError."""
    if not url:
        return url
    if not _HTTP_URL.match(url):
        raise ValueError("expected http://… or https://…, found another form")
    try:
        found = importlib.util.find_spec("opentelemetry.sdk") and importlib.util.find_spec(_EXPORTER)
    except ModuleNotFoundError:
        found = None
    if not found:
        raise ValueError("expected the packages of axonpush-ingest[tracing], found them missing: install them")
    return url


# Environment variables are text, and a Literal of numbers takes numbers only.
Replicas = Annotated[Literal[1, 3, 5], BeforeValidator(lambda value: int(value) if str(value).isdigit() else value)]
TracingUrl = Annotated[str, AfterValidator(_can_trace)]


class Settings(BaseSettings):
    """Settings of every process, from environment variables `AXONPUSH_*`; read once, frozen, secrets masked."""

    # What was found is not told: it may be an address with a password in it.
    model_config = SettingsConfigDict(env_prefix="AXONPUSH_", frozen=True, extra="ignore", hide_input_in_errors=True)

    nats_url: str = Field("nats://127.0.0.1:4222", description="NATS servers, separated by commas")
    nats_user: str = Field("", description="user name for NATS")
    nats_password: SecretStr = Field(SecretStr(""), description="password for NATS")
    nats_token: SecretStr = Field(SecretStr(""), description="token for NATS, in place of user and password")
    nats_tls_ca: str = Field("", description="file with the authorities that NATS servers' certificates are checked by")
    nats_tls_cert: str = Field("", description="file with the certificate this process shows to NATS")
    nats_tls_key: str = Field("", description="file with the key of that certificate")
    nats_replicas: Replicas = Field(1, description="replicas of every stream and bucket")
    clickhouse_url: str = Field("http://127.0.0.1:8123", description="ClickHouse HTTP interface")
    clickhouse_user: str = Field("default", description="user name for ClickHouse")
    clickhouse_password: SecretStr = Field(SecretStr(""), description="password for ClickHouse")
    clickhouse_database: str = Field("axonpush", description="database of the tables and views")
    clickhouse_cluster: str = Field(
        "", pattern=r"^[\w.-]*$", description="ClickHouse cluster migrate makes the tables on; empty = one server"
    )
    clickhouse_ttl_days: int = Field(0, ge=0, description="migrate has rows deleted at this age; 0 = never")
    retention_days: int = Field(30, ge=1, description="older timestamps are moved to this many days before arrival")
    max_body_bytes: int = Field(6_000_000, ge=1, description="largest body, on the wire and inflated")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level that is logged")
    log_format: Literal["json", "console"] = Field("json", description="one JSON object a line, or text for people")
    tracing_url: TracingUrl = Field("", description="OTLP/HTTP address to send traces of ourselves to; empty = off")
    # One request in a hundred: enough to see where time goes, too little to be felt. Only receivers decide.
    tracing_sample_ratio: float = Field(0.01, ge=0, le=1, description="share of requests that are traced")
    tracing_headers: SecretStr = Field(SecretStr(""), description="headers for that address: name=value, with commas")

    @model_validator(mode="before")
    @classmethod
    def _user_of_address(cls, values: Any) -> Any:
        """`http://user:password@host` names the user as ClickHouse's own clients take it; other settings come first."""
        address = values.get("clickhouse_url") if isinstance(values, dict) else None
        if not isinstance(address, str) or "@" not in (parts := urlsplit(address)).netloc:
            return values
        userinfo, _, host = parts.netloc.rpartition("@")
        user, _, password = userinfo.partition(":")
        named = {"clickhouse_user": unquote(user), "clickhouse_password": unquote(password)}
        return named | values | {"clickhouse_url": parts._replace(netloc=host).geturl()}

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """For print-outs: an address may have user and password in front of its host."""
        for name, value in super().__repr_args__():
            yield name, without_secrets(value) if name and name.endswith("_url") else value

    def nats_servers(self) -> list[str]:
        """The servers as nats-py wants them."""
        return [url.strip() for url in self.nats_url.split(",") if url.strip()]

    def nats_addresses(self) -> str:
        """The servers for logs: without the user and password that may stand in an address."""
        return ", ".join(url.rpartition("@")[2] for url in self.nats_servers())
