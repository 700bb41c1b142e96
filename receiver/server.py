"""Starts the receiver, runs it until a signal, and finishes open requests before it stops. One process, one loop."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from contextlib import AsyncExitStack
from typing import Any

import structlog
from nats.aio.client import Client

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
from receiver.admission.quota_exchange import QuotaExchange
from receiver.admission.quotas import Quotas
from receiver.admission.refusals import RefusalCounter
from receiver.admission.registry import Directory, WatchedRegistry
from receiver.app import App
from receiver.delivery.counts import Inbox
from receiver.delivery.idempotency import BucketFirstAnswers
from receiver.delivery.publish import StreamPublisher
from receiver.delivery.storage import Storage
from receiver.settings import ReceiverSettings
from receiver.steps import RequestSteps

PROCESS_NAME = "axonpush-receiver"
BACKLOG = 2048
# Connections, idle ones included: far above what one process serves, below the usual hard limit of open files.
MAX_CONNECTIONS = 8192
GARBAGE_THRESHOLD = 20_000
LAST_ANSWERS_S = 1.0

log = structlog.get_logger()


def main() -> None:
    """The entry of `axonpush receiver` and `python -m receiver`. Exit codes: 0 stopped, 1 failed, 2 bad settings."""
    run_process("receiver", ReceiverSettings, run, lambda settings: {"host": settings.host, "port": settings.port})


async def run(settings: ReceiverSettings) -> None:
    """Startup, serve, shutdown. Returns after SIGTERM or SIGINT; raises OSError when the address cannot be had."""
    stop = stop_event()
    if settings.receiver_metrics_port:
        serve_metrics(settings.receiver_metrics_port, "AXONPUSH_RECEIVER_METRICS_PORT", settings.host)
    port = port_to_listen_on(settings.host, settings.port, "AXONPUSH_HOST", "AXONPUSH_PORT")
    async with AsyncExitStack() as closing:
        steps = await unless_stopped(stop, _open(settings, closing))
        if steps is None:
            return
        app = _app(steps, closing)
        _collect_seldom()
        server = _server(app, settings, port)
        serving = asyncio.create_task(server.serve())
        ready = asyncio.create_task(_announce(steps, settings.host, port))
        closing.push_async_callback(end, ready)
        await until_stopped(stop, serving)
        app.stopping = True
        await end(ready)
        await _drain(server, serving, app, steps, settings.drain_timeout_s)


def _app(steps: RequestSteps, closing: AsyncExitStack) -> App:
    """The application; without AXONPUSH_TRACING_URL nothing of OpenTelemetry is imported."""
    if not steps.settings.tracing_url:
        return App(steps)
    from ops.runtime.tracing import Tracing  # noqa: PLC0415
    from receiver.tracing import TracedApp  # noqa: PLC0415

    traces = Tracing(steps.settings, PROCESS_NAME)
    closing.callback(traces.close)
    return TracedApp(steps, traces)


def _collect_seldom() -> None:
    """Makes garbage collections rare: requests create few cycles (docs/decisions/0027-tricks.md has the numbers)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)


async def _open(settings: ReceiverSettings, closing: AsyncExitStack) -> RequestSteps:
    """Opens what the endpoints need; `closing` closes it in reverse order. Waits for the broker without a limit."""
    client = Client()
    publisher = StreamPublisher(client, settings.publish_timeout_s)
    directory = Directory(settings.unknown_key_ttl_s)
    registry = WatchedRegistry(client, directory=directory, resync_s=settings.registry_resync_s)
    await connect(
        client,
        settings,
        (PROCESS_NAME, "receiver"),
        reconnected=registry.resync,
        disconnected=publisher.connection_lost,
    )
    closing.push_async_callback(close, client)
    inbox = await Inbox.open(client)
    watching = asyncio.create_task(registry.run())
    closing.push_async_callback(end, watching)
    refusals = RefusalCounter(owner_of=registry.owner_of, interval_s=settings.refusals_interval_s)
    closing.push_async_callback(refusals.close, publisher)
    quotas = Quotas(registry.organisation)
    exchange = QuotaExchange(client, quotas)
    await exchange.open()
    storage = Storage()
    for task in (exchange.run(), refusals.run(publisher), storage.run(publisher)):
        closing.push_async_callback(end, asyncio.create_task(task))
    first_answers = BucketFirstAnswers(client, settings.publish_timeout_s)
    steps = RequestSteps(
        settings,
        registry,
        publisher,
        inbox,
        quotas=quotas,
        refusals=refusals,
        first_answers=first_answers,
        storage=storage,
    )
    # The port is not known yet where it is 0: host, process and configured port are enough to find it.
    address = f"{socket.gethostname()}:{settings.port or ''} (process {os.getpid()})"
    exchange.health = lambda: {"address": address, "parts": steps.health()}
    closing.push_async_callback(steps.late_replies.close)
    closing.callback(steps.readers.close)
    return steps


def _server(app: App, settings: ReceiverSettings, port: int) -> Any:
    return http_server(
        app,
        (settings.host, port),
        backlog=BACKLOG,
        max_connections=MAX_CONNECTIONS,
        header_deadline_s=settings.header_deadline_s,
    )


async def _announce(steps: RequestSteps, host: str, port: int) -> None:
    assert isinstance(steps.registry, WatchedRegistry)
    await steps.registry.wait_ready()
    log.info("receiver_ready", url=f"http://{host}:{port}", host=host, port=port)


async def _drain(server: Any, serving: asyncio.Task[None], app: App, steps: RequestSteps, timeout_s: float) -> None:
    """No new connections; open requests get their answers, for at most `timeout_s`.

    Requests that are not done then, and later ones, get 503. Without this the server would answer 500, after which OTLP
    exporters drop their data.
    """
    log.info("receiver_stopping")
    server.stop()
    await asyncio.wait({serving}, timeout=timeout_s)
    if not serving.done():
        app.ending = True
        steps.bodies.limits.deadlines.cut()
        log.warning("receiver_drain_timeout", timeout_s=timeout_s)
        await asyncio.wait({serving}, timeout=LAST_ANSWERS_S)
    log_failure(serving)
    await end(serving)
    log.info("receiver_stopped")
