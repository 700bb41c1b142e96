"""Every metric of the workers, with unit and meaning: a name that is not here does not exist.

Serving is process.py's.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SIZES: Final = (1, 10, 100, 1_000, 10_000, 50_000, 100_000)

MESSAGES: Final = Counter("axonpush_worker_messages", "messages taken from the broker", ["worker"])
REDELIVERED: Final = Counter("axonpush_worker_redelivered", "messages that had been delivered before", ["worker"])
ROWS: Final = Counter("axonpush_worker_rows", "rows inserted", ["worker"])
OUTCOMES: Final = Counter("axonpush_worker_outcomes", "records that made no row", ["worker", "outcome", "reason"])
DEAD: Final = Counter(
    "axonpush_worker_dead", "messages that died of a fault of ours or the engine's", ["worker", "reason"]
)
# The metric is called after the stream REFUSED.
INVALID_BODIES: Final = Counter("axonpush_worker_refused", "invalid bodies of senders, kept or not", ["worker", "kept"])
DEAD_WAITING: Final = Gauge("axonpush_worker_dead_waiting", "dead messages held until there is room", ["worker"])
DEAD_IN_TABLE: Final = Counter(
    "axonpush_worker_dead_in_table", "dead messages stored in the table because the stream had no room", ["worker"]
)
ORPHANS: Final = Counter("axonpush_worker_orphans", "messages given back because their handling had ended", ["worker"])
DEAD_UNSTORED: Final = Counter("axonpush_worker_dead_unstored", "dead letters the broker did not take yet", ["worker"])
ACKS_LOST: Final = Counter("axonpush_worker_acks_lost", "acknowledgements that could not be sent", ["worker"])
REPLIES_LOST: Final = Counter("axonpush_worker_replies_lost", "counts that could not be sent", ["worker"])
ROW_REPORTS_LOST: Final = Counter("axonpush_worker_row_reports_lost", "counts of rows that no receiver heard")
HELD: Final = Gauge("axonpush_worker_held", "messages taken and not settled yet", ["worker"])
HEARTBEATS: Final = Counter("axonpush_worker_heartbeats", "in_progress signs sent for held messages", ["worker"])
FLUSHES: Final = Counter(
    "axonpush_worker_flushes", "batches handed to the insert, by what filled them", ["worker", "by"]
)
FLUSH_ROWS: Final = Histogram("axonpush_worker_flush_rows", "rows of one batch", ["worker"], buckets=_SIZES)
FAILED_FLUSHES: Final = Counter("axonpush_worker_failed_flushes", "batches given back for a fault of ours", ["worker"])
INSERT_SECONDS: Final = Histogram("axonpush_insert_seconds", "seconds of one insert", ["table"], buckets=_SECONDS)
INSERT_ERRORS: Final = Counter(
    "axonpush_insert_errors", "failed inserts by class and ClickHouse code", ["table", "kind", "code"]
)
INSERTS_HELD: Final = Gauge("axonpush_inserts_held", "1 while inserts into the table wait for ClickHouse", ["table"])
ITEMS: Final = Counter("axonpush_unpack_items", "items published by unpack", ["type"])
PUBLISH_RETRIES: Final = Counter("axonpush_unpack_publish_retries", "items the broker did not take at once")
CLICKHOUSE_REFUSES: Final = Gauge(
    "axonpush_worker_clickhouse_refuses",
    "1 while ClickHouse has not answered since the start, or refuses inserts into the table by our fault",
    ["table"],
)
KNOWN_ARTIFACTS: Final = Gauge("axonpush_known_artifacts", "uploaded artifacts that this process knows")
SYMBOLICATED: Final = Counter(
    "axonpush_symbolicated_events",
    "events with uploaded artifacts, by how many frames were resolved",
    ["frames"],
)
# The metric keeps its name.
MAPS_UNBUILDABLE: Final = Counter("axonpush_maps_refused", "source maps and mappings that cannot be built", ["reason"])
UNBOUND: Final = Gauge("axonpush_worker_unbound", "1 while the worker's durable is missing", ["worker"])
