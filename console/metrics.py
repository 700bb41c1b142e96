"""Every metric of the console, in one list."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_LATENCIES_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

REQUESTS: Final = Counter("axonpush_console_requests", "answers given", ["route", "status"])
REQUEST_SECONDS: Final = Histogram(
    "axonpush_console_request_seconds", "from request to answer", ["route"], buckets=_LATENCIES_S
)
QUERY_SECONDS: Final = Histogram(
    "axonpush_console_query_seconds", "queries in ClickHouse, waiting included", buckets=_LATENCIES_S
)
QUERY_FAILURES: Final = Counter("axonpush_console_query_failures", "queries that ClickHouse did not answer", ["reason"])
REGISTRY_AGE_SECONDS: Final = Gauge("axonpush_console_registry_age_seconds", "since the registry was last in step")
REFUSED_TOKENS: Final = Counter("axonpush_console_refused_tokens", "requests refused by token or scope", ["reason"])
UNEXPECTED_ERRORS: Final = Counter("axonpush_console_unexpected_errors", "bugs: requests answered 500")
