"""Streams, durables and buckets as data: what the broker must hold.

ops/provisioning/migrate.py makes it so; nothing else does.
"""

from __future__ import annotations

from typing import Final

from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    ReplayPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.subjects import (
    ALL_SOURCES,
    CONTROL_BUCKET,
    DEAD,
    IDEMPOTENCY_BUCKET,
    ITEMS,
    PUBLIC_IDEMPOTENCY_BUCKET,
    RAW,
    REFUSED,
    REFUSED_FIRST_SEQ,
    REGISTRY_BUCKET,
    REPLAY,
)

MIB: Final = 1024**2
GIB: Final = 1024**3

# Long enough for every retry of a sender; the server keeps the ids of this window in memory.
DUPLICATE_WINDOW_S: Final = 120.0
# A worker that dies leaves what it held waiting this long; one that lives says so three times within it.
ACK_WAIT_S: Final = 20.0
# For the whole durable, all its workers together: the default of 1000 starves batches of that size.
MAX_ACK_PENDING: Final = 20_000
# A message that reaches max_deliver is stranded without a trace; workers dead-letter it themselves instead.
MAX_DELIVER_UNLIMITED: Final = -1
UNLIMITED: Final = -1
# Invalid bodies of one key, channel, worker and type: beyond, the oldest of them go.
REFUSED_PER_SUBJECT: Final = 1_000
REGISTRY_MAX_BYTES: Final = 64 * MIB
CONTROL_MAX_BYTES: Final = 8 * MIB
# How long a repeat under the same idempotency key of a native event is known for one.
IDEMPOTENCY_TTL_S: Final = 24 * 3600.0


class Budgets(BaseSettings):
    """Disk each stream may take, in bytes, from `AXONPUSH_*`; a full stream refuses new data and never drops old."""

    model_config = SettingsConfigDict(env_prefix="AXONPUSH_", frozen=True, extra="ignore")

    raw_max_bytes: int = Field(10 * GIB, ge=MIB, description="disk for bodies as they came, the replay log")
    items_max_bytes: int = Field(2 * GIB, ge=MIB, description="disk for unpacked items that wait for a worker")
    dead_max_bytes: int = Field(GIB, ge=MIB, description="disk for dead letters")
    refused_max_bytes: int = Field(128 * MIB, ge=MIB, description="disk for invalid bodies; the oldest go first")
    # A replay waits while it is full: it need not hold more than what workers do in a few seconds.
    replay_max_bytes: int = Field(128 * MIB, ge=MIB, description="disk for messages that are processed again")
    # 50 bytes a key. An organisation may take an eighth of a bucket: 670,000 keys of a day.
    idempotency_max_bytes: int = Field(
        512 * MIB, ge=MIB, description="disk for idempotency keys, a quarter of it for those of public tokens"
    )

    def total_bytes(self) -> int:
        """All streams together, those behind buckets included."""
        dead_bytes = self.dead_max_bytes + self.refused_max_bytes
        streams_bytes = self.raw_max_bytes + self.items_max_bytes + dead_bytes + self.replay_max_bytes
        return streams_bytes + REGISTRY_MAX_BYTES + CONTROL_MAX_BYTES + self.idempotency_max_bytes


