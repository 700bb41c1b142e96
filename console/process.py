"""Starts the console, runs it until a signal, and finishes open requests before it stops. One process, one loop."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from console.access.registry import FollowedRegistry
from console.access.state import SessionState
from console.app import Traced, make_app
from console.explore.delivery import DeliveryReports
from console.services import Services
from console.settings import ConsoleSettings
from console.storage.alerts_link import BrokerAlertsLink
from console.storage.broker import BrokerEntries, OperatorProcess
from console.storage.clickhouse import ClickHouse
from ops.runtime.artifacts.library import ArtifactLibrary
from ops.runtime.artifacts.object_store import ObjectStore
from ops.runtime.process.run_process import run_process
from ops.runtime.process.serving import (
    close,
    connect,
    http_server,
    log_failure,
    port_to_listen_on,
    unless_stopped,
    until_stopped,
)
from ops.runtime.process.signals import stop_event
from ops.runtime.process.start_errors import serve_metrics
from ops.runtime.tasks import end
from schemas.subjects import ARTIFACTS_BUCKET, CONTROL_BUCKET, REPROCESSING_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp

PROCESS_NAME: Final = "axonpush-console"
BACKLOG: Final = 512
MAX_CONNECTIONS: Final = 1024

log = structlog.get_logger()


def main() -> None:
    """The entry of `axonpush console` and `python -m console`. Exit codes: 0 stopped, 1 failed, 2 bad settings."""
    run_process(
        "console",
        ConsoleSettings,
        run,
        lambda settings: {"host": settings.console_host, "port": settings.console_port},
    )


async def run(settings: ConsoleSettings) -> None:
    """Startup, serve, shutdown. Returns after SIGTERM or SIGINT; raises Failed or OSError when it cannot listen."""
    stop = stop_event()
    if settings.console_metrics_port:
        serve_metrics(settings.console_metrics_port, "AXONPUSH_CONSOLE_METRICS_PORT", settings.console_host)
    port = port_to_listen_on(
        settings.console_host, settings.console_port, "AXONPUSH_CONSOLE_HOST", "AXONPUSH_CONSOLE_PORT"
    )
    async with AsyncExitStack() as closing:
        services = await unless_stopped(stop, _open(settings, port, closing))
        if services is None:
            return
        server = _server(make_app(services, _tracing(settings, closing)), settings, port)
        serving = asyncio.create_task(server.serve())
        log.info("console_ready", url=services.url, host=settings.console_host, port=port)
        await until_stopped(stop, serving)
        services.stopping = True
        await _drain(server, serving, settings.console_drain_timeout_s)


async def _open(settings: ConsoleSettings, port: int, closing: AsyncExitStack) -> Services:
    """Opens what the routes need; `closing` closes it in reverse order. Waits for the broker without a limit."""
    client = Client()
    registry = FollowedRegistry(client)
    await connect(client, settings, (PROCESS_NAME, "console"), reconnected=registry.resync)
    closing.push_async_callback(close, client)
    closing.push_async_callback(end, asyncio.create_task(registry.run()))
    clickhouse = ClickHouse(settings)
    closing.push_async_callback(clickhouse.close)
    url = settings.console_url or f"http://{settings.console_host}:{port}"
    entries = BrokerEntries(client)
    parts = (SessionState(entries), DeliveryReports(entries))
    services = Services(settings, registry, clickhouse, url, lambda: bool(client.is_connected), *parts)
    services.operator = OperatorProcess(client)
    services.artifacts = ArtifactLibrary(ObjectStore(client, ARTIFACTS_BUCKET))
    services.request_reprocessing = partial(_put_control, client)
    services.reprocessing_of = partial(_get_control, client)
    services.alerts = BrokerAlertsLink(client)
    return services


async def _put_control(client: Client, name: str, value: bytes) -> None:
    """Writes an entry of the bucket `control`; only those of late uploads are this user's to write."""
    await client.jetstream().publish(f"$KV.{CONTROL_BUCKET}.{REPROCESSING_PREFIX}{name}", value)


async def _get_control(client: Client, name: str) -> bytes:
    """The same entry, as the janitor has changed it meanwhile."""
    subject = f"$KV.{CONTROL_BUCKET}.{REPROCESSING_PREFIX}{name}"
    try:
        return (await client.jetstream().get_last_msg(f"KV_{CONTROL_BUCKET}", subject, direct=True)).data or b""
    except NotFoundError:
        return b""


def _tracing(settings: ConsoleSettings, closing: AsyncExitStack) -> Traced:
    """Spans of a sample of requests; without AXONPUSH_TRACING_URL nothing of OpenTelemetry is imported."""
    if not settings.tracing_url:
        from contextlib import nullcontext  # noqa: PLC0415

        return lambda _method, _path: nullcontext()
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    from ops.runtime.tracing import Tracing  # noqa: PLC0415

    traces = Tracing(settings, PROCESS_NAME)
    closing.callback(traces.close)

    @contextmanager
    def traced(method: str, path: str) -> Iterator[object]:
        if not traces.wants({}):
            yield None
            return
        attributes = {"http.request.method": method, "http.route": path}
        with traces.span(f"{method} {path}", SpanKind.SERVER, attributes) as span:
            yield span

    return traced


def _server(app: ASGIApp, settings: ConsoleSettings, port: int) -> Any:
    return http_server(
        app,
        (settings.console_host, port),
        backlog=BACKLOG,
        max_connections=MAX_CONNECTIONS,
        header_deadline_s=settings.console_header_deadline_s,
    )


async def _drain(server: Any, serving: asyncio.Task[None], timeout_s: float) -> None:
    """No new connections; open requests get their answers, for at most `timeout_s`."""
    log.info("console_stopping")
    server.stop()
    await asyncio.wait({serving}, timeout=timeout_s)
    if not serving.done():
        log.warning("console_drain_timeout", timeout_s=timeout_s)
    log_failure(serving)
    await end(serving)
    log.info("console_stopped")
