"""What the janitor tells Prometheus about a real broker."""

from __future__ import annotations

import asyncio

import pytest
from nats.aio.client import Client
from prometheus_client import REGISTRY

from ops.janitor import broker_metrics
from ops.provisioning.migrate import migrate_broker
from ops.provisioning.streams import MIB, Budgets
from ops.runtime.settings import Settings
from schemas.subjects import ALL_SOURCES, OTLP_LOGS, SOURCES, raw
from tests.brokers import on_broker
from tests.polling import ANSWER_TIMEOUT_S, eventually
from tests.servers import Server

pytestmark = pytest.mark.live

BUDGETS = Budgets(raw_max_bytes=256 * MIB, items_max_bytes=64 * MIB, dead_max_bytes=64 * MIB, artifacts_max_bytes=MIB)


def told(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def test_the_age_of_the_oldest_message_grows_until_it_is_acknowledged(own_nats_server: Server) -> None:
    """Waiting or in a worker's hand; the acknowledgement brings age and lag back to nothing."""
    settings, source = Settings(nats_url=own_nats_server.url), SOURCES["otlp_log"]
    asyncio.run(migrate_broker(settings, BUDGETS, dry_run=False))
    mine = {"worker": "otlp_log"}

    async def work(client: Client) -> None:
        js = client.jetstream(timeout=ANSWER_TIMEOUT_S)
        await js.publish(raw(OTLP_LOGS, 1), b"body")
        await broker_metrics.measure(client)
        first = told("axonpush_oldest_unacknowledged_seconds", **mine)
        assert first is not None
        assert told("axonpush_lag_messages", **mine) == 1
        assert told("axonpush_lag_messages", worker="unpack") == 0
        assert told("axonpush_oldest_unacknowledged_seconds", worker="unpack") == 0
        subscription = await js.pull_subscribe_bind(source.durable, source.stream)
        (message,) = await subscription.fetch(1, timeout=60)
        await broker_metrics.measure(client)
        in_hand = told("axonpush_oldest_unacknowledged_seconds", **mine)
        assert in_hand is not None
        assert in_hand > first
        assert told("axonpush_lag_messages", **mine) == 1
        await message.ack_sync()
        await broker_metrics.measure(client)
        assert told("axonpush_oldest_unacknowledged_seconds", **mine) == 0
        assert told("axonpush_lag_messages", **mine) == 0

    on_broker(settings.nats_url, work)


def test_every_worker_and_every_stream_is_told(own_nats_server: Server) -> None:
    """Those for replays included; a durable that is gone is named."""
    settings = Settings(nats_url=own_nats_server.url)
    asyncio.run(migrate_broker(settings, BUDGETS, dry_run=False))

    async def work(client: Client) -> None:
        js = client.jetstream(timeout=ANSWER_TIMEOUT_S)
        await js.publish(raw(OTLP_LOGS, 1), b"x" * 1000)
        await js.delete_consumer(SOURCES["csp"].stream, SOURCES["csp"].durable)
        await broker_metrics.measure(client)

    on_broker(settings.nats_url, work)
    workers = [source.worker for source in ALL_SOURCES]
    missing = {worker: told("axonpush_durable_missing", worker=worker) for worker in workers}
    assert missing == {worker: float(worker == "csp") for worker in workers}
    assert told("axonpush_stream_messages", stream="RAW") == 1
    assert (told("axonpush_stream_bytes", stream="RAW") or 0) > 1000
    assert told("axonpush_stream_budget_bytes", stream="RAW") == 256 * MIB
    for stream in broker_metrics.STREAMS:
        assert told("axonpush_stream_replicas", stream=stream) == 1
        assert told("axonpush_stream_replicas_behind", stream=stream) == 0
    assert told("axonpush_stream_replicas", stream="KV_registry") == 1
    assert told("axonpush_replicas_wanted") == 1


def test_a_broker_that_is_away_leaves_the_time_it_was_seen(own_nats_server: Server) -> None:
    """The numbers would look fresh; the time does not, and goes on once the broker is back."""
    settings = Settings(nats_url=own_nats_server.url)
    asyncio.run(migrate_broker(settings, BUDGETS, dry_run=False))

    async def work(client: Client) -> None:
        measuring = asyncio.create_task(broker_metrics.keep_measuring(client, 0.05))
        try:
            await _until_seen_after(0)
            own_nats_server.kill()
            await asyncio.to_thread(eventually, lambda: not client.is_connected, "the connection to be lost")
            seen = told("axonpush_broker_seen_timestamp_seconds") or 0
            await asyncio.to_thread(own_nats_server.start)
            await _until_seen_after(seen)
        finally:
            measuring.cancel()

    on_broker(settings.nats_url, work)


async def _until_seen_after(time_s: float) -> None:
    await asyncio.to_thread(
        eventually,
        lambda: (told("axonpush_broker_seen_timestamp_seconds") or 0) > time_s,
        "the broker to be measured",
    )
