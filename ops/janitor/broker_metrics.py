"""What the broker knows and cannot say to Prometheus itself: how late every worker is, how full every stream.

Asked for by the janitor, which runs wherever the broker does, and served at its /metrics.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from typing import TYPE_CHECKING, Final

import structlog
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError
from prometheus_client import Gauge

from ops.runtime.stream_state import stream_state, unacknowledged_since
from schemas.subjects import ALL_SOURCES, DEAD, ITEMS, RAW, REFUSED, REPLAY, Source

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js import JetStreamContext

log = structlog.get_logger()

STREAMS: Final = (RAW, ITEMS, DEAD, REFUSED, REPLAY)

# The one number that matters: whatever is wrong behind the receiver, it grows.
OLDEST: Final = Gauge(
    "axonpush_oldest_unacknowledged_seconds", "age of the oldest message a worker has not settled", ["worker"]
)
LAG: Final = Gauge("axonpush_lag_messages", "messages a worker has still to settle, those in hand included", ["worker"])
LISTENERS: Final = Gauge("axonpush_worker_listeners", "requests for messages of a worker that wait", ["worker"])
DURABLE_MISSING: Final = Gauge("axonpush_durable_missing", "1 while the broker has no durable for a worker", ["worker"])
STREAM_MESSAGES: Final = Gauge("axonpush_stream_messages", "messages in a stream", ["stream"])
STREAM_BYTES: Final = Gauge("axonpush_stream_bytes", "bytes in a stream", ["stream"])
STREAM_BUDGET_BYTES: Final = Gauge("axonpush_stream_budget_bytes", "bytes a stream may take; 0 = no limit", ["stream"])
STREAM_OLDEST: Final = Gauge("axonpush_stream_oldest_seconds", "age of the oldest message in a stream", ["stream"])
STREAM_REPLICAS: Final = Gauge("axonpush_stream_replicas", "copies a stream should have", ["stream"])
STREAM_REPLICAS_BEHIND: Final = Gauge("axonpush_stream_replicas_behind", "copies away or out of step", ["stream"])
# The others stand still while the broker cannot be asked; this one says since when.
BROKER_SEEN: Final = Gauge("axonpush_broker_seen_timestamp_seconds", "Unix time at which the broker last told all this")


async def keep_measuring(client: Client, interval_s: float) -> None:
    """Measures for ever; a broker that does not answer is said once, and asked again after the pause."""
    told = ""
    while True:
        try:
            await measure(client)
            told = ""
        except (NatsError, OSError, TimeoutError) as error:
            text = str(error) or type(error).__name__
            if text != told:
                log.warning("not_measured", error=text)
            told = text
        await asyncio.sleep(interval_s)


async def measure(client: Client) -> None:
    """One look at every stream and every durable. Raises NatsError, TimeoutError."""
    js = client.jetstream(timeout=5)
    for name in STREAMS:
        await _measure_stream(client, js, name)
    for source in ALL_SOURCES:
        await _measure_worker(js, source)
    BROKER_SEEN.set(time.time())


async def _measure_stream(client: Client, js: JetStreamContext, name: str) -> None:
    state = await stream_state(client, name)
    STREAM_MESSAGES.labels(name).set(state.messages)
    STREAM_BYTES.labels(name).set(state.size_bytes)
    STREAM_BUDGET_BYTES.labels(name).set(max(0, state.max_bytes))
    STREAM_OLDEST.labels(name).set(_age_s(state.first_at))
    info = await js.stream_info(name)
    peers = (info.cluster.replicas if info.cluster else None) or []
    STREAM_REPLICAS.labels(name).set(info.config.num_replicas or 1)
    STREAM_REPLICAS_BEHIND.labels(name).set(sum(not peer.current or bool(peer.offline) for peer in peers))


async def _measure_worker(js: JetStreamContext, source: Source) -> None:
    try:
        info = await js.consumer_info(source.stream, source.durable)
    except NotFoundError:
        DURABLE_MISSING.labels(source.worker).set(1)
        return
    DURABLE_MISSING.labels(source.worker).set(0)
    LAG.labels(source.worker).set((info.num_pending or 0) + (info.num_ack_pending or 0))
    LISTENERS.labels(source.worker).set(info.num_waiting or 0)
    OLDEST.labels(source.worker).set(_age_s(await unacknowledged_since(js, source, info)))


def _age_s(stored: dt.datetime | None) -> float:
    return max(0.0, (dt.datetime.now(dt.UTC) - stored).total_seconds()) if stored else 0.0