def streams(budgets: Budgets, replicas: int) -> list[StreamConfig]:
    """Every stream, the one behind the registry's bucket included, in the order they are made."""
    return [
        _stream(RAW, "raw.>", RetentionPolicy.LIMITS, budgets.raw_max_bytes, replicas),
        _stream(ITEMS, "item.>", RetentionPolicy.WORK_QUEUE, budgets.items_max_bytes, replicas),
        _stream(DEAD, "dead.>", RetentionPolicy.LIMITS, budgets.dead_max_bytes, replicas),
        # Nothing waits for room here, so nobody can hold up others by filling it: neither disk, nor a key's own part.
        _stream(REFUSED, "refused.>", RetentionPolicy.LIMITS, budgets.refused_max_bytes, replicas).evolve(
            discard=DiscardPolicy.OLD, max_msgs_per_subject=REFUSED_PER_SUBJECT, first_seq=REFUSED_FIRST_SEQ
        ),
        _stream(REPLAY, "replay.>", RetentionPolicy.WORK_QUEUE, budgets.replay_max_bytes, replicas),
        _bucket(REGISTRY_BUCKET, REGISTRY_MAX_BYTES, replicas),
        _bucket(CONTROL_BUCKET, CONTROL_MAX_BYTES, replicas),
        _forgetful(IDEMPOTENCY_BUCKET, budgets.idempotency_max_bytes * 3 // 4, replicas),
        _forgetful(PUBLIC_IDEMPOTENCY_BUCKET, budgets.idempotency_max_bytes // 4, replicas),
    ]


def consumers() -> dict[str, list[ConsumerConfig]]:
    """Every durable by its stream: one for each worker in schemas.subjects.SOURCES, one more for its replayed ones."""
    found: dict[str, list[ConsumerConfig]] = {}
    for source in ALL_SOURCES:
        found.setdefault(source.stream, []).append(_consumer(source.durable, source.subject))
    return found


def _stream(name: str, subject: str, retention: RetentionPolicy, max_bytes: int, replicas: int) -> StreamConfig:
    # Limits that we leave open are named too: what is not named here is not compared with the server.
    return StreamConfig(
        name=name,
        subjects=[subject],
        retention=retention,
        discard=DiscardPolicy.NEW,
        storage=StorageType.FILE,
        max_bytes=max_bytes,
        max_age=0,
        max_msgs=UNLIMITED,
        max_consumers=UNLIMITED,
        max_msgs_per_subject=UNLIMITED,
        max_msg_size=UNLIMITED,
        num_replicas=replicas,
        duplicate_window=DUPLICATE_WINDOW_S,
        allow_direct=True,
        # One batch of concurrent requests is one fsync (ADR-50, atomic batch publish).
        allow_atomic=True,
        # A work queue deletes what is acknowledged. Raw bodies stay until the janitor purges behind all workers; a dead
        # letter stays until a person retries or drops that one.
        deny_delete=name == RAW,
        deny_purge=False,
        no_ack=False,
    )


def _bucket(name: str, max_bytes: int, replicas: int) -> StreamConfig:
    """The stream of a key-value bucket, with the shape ADR-8 asks for and a history of one."""
    return StreamConfig(
        name=f"KV_{name}",
        subjects=[f"$KV.{name}.>"],
        retention=RetentionPolicy.LIMITS,
        discard=DiscardPolicy.NEW,
        storage=StorageType.FILE,
        max_bytes=max_bytes,
        max_age=0,
        max_msgs=UNLIMITED,
        max_consumers=UNLIMITED,
        max_msgs_per_subject=1,
        max_msg_size=UNLIMITED,
        num_replicas=replicas,
        duplicate_window=DUPLICATE_WINDOW_S,
        allow_direct=True,
        allow_rollup_hdrs=True,
        allow_msg_ttl=True,
        deny_delete=True,
        deny_purge=False,
        no_ack=False,
    )


def _forgetful(name: str, max_bytes: int, replicas: int) -> StreamConfig:
    """A bucket that forgets: losing the oldest entry early may double one event, refusing new ones is an outage.

    Without rollups, no single message can empty it.
    """
    return _bucket(name, max_bytes, replicas).evolve(
        max_age=IDEMPOTENCY_TTL_S, discard=DiscardPolicy.OLD, allow_rollup_hdrs=False
    )


def _consumer(durable: str, subject: str) -> ConsumerConfig:
    return ConsumerConfig(
        durable_name=durable,
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ACK_WAIT_S,
        max_deliver=MAX_DELIVER_UNLIMITED,
        filter_subject=subject,
        replay_policy=ReplayPolicy.INSTANT,
        max_ack_pending=MAX_ACK_PENDING,
    )
