"""Metrics about streams and durables that the broker does not export itself.

The janitor collects and serves them, because it runs wherever the broker does.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import time
from typing import TYPE_CHECKING, Final

import structlog
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError
from prometheus_client import Gauge

from ops.provisioning.adoption import ALL_STREAMS
from ops.provisioning.desired_state import stored_state
from ops.runtime.failures import Failed, broker_failure
from ops.runtime.stream_state import stream_state, unacknowledged_since
from schemas.subjects import ALL_SOURCES, DEAD, ITEMS, RAW, REFUSED, REPLAY, Source

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js import JetStreamContext

log = structlog.get_logger()

STREAMS: Final = (RAW, ITEMS, DEAD, REFUSED, REPLAY)
BUCKETS: Final = tuple(name for name in ALL_STREAMS if name not in STREAMS)

# The most important metric: it grows with any fault behind the receiver.
OLDEST: Final = Gauge(
    "axonpush_oldest_unacknowledged_seconds", "age of the oldest message a worker has not acknowledged", ["worker"]
)
LAG: Final = Gauge(
    "axonpush_lag_messages", "messages a worker has not acknowledged, including those delivered to it", ["worker"]
)
LISTENERS: Final = Gauge("axonpush_worker_listeners", "waiting pull requests of a worker", ["worker"])
DURABLE_MISSING: Final = Gauge(
    "axonpush_durable_missing", "1 if a worker's durable is missing on the broker", ["worker"]
)
STREAM_MESSAGES: Final = Gauge("axonpush_stream_messages", "messages in a stream", ["stream"])
STREAM_BYTES: Final = Gauge("axonpush_stream_bytes", "bytes in a stream", ["stream"])
STREAM_BUDGET_BYTES: Final = Gauge(
    "axonpush_stream_budget_bytes", "maximum bytes of a stream; 0 = no limit", ["stream"]
)
STREAM_OLDEST: Final = Gauge("axonpush_stream_oldest_seconds", "age of the oldest message in a stream", ["stream"])
STREAM_REPLICAS: Final = Gauge("axonpush_stream_replicas", "configured replicas of a stream", ["stream"])
REPLICAS_WANTED: Final = Gauge(
    "axonpush_replicas_wanted", "replicas that every stream and bucket should have; 0 = nobody has decided"
)
STREAM_REPLICAS_BEHIND: Final = Gauge(
    "axonpush_stream_replicas_behind", "replicas that are offline or behind", ["stream"]
)
# The other metrics keep their last value while the broker does not answer; this one shows since when.
BROKER_SEEN: Final = Gauge("axonpush_broker_seen_timestamp_seconds", "Unix time of the last successful measurement")


async def keep_measuring(client: Client, interval_s: float) -> None:
    """Measures for ever. A broker that does not answer is logged once, and asked again after the pause."""
    last_error = ""
    while True:
        try:
            await measure(client)
            last_error = ""
        except (NatsError, OSError, TimeoutError) as error:
            text = broker_failure(error)
            if text != last_error:
                log.warning("not_measured", error=text)
            last_error = text
        await asyncio.sleep(interval_s)


async def measure(client: Client) -> None:
    """Measures every stream and durable once. Raises NatsError, TimeoutError."""
    js = client.jetstream(timeout=5)
    for name in STREAMS:
        await _measure_stream(client, js, name)
    for name in BUCKETS:
        await _measure_replicas(js, name)
    with contextlib.suppress(Failed):  # an entry of a newer version: the last value stays
        state = await stored_state(js)
        REPLICAS_WANTED.set(state.nats_replicas if state else 0)
    for source in ALL_SOURCES:
        await _measure_worker(js, source)
    BROKER_SEEN.set(time.time())


async def _measure_stream(client: Client, js: JetStreamContext, name: str) -> None:
    state = await stream_state(client, name)
    STREAM_MESSAGES.labels(name).set(state.messages)
    STREAM_BYTES.labels(name).set(state.size_bytes)
    STREAM_BUDGET_BYTES.labels(name).set(max(0, state.max_bytes))
    STREAM_OLDEST.labels(name).set(_age_s(state.first_at))
    await _measure_replicas(js, name)


async def _measure_replicas(js: JetStreamContext, name: str) -> None:
    try:
        info = await js.stream_info(name)
    except NotFoundError:  # a missing bucket; of a missing stream, the caller is told before
        STREAM_REPLICAS.labels(name).set(0)
        return
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
