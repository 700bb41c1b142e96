"""Settings shared by every process, read once from `AXONPUSH_*` variables, frozen, with secrets masked."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ops.runtime.environment.size_fields import SizeBytes
from ops.runtime.secret_masking import without_secrets

_EXPORTER = "opentelemetry.exporter.otlp.proto.http"


_HTTP_URL: Final = re.compile(r"https?://[^/\s]")
_NATS_URL: Final = re.compile(r"(nats|tls)://[^/\s]")


def _can_trace(url: str) -> str:
    """Fails at the start if tracing is on but cannot work. Raises ValueError."""
    if not url:
        return url
    if not _HTTP_URL.match(url):
        raise ValueError("expected http://… or https://…, found another form")
    try:
        spec = importlib.util.find_spec("opentelemetry.sdk") and importlib.util.find_spec(_EXPORTER)
    except ModuleNotFoundError:
        spec = None
    if not spec:
        raise ValueError("expected the packages of axonpush-ingest[tracing], found them missing: install them")
    return url


def _is_clickhouse_address(url: str) -> str:
    """Without a scheme the client would ask localhost:8123, which may be another system. Raises ValueError."""
    if not _HTTP_URL.match(url.lower()):
        raise ValueError("expected http://… or https://…, found another form: write the scheme before the host")
    return url


def _are_nats_addresses(urls: str) -> str:
    """Raises ValueError."""
    servers = [url.strip().lower() for url in urls.split(",") if url.strip()]
    if not servers or not all(_NATS_URL.match(server) for server in servers):
        raise ValueError("expected nats://… or tls://…, found another form: write the scheme before each host")
    return urls


# Environment variables are text, but Literal[1, 3] accepts only numbers.
Replicas = Annotated[Literal[1, 3, 5], BeforeValidator(lambda value: int(value) if str(value).isdigit() else value)]
TracingUrl = Annotated[str, AfterValidator(_can_trace)]
ClickHouseUrl = Annotated[str, AfterValidator(_is_clickhouse_address)]
NatsUrls = Annotated[str, AfterValidator(_are_nats_addresses)]


class Settings(BaseSettings):
    """Settings of every process, from environment variables `AXONPUSH_*`; read once, frozen, secrets masked."""

    # The value is not shown: it may be an address with a password.
    model_config = SettingsConfigDict(env_prefix="AXONPUSH_", frozen=True, extra="ignore", hide_input_in_errors=True)

    nats_url: NatsUrls = Field("nats://127.0.0.1:4222", description="NATS servers, separated by commas")
    nats_user: str = Field("", description="user name for NATS")
    nats_password: SecretStr = Field(SecretStr(""), description="password for NATS")
    nats_token: SecretStr = Field(SecretStr(""), description="token for NATS, instead of user and password")
    nats_tls_ca: str = Field("", description="file with the CA certificates that verify the NATS servers")
    nats_tls_cert: str = Field("", description="file with this process's client certificate for NATS")
    nats_tls_key: str = Field("", description="file with the private key of that certificate")
    nats_replicas: Replicas = Field(
        1,
        description="replicas of every stream and bucket of a new system; later `axonpush cluster set --replicas`",
    )
    clickhouse_url: ClickHouseUrl = Field("http://127.0.0.1:8123", description="ClickHouse HTTP interface")
    clickhouse_user: str = Field("default", description="user name for ClickHouse")
    clickhouse_password: SecretStr = Field(SecretStr(""), description="password for ClickHouse")
    clickhouse_database: str = Field("axonpush", description="database of the tables and views")
    clickhouse_cluster: str = Field(
        "",
        pattern=r"^[\w.-]*$",
        description="name of the ClickHouse cluster on which `migrate` creates the tables; empty = one server",
    )
    clickhouse_ttl_days: int = Field(
        0,
        ge=0,
        description="ClickHouse deletes rows of a new system at this age; 0 = never; "
        "later `axonpush cluster set --clickhouse-ttl-days`",
    )
    retention_days: int = Field(30, ge=1, description="older timestamps are raised to this limit; nothing is deleted")
    max_body_bytes: SizeBytes = Field(6_000_000, ge=1, description="largest body in bytes, compressed and decompressed")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="lowest level that is logged")
    log_format: Literal["json", "console"] = Field("json", description="`json`: JSON lines; `console`: text for people")
    tracing_url: TracingUrl = Field("", description="OTLP/HTTP address for this system's own traces; empty = off")
    # One request in a hundred shows where time goes and costs little. Only receivers sample; workers follow.
    tracing_sample_ratio: float = Field(0.01, ge=0, le=1, description="fraction of requests that are traced")
    tracing_headers: SecretStr = Field(
        SecretStr(""), description="headers for that address: name=value, separated by commas"
    )

    @model_validator(mode="before")
    @classmethod
    def _user_of_address(cls, values: Any) -> Any:
        """Takes user and password from `http://user:password@host`, as ClickHouse clients do; separate settings win."""
        address = values.get("clickhouse_url") if isinstance(values, dict) else None
        if not isinstance(address, str) or "@" not in (parts := urlsplit(address)).netloc:
            return values
        userinfo, _, host = parts.netloc.rpartition("@")
        user, _, password = userinfo.partition(":")
        named = {"clickhouse_user": unquote(user), "clickhouse_password": unquote(password)}
        return named | values | {"clickhouse_url": parts._replace(netloc=host).geturl()}

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Hides user and password of addresses when settings are printed."""
        for name, value in super().__repr_args__():
            yield name, without_secrets(value) if name and name.endswith("_url") else value

    def clickhouse_interface(self) -> str:
        """`https` or `http`, for clickhouse-connect, which does not take it from the address."""
        return "https" if self.clickhouse_url.lower().startswith("https://") else "http"

    def nats_servers(self) -> list[str]:
        """The servers as a list, for nats-py. A user or token of its own setting replaces those of the addresses."""
        servers = [url.strip() for url in self.nats_url.split(",") if url.strip()]
        if not self.nats_user and not self.nats_token.get_secret_value():
            return servers
        return [urlsplit(url)._replace(netloc=urlsplit(url).netloc.rpartition("@")[2]).geturl() for url in servers]

    def nats_addresses(self) -> str:
        """The servers for logs, without user and password."""
        return ", ".join(url.rpartition("@")[2] for url in self.nats_servers())
