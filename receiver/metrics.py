"""Every metric of the receiver, in one list. Names, units and meaning are here; the callers count."""

from __future__ import annotations

from functools import cache
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_LATENCIES_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

REQUESTS: Final = Counter("axonpush_receiver_requests", "answers given", ["route", "status"])
BODY_BYTES: Final = Counter("axonpush_receiver_body_bytes", "bytes of bodies stored, as they came", ["route"])
PUBLISH_SECONDS: Final = Histogram(
    "axonpush_receiver_publish_seconds", "from publish to the broker's ack", buckets=_LATENCIES_S
)
PUBLISH_GROUP: Final = Histogram(
    "axonpush_receiver_publish_group", "bodies stored together, with one fsync", buckets=(1, 2, 5, 10, 20, 50, 100, 200)
)
PUBLISH_FAILURES: Final = Counter("axonpush_receiver_publish_failures", "bodies the broker did not take", ["reason"])
STORES: Final = Gauge(
    "axonpush_receiver_stores", "0 after several bodies in a row that the broker did not store, else 1"
)
DUPLICATES: Final = Counter("axonpush_receiver_duplicates", "bodies the broker had already", ["route"])
IN_FLIGHT_BYTES: Final = Gauge("axonpush_receiver_in_flight_bytes", "bytes of bodies held at this moment")
BUDGET_REFUSED: Final = Counter(
    "axonpush_receiver_budget_refused", "bodies refused because too many bytes are held, by whom", ["held_by"]
)
REFUSALS_EXCEEDED: Final = Counter(
    "axonpush_receiver_refusals_exceeded", "requests answered 429 because too many before them were refused"
)
DRAINED_BYTES: Final = Counter(
    "axonpush_receiver_drained_bytes", "bytes thrown away so that a sender hears why it was refused"
)
READER_RESTARTS: Final = Counter(
    "axonpush_receiver_reader_restarts", "ends of the process that reads large bodies", ["reason"]
)
READER_REFUSED: Final = Counter(
    "axonpush_receiver_reader_refused", "large bodies that could not be read at the moment", ["reason"]
)
COUNTS_SECONDS: Final = Histogram(
    "axonpush_receiver_counts_seconds", "from the broker's ack to the workers' counts", buckets=_LATENCIES_S
)
COUNTS_UNKNOWN: Final = Counter(
    "axonpush_receiver_counts_unknown", "answers given without the workers' counts", ["route", "reason"]
)
REGISTRY_AGE_SECONDS: Final = Gauge("axonpush_receiver_registry_age_seconds", "since the registry was last in step")
REGISTRY_ENTRIES: Final = Gauge("axonpush_receiver_registry_entries", "keys, channels and environments held")
REGISTRY_LOOKUPS: Final = Counter("axonpush_receiver_registry_lookups", "direct look-ups of unknown entries", ["found"])
QUOTA_REFUSED: Final = Counter("axonpush_receiver_quota_refused", "requests answered 429", ["reason"])
QUOTA_STALE: Final = Gauge(
    "axonpush_receiver_quota_stale", "1 while other receivers' counts cannot be heard: quotas count only what came here"
)
QUOTA_STALE_CHECKS: Final = Counter(
    "axonpush_receiver_quota_stale_checks", "requests let in or refused by this receiver's counts alone"
)
QUOTA_REPORTS: Final = Counter("axonpush_receiver_quota_reports", "counts heard from other receivers")
QUOTA_ROWS_REPORTS: Final = Counter("axonpush_receiver_quota_rows_reports", "counts of rows heard from workers")
QUOTA_REPORTS_UNREADABLE: Final = Counter("axonpush_receiver_quota_reports_unreadable", "reports that were no report")
# The reasons are few: status and a word of ours.
REFUSED: Final = Counter("axonpush_receiver_refused", "requests refused, by status and reason", ["reason"])
REFUSALS_LOST: Final = Counter("axonpush_receiver_refusals_lost", "refused requests that no outcome will name")
UNEXPECTED_ERRORS: Final = Counter("axonpush_receiver_unexpected_errors", "bugs: requests answered with a blanket 503")


@cache
def with_labels(counter: Counter, *labels: str | int) -> Counter:
    """The child of a counter for these labels, cached: prometheus_client is slow to find it. Labels are few."""
    return counter.labels(*labels)
