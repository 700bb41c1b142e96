"""Every metric of `axonpush alerts`, in one list; those of its questions are in console/metrics.py."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

LEADER: Final = Gauge("axonpush_alerts_leader", "1 while this process evaluates")
RULES: Final = Gauge("axonpush_alerts_rules", "rules, by kind", ["kind"])
BROKEN_RULES: Final = Gauge("axonpush_alerts_broken_rules", "rules that could not be evaluated in the last round")
ROUND_SECONDS: Final = Histogram(
    "axonpush_alerts_round_seconds",
    "one evaluation of all rules",
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
ROUNDS_FAILED: Final = Counter("axonpush_alerts_rounds_failed", "evaluations that ended early", ["reason"])
LAST_ROUND: Final = Gauge("axonpush_alerts_last_round_timestamp_seconds", "when the last evaluation ended")
BEHIND_SECONDS: Final = Gauge("axonpush_alerts_behind_seconds", "age of the newest complete rows", ["rows"])
SKIPPED_SECONDS: Final = Counter("axonpush_alerts_skipped_seconds", "time that nobody evaluated, after long outages")
FIRINGS: Final = Counter("axonpush_alerts_firings", "firings by kind of rule", ["kind", "status"])
DELIVERIES: Final = Counter("axonpush_alerts_deliveries", "tries to deliver a message", ["type", "result"])
PENDING: Final = Gauge("axonpush_alerts_pending", "messages that wait for a try")
GIVEN_UP: Final = Counter("axonpush_alerts_given_up", "messages that were not sent because too many wait")
