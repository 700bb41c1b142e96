"""The streams, durables and buckets that the broker must have, as data. Only migrate.py creates them."""

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

from ops.runtime.environment.size_fields import SizeBytes
from schemas.identifiers import SYSTEM_METADATA
from schemas.registry import DesiredState
from schemas.subjects import (
    ALERT_SECRETS_BUCKET,
    ALERTS_BUCKET,
    ALL_SOURCES,
    ARTIFACTS_BUCKET,
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

# Deduplication window: longer than any sender retries. The server keeps the message ids of this window in memory.
DUPLICATE_WINDOW_S: Final = 120.0
# The messages of a dead worker are redelivered after this time. A live worker extends it three times within it.
ACK_WAIT_S: Final = 20.0
# Per durable, for all its workers together: the default of 1000 is too low for batches of our size.
MAX_ACK_PENDING: Final = 20_000
# The broker silently stops delivering a message that reaches max_deliver; our workers dead-letter it before.
MAX_DELIVER_UNLIMITED: Final = -1
UNLIMITED: Final = -1
# Maximum invalid bodies per key, channel, worker and type; the oldest are discarded.
REFUSED_PER_SUBJECT: Final = 1_000
REGISTRY_MAX_BYTES: Final = 64 * MIB
CONTROL_MAX_BYTES: Final = 8 * MIB
# Of each rule: how far it came, and messages that wait. console/alerts/limits/bounds.py keeps messages below the
# half, so that the lease and 20,000 rules have room.
ALERTS_MAX_BYTES: Final = 16 * MIB
# 20,000 addresses of webhooks of a usual length, or 3,500 of the longest; an organisation has 1,500 at most.
ALERT_SECRETS_MAX_BYTES: Final = 8 * MIB
# How long an idempotency key of a native event is remembered.
IDEMPOTENCY_TTL_S: Final = 24 * 3600.0


class Budgets(BaseSettings):
    """Disk limit of each stream of a new system, from `AXONPUSH_*`; later the desired state has them.

    A full stream refuses new data and keeps old data.
    """

    model_config = SettingsConfigDict(env_prefix="AXONPUSH_", frozen=True, extra="ignore")

    raw_max_bytes: SizeBytes = Field(
        10 * GIB, ge=MIB, description="disk for bodies as received (stream RAW, used by replays)"
    )
    items_max_bytes: SizeBytes = Field(2 * GIB, ge=MIB, description="disk for unpacked items that wait for a worker")
    dead_max_bytes: SizeBytes = Field(GIB, ge=MIB, description="disk for dead letters")
    refused_max_bytes: SizeBytes = Field(
        128 * MIB, ge=MIB, description="disk for invalid bodies; the oldest are discarded first"
    )
    # A replay waits while this stream is full, so it needs room for a few seconds of work only.
    replay_max_bytes: SizeBytes = Field(128 * MIB, ge=MIB, description="disk for messages that are processed again")
    # 50 bytes per key. One organisation may use an eighth of a bucket: 670,000 keys a day.
    idempotency_max_bytes: SizeBytes = Field(
        512 * MIB, ge=MIB, description="disk for idempotency keys; a quarter of it is for public tokens"
    )
    # A release of a web application has 5 to 50 MB of source maps, compressed.
    artifacts_max_bytes: SizeBytes = Field(GIB, ge=MIB, description="disk for uploaded source maps and mappings")

    def total_bytes(self) -> int:
        """The limits of all streams together, including those of buckets."""
        dead_bytes = self.dead_max_bytes + self.refused_max_bytes
        streams_bytes = self.raw_max_bytes + self.items_max_bytes + dead_bytes + self.replay_max_bytes
        own_bytes = REGISTRY_MAX_BYTES + CONTROL_MAX_BYTES + ALERTS_MAX_BYTES + ALERT_SECRETS_MAX_BYTES
        buckets_bytes = own_bytes + self.idempotency_max_bytes + self.artifacts_max_bytes
        return streams_bytes + buckets_bytes


def streams(budgets: Budgets | DesiredState, replicas: int) -> list[StreamConfig]:
    """Every stream, including those of buckets, in the order of creation."""
    return [
        _stream(RAW, "raw.>", RetentionPolicy.LIMITS, budgets.raw_max_bytes, replicas),
        _stream(ITEMS, "item.>", RetentionPolicy.WORK_QUEUE, budgets.items_max_bytes, replicas),
        _stream(DEAD, "dead.>", RetentionPolicy.LIMITS, budgets.dead_max_bytes, replicas),
        # REFUSED discards old messages, also per subject, so no sender can block others by filling it.
        _stream(REFUSED, "refused.>", RetentionPolicy.LIMITS, budgets.refused_max_bytes, replicas).evolve(
            discard=DiscardPolicy.OLD, max_msgs_per_subject=REFUSED_PER_SUBJECT, first_seq=REFUSED_FIRST_SEQ
        ),
        _stream(REPLAY, "replay.>", RetentionPolicy.WORK_QUEUE, budgets.replay_max_bytes, replicas),
        _bucket(REGISTRY_BUCKET, REGISTRY_MAX_BYTES, replicas),
        _bucket(CONTROL_BUCKET, CONTROL_MAX_BYTES, replicas),
        # Rollups are off: a console writes secrets, and no message of it can empty the bucket.
        _bucket(ALERTS_BUCKET, ALERTS_MAX_BYTES, replicas).evolve(allow_rollup_hdrs=False),
        _bucket(ALERT_SECRETS_BUCKET, ALERT_SECRETS_MAX_BYTES, replicas).evolve(allow_rollup_hdrs=False),
        _forgetful(IDEMPOTENCY_BUCKET, budgets.idempotency_max_bytes * 3 // 4, replicas),
        _forgetful(PUBLIC_IDEMPOTENCY_BUCKET, budgets.idempotency_max_bytes // 4, replicas),
        _object_store(ARTIFACTS_BUCKET, budgets.artifacts_max_bytes, replicas),
    ]


def consumers(system_id: str = "") -> dict[str, list[ConsumerConfig]]:
    """Every durable by stream: two per worker in schemas.subjects.SOURCES, for live and for replayed messages.

    `system_id` is kept in their metadata, where workers may read it.
    """
    by_stream: dict[str, list[ConsumerConfig]] = {}
    for source in ALL_SOURCES:
        config = _consumer(source.durable, source.subject)
        if system_id:
            config = config.evolve(metadata={SYSTEM_METADATA: system_id})
        by_stream.setdefault(source.stream, []).append(config)
    return by_stream


def _stream(name: str, subject: str, retention: RetentionPolicy, max_bytes: int, replicas: int) -> StreamConfig:
    # Open limits are set explicitly: migrate compares only fields that are set here.
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
        # Atomic batch publish (ADR-50): concurrent requests share one fsync.
        allow_atomic=True,
        # A work queue deletes acknowledged messages. RAW keeps bodies until the janitor purges them; DEAD keeps dead
        # letters until someone retries or drops them.
        deny_delete=name == RAW,
        deny_purge=False,
        no_ack=False,
    )


def _bucket(name: str, max_bytes: int, replicas: int) -> StreamConfig:
    """The stream of a key-value bucket, as ADR-8 defines it, with a history of one."""
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


def _object_store(name: str, max_bytes: int, replicas: int) -> StreamConfig:
    """The stream of an object store, as ADR-20 defines it. A full one refuses uploads and keeps what it has."""
    return _bucket(name, max_bytes, replicas).evolve(
        name=f"OBJ_{name}",
        subjects=[f"$O.{name}.C.>", f"$O.{name}.M.>"],
        max_msgs_per_subject=UNLIMITED,
        allow_msg_ttl=False,
        deny_delete=False,
    )


def _forgetful(name: str, max_bytes: int, replicas: int) -> StreamConfig:
    """A bucket that discards its oldest entries when full: that may double an event, but refusing entries would be an
    outage.

    Rollups are off, so that no single message can empty it.
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
