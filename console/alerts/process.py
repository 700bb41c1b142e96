"""Starts `axonpush alerts`, runs it until a signal, and finishes what it is sending. One process, one loop."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
import uuid
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext
from typing import TYPE_CHECKING, Final

import structlog
from nats.aio.client import Client

from console.access.registry import FollowedRegistry
from console.alerts import health
from console.alerts.bucket import Bucket
from console.alerts.deliver.email import EmailSender
from console.alerts.deliver.sender import DeliverySender, Outbox
from console.alerts.deliver.webhook import HttpSender
from console.alerts.evaluate import Evaluator
from console.alerts.history import History
from console.alerts.leader import Leader
from console.alerts.lease import EvaluationLease
from console.alerts.requests import Requests
from console.alerts.rules.progress import IngestProgress
from console.alerts.rules.source import RuleSource
from console.alerts.secret_sweep import SecretSweep
from console.alerts.settings import AlertsSettings
from console.alerts.states import States
from console.storage.clickhouse import ClickHouse
from ops.runtime.process.run_process import run_process
from ops.runtime.process.serving import close, connect, unless_stopped
from ops.runtime.process.signals import stop_event
from ops.runtime.tasks import end
from schemas.subjects import ALERT_SECRETS_BUCKET

if TYPE_CHECKING:
    from collections.abc import Callable

PROCESS_NAME: Final = "axonpush-alerts"
# This process among all that ever ran.
OWNER: Final = f"{socket.gethostname()} pid {os.getpid()} {uuid.uuid4().hex[:8]}"

log = structlog.get_logger()


def main() -> None:
    """Runs as `axonpush alerts` and `python -m console.alerts`. Exit codes: 0 stopped, 1 failed, 2 bad settings."""
    run_process("alerts", AlertsSettings, run)


async def run(settings: AlertsSettings) -> None:
    """Startup, work, shutdown. Returns after SIGTERM or SIGINT; raises Failed when it cannot listen."""
    stop = stop_event()
    async with AsyncExitStack() as closing:
        leader = await unless_stopped(stop, _open(settings, stop, closing))
        if leader is None:
            return
        log.info("alerts_ready", nats=settings.nats_addresses(), owner=OWNER)
        await leader.run()
        log.info("alerts_stopped")


async def _open(settings: AlertsSettings, stop: asyncio.Event, closing: AsyncExitStack) -> Leader:
    """Opens everything; `closing` closes it in reverse order. Waits for the broker without a limit."""
    client = Client()
    registry = FollowedRegistry(client)
    bucket = Bucket(client)
    lease = EvaluationLease(bucket, OWNER)
    if settings.alerts_port:
        parts = _parts(client, registry, lease)
        server = health.serve(settings.alerts_host, settings.alerts_port, parts)
        closing.callback(server.shutdown)
    await connect(client, settings, (PROCESS_NAME, "alerts"), reconnected=registry.resync)
    closing.push_async_callback(close, client)
    closing.push_async_callback(end, asyncio.create_task(registry.run()))
    clickhouse = ClickHouse(settings)
    closing.push_async_callback(clickhouse.close)
    http = HttpSender(settings, time.time)
    closing.push_async_callback(http.close)
    email = EmailSender(settings)
    closing.callback(email.close)
    await registry.wait_ready()
    senders, traced = (http, email), _tracing(settings, closing)
    return _leader(settings, client, registry, (bucket, lease), clickhouse, senders, stop, traced)


def _leader(  # noqa: PLR0913, PLR0917 (everything that is opened)
    settings: AlertsSettings,
    client: Client,
    registry: FollowedRegistry,
    owned: tuple[Bucket, EvaluationLease],
    clickhouse: ClickHouse,
    senders: tuple[HttpSender, EmailSender],
    stop: asyncio.Event,
    traced: Callable[[str], AbstractContextManager[object]],
) -> Leader:
    bucket, lease = owned
    url, entries = settings.console_url, registry.entries
    source, states = RuleSource(clickhouse), States(bucket, lease, time.time_ns)
    evaluator = Evaluator(settings, clickhouse, entries, source, states, IngestProgress(client), url, time.time)
    secrets = Bucket(client, ALERT_SECRETS_BUCKET)
    outbox = Outbox(secrets, *senders)
    sender = DeliverySender(settings, states, source, outbox, entries, url, time.time_ns, random.random)
    history = History(clickhouse, states, evaluator)
    requests = Requests(source, states, outbox, history, clickhouse, url, time.time_ns)
    sweep = SecretSweep(secrets, bucket, time.monotonic)
    return Leader(settings, client, lease, states, evaluator, sender, history, requests, sweep, stop, traced)


def _parts(client: Client, registry: FollowedRegistry, lease: EvaluationLease) -> health.Health:
    return lambda: {
        "broker": bool(client.is_connected),
        "registry": registry.ready,
        "evaluates": lease.is_held,
    }


def _tracing(settings: AlertsSettings, closing: AsyncExitStack) -> Callable[[str], AbstractContextManager[object]]:
    """A span around a sample of the rounds; without AXONPUSH_TRACING_URL nothing of OpenTelemetry is imported."""
    if not settings.tracing_url:
        return lambda _name: nullcontext()
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    from ops.runtime.tracing import Tracing  # noqa: PLC0415

    traces = Tracing(settings, PROCESS_NAME)
    closing.callback(traces.close)

    def traced(name: str) -> AbstractContextManager[object]:
        return traces.span(name, SpanKind.INTERNAL, {}) if traces.wants({}) else nullcontext()

    return traced
