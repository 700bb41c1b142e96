"""Reads what a system without a desired state is now from its streams and tables, so that nothing is lowered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from nats.js.errors import NotFoundError

from ops.provisioning import table_ttl
from ops.provisioning.streams import Budgets, streams
from ops.runtime.failures import Failed
from schemas.subjects import (
    ARTIFACTS_STREAM,
    DEAD,
    IDEMPOTENCY_BUCKET,
    ITEMS,
    PUBLIC_IDEMPOTENCY_BUCKET,
    RAW,
    REFUSED,
    REPLAY,
)

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client as ClickHouseClient
    from nats.js import JetStreamContext
    from nats.js.api import StreamConfig

    from ops.provisioning.cluster_tables import Cluster

STREAM_OF_SIZE: Final = {
    "raw_max_bytes": RAW,
    "items_max_bytes": ITEMS,
    "dead_max_bytes": DEAD,
    "refused_max_bytes": REFUSED,
    "replay_max_bytes": REPLAY,
    "artifacts_max_bytes": ARTIFACTS_STREAM,
}
ALL_STREAMS: Final = tuple(str(stream.name) for stream in streams(Budgets(), 1))


async def stream_configs(js: JetStreamContext) -> dict[str, StreamConfig]:
    """The configuration of each of our streams and buckets that exists, by name. Raises NatsError."""
    configs = {}
    for name in ALL_STREAMS:
        try:
            configs[name] = (await js.stream_info(name)).config
        except NotFoundError:
            continue
    return configs


def found_values(configs: Mapping[str, StreamConfig]) -> dict[str, Any]:
    """The values of a desired state that these streams already have. Missing streams say nothing. Raises Failed."""
    if not configs:
        return {}
    sizes = {size: _size_bytes(configs[name]) for size, name in STREAM_OF_SIZE.items() if name in configs}
    if idempotency := _idempotency_bytes(configs):
        sizes["idempotency_max_bytes"] = idempotency
    replicas = max(config.num_replicas or 1 for config in configs.values())
    # We provision 1, 3 or 5: whoever made streams with 2 or 4 gets no fewer.
    return {**sizes, "nats_replicas": replicas if replicas % 2 else replicas + 1}


def found_ttl_days(client: ClickHouseClient, database: str, cluster: Cluster | None) -> int | None:
    """The longest TTL of the existing tables, 0 if one of them keeps its rows for ever, None without tables."""
    ttls = list(table_ttl.read_ttls(client, database, cluster).values())
    if not ttls:
        return None
    days = [table_ttl.days_of(ttl) for ttl in ttls]
    return 0 if 0 in days else max(days)


def _size_bytes(config: StreamConfig) -> int:
    if not config.max_bytes or config.max_bytes < 0:
        raise Failed(
            f"expected a size limit on stream {config.name}, found none: set one with the program that made it "
            "(`nats stream edit`), then run `axonpush migrate` again"
        )
    return config.max_bytes


def _idempotency_bytes(configs: Mapping[str, StreamConfig]) -> int:
    """The size of both buckets together that gives neither less than it has: three quarters and one quarter."""
    secret, public = (configs.get(f"KV_{name}") for name in (IDEMPOTENCY_BUCKET, PUBLIC_IDEMPOTENCY_BUCKET))
    of_secret = -(-_size_bytes(secret) * 4 // 3) if secret else 0
    return max(of_secret, _size_bytes(public) * 4 if public else 0)
