"""Metric rules: which status follows from a number, and what is said about a change. No I/O and no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from console.alerts.state import FIRING, RESOLVED, Firing, RuleState, identity
from console.rules.parsed import CRITICAL, WARNING, MetricRule, duration

if TYPE_CHECKING:
    from console.rules.parsed import Trigger

OK: Final = "ok"
NS: Final = 1_000_000_000
# Seconds between two evaluations: a sixtieth of the window, within these bounds.
_STEPS_S: Final = (10.0, 300.0)


def step_s(rule: MetricRule) -> float:
    """How often the number is asked for: a longer window changes more slowly and costs more."""
    return min(max(rule.window_s / 60, _STEPS_S[0]), _STEPS_S[1])


def next_status(rule: MetricRule, status: str, value: float | None) -> str:
    """The status after a number. Without one nothing changes."""
    if value is None:
        return status
    reached = next((entry.label for entry in _by_severity(rule) if _is_beyond(rule, value, entry.threshold)), "")
    if reached:
        return reached
    if status == OK or _is_resolved(rule, value):
        return OK
    # Neither beyond a threshold nor back behind the one that resolves.
    labels = {entry.label for entry in rule.triggers}
    return WARNING if WARNING in labels else status


def evaluate(rule: MetricRule, state: RuleState, value: float | None, end_ns: int) -> Firing | None:
    """The firing of a change of status; `state` has the new one."""
    before, after = state.status, next_status(rule, state.status, value)
    state.value, state.evaluated_ns = value, end_ns
    if after == before:
        return None
    state.status, state.since_ns = after, end_ns
    state.transitions += 1
    return _firing(rule, state, before, value, end_ns)


def told_labels(before: str, after: str) -> tuple[str, ...]:
    """Whose actions a change concerns: the trigger that is reached, and the one that is left."""
    if after == OK:
        return (CRITICAL, WARNING)
    return (after,) if before == OK or after == CRITICAL else (before, after)


def _firing(rule: MetricRule, state: RuleState, before: str, value: float | None, end_ns: int) -> Firing:
    head, after = rule.head, state.status
    is_over = after == OK
    side = "below" if rule.is_below else "above"
    number = "no number" if value is None else f"{value:g}"
    percent = f" % of {duration(rule.compared_s)} before" if rule.compared_s else ""
    shown = f"{rule.aggregate} was {number}{percent} in the last {duration(rule.window_s)}"
    limits = ", ".join(f"{entry.label} {side} {entry.threshold:g}" for entry in rule.triggers)
    where = f" with {rule.query}" if rule.query else ""
    return Firing(
        identity(*head.key, "metric", state.transitions, after),
        end_ns,
        RESOLVED if is_over else FIRING,
        before if is_over else after,
        "metric",
        head.channels[0] if head.channels else 0,
        f"{head.name}: {'resolved' if is_over else after}",
        f"{shown} ({rule.dataset}{where}); {limits}",
        f"/organizations/{head.organisation}/alerts/{head.rule_id}/",
        value,
        {
            "metric": {
                "aggregate": rule.aggregate,
                "dataset": rule.dataset,
                "query": rule.query,
                "windowSeconds": rule.window_s,
                "value": value,
                "before": before,
                "after": after,
                "thresholds": {entry.label: entry.threshold for entry in rule.triggers},
            }
        },
    )


def _by_severity(rule: MetricRule) -> list[Trigger]:
    return sorted(rule.triggers, key=lambda entry: entry.label != CRITICAL)


def _is_beyond(rule: MetricRule, value: float, threshold: float) -> bool:
    return value < threshold if rule.is_below else value > threshold


def _is_resolved(rule: MetricRule, value: float) -> bool:
    """At the threshold that resolves it is resolved; without one, where no trigger is reached."""
    if rule.resolve_threshold is None:
        return True
    return value >= rule.resolve_threshold if rule.is_below else value <= rule.resolve_threshold
