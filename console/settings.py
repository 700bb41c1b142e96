"""Settings of the console. Read once from `AXONPUSH_*`, frozen; every number says why it is what it is."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, Field

from ops.runtime.environment.size_fields import SizeBytes
from ops.runtime.settings import Settings

_SCHEMES: Final = ("http://", "https://")


def _checked_url(url: str) -> str:
    """The URL without a trailing slash. Raises ValueError without http:// or https://."""
    if url and not url.lower().startswith(_SCHEMES):
        raise ValueError("expected http://… or https://…, found another form: write the scheme before the host")
    return url.rstrip("/")


class ConsoleSettings(Settings):
    """What the console adds to the settings of every process."""

    console_host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for every interface")
    console_port: int = Field(8081, ge=0, le=65535, description="port to listen on; 0 = any free port")
    console_url: Annotated[str, AfterValidator(_checked_url)] = Field(
        "", description="address at which tools and people reach the console; in links, and in tokens that are minted"
    )
    console_ingest_url: Annotated[str, AfterValidator(_checked_url)] = Field(
        "", description="address that senders use, in DSNs that the Web API shows; empty = that of the console"
    )
    console_receiver_url: Annotated[str, AfterValidator(_checked_url)] = Field(
        "",
        description="address at which the console itself reaches receivers, for test events; empty = that of senders",
    )
    console_metrics_port: int = Field(0, ge=0, le=65535, description="port of /metrics; 0 = the same port")
    # sentry-cli waits 30 s; a list that takes longer than this is too wide a question.
    console_query_timeout_s: float = Field(15.0, ge=1, le=60, description="longest time of one query in ClickHouse")
    console_query_memory_bytes: SizeBytes = Field(
        1_000_000_000, ge=10_000_000, le=4_000_000_000, description="most memory of one query in ClickHouse"
    )
    console_query_rows: int = Field(200_000_000, ge=1, description="most rows that one query in ClickHouse reads")
    # More wait: two cores do not become faster by more queries.
    console_queries_at_once: int = Field(8, ge=1, le=64, description="queries of one console at once")
    console_body_bytes: SizeBytes = Field(
        2_000_000, ge=1_000, description="largest body of a request that is no upload"
    )
    # Source maps of a large application have 50 MB, compressed; it is unpacked in memory, file by file.
    console_artifact_bytes: SizeBytes = Field(
        268_435_456, ge=1_000_000, le=1_073_741_824, description="largest artifact bundle or debug file"
    )
    # A pipeline makes a few hundred requests; a script that asks more often than that waits.
    console_requests_per_minute: int = Field(
        1_200, ge=0, description="requests a minute of one token; above: 429; 0 = no limit"
    )
    # A working day: who comes back from lunch is still signed in, who comes back tomorrow is not.
    console_session_idle_s: int = Field(
        43_200, ge=300, le=604_800, description="time without a request after which a person has to sign in again"
    )
    console_drain_timeout_s: float = Field(10.0, gt=0, description="longest time for open requests at shutdown")
    # Longer than HAProxy keeps an idle connection, so that HAProxy closes first.
    console_header_deadline_s: float = Field(
        60.0, ge=1, description="longest time for request headers, and between two requests of a connection"
    )
