"""Stored rules as they are evaluated: typed, each with a sentence for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from console.rules.actions import Action, stored_action
from console.rules.issue_conditions import EVERY_EVENT, Condition, read_condition
from console.rules.issue_filters import Filter, is_filter, read_filter
from console.rules.schedule import Schedule, read_schedule
from console.storage.times import nanoseconds_of

if TYPE_CHECKING:
    from console.storage.clickhouse import Row

ISSUE, METRIC, MONITOR = "issue", "metric", "monitor"
KINDS: Final = (ISSUE, METRIC, MONITOR)
CRITICAL, WARNING = "critical", "warning"


@dataclass(frozen=True, slots=True)
class RuleHead:
    """What all rules have."""

    organisation: str
    rule_id: int
    name: str
    channels: tuple[int, ...]
    environment: str
    actions: tuple[Action, ...]
    # Nothing from before is looked at.
    created_ns: int

    @property
    def key(self) -> tuple[str, int]:
        """The rule among those of all organisations."""
        return self.organisation, self.rule_id


@dataclass(frozen=True, slots=True)
class IssueRule:
    """`all`, `any` or `none` of conditions and of filters; at most once in `frequency_s` for an issue."""

    head: RuleHead
    conditions: tuple[Condition, ...]
    filters: tuple[Filter, ...]
    condition_match: str
    filter_match: str
    frequency_s: int

    @property
    def words(self) -> str:
        """For lists: what it waits for."""
        conditions = _joined([condition.words for condition in self.conditions], self.condition_match)
        filters = _joined([entry.words for entry in self.filters], self.filter_match)
        return f"{conditions}; {filters}" if filters else conditions


@dataclass(frozen=True, slots=True)
class Trigger:
    """A status and the number beyond which a rule has it."""

    label: str
    threshold: float


@dataclass(frozen=True, slots=True)
class MetricRule:
    """`aggregate` of the events of `query` in the last `window_s`. `compared_s`: in percent of so long before."""

    head: RuleHead
    dataset: str
    aggregate: str
    query: str
    window_s: int
    is_below: bool
    triggers: tuple[Trigger, ...]
    resolve_threshold: float | None
    compared_s: int

    @property
    def words(self) -> str:
        """For lists."""
        critical = next(trigger for trigger in self.triggers if trigger.label == CRITICAL)
        where = f" of {self.dataset} with {self.query}" if self.query else f" of {self.dataset}"
        side = "below" if self.is_below else "above"
        percent = f" % of {duration(self.compared_s)} before" if self.compared_s else ""
        return f"{self.aggregate}{where} in {duration(self.window_s)} {side} {critical.threshold:g}{percent}"


@dataclass(frozen=True, slots=True)
class MonitorRule:
    """Runs of one monitor, or of every one (""), that are `on`; after `failures` of them in a row.

    `schedule`, `margin_s` and `runtime_s` say what the check-ins do not; 0 and None leave it to them.
    """

    head: RuleHead
    monitor: str
    on: tuple[str, ...]
    failures: int
    schedule: Schedule | None
    margin_s: int
    runtime_s: int

    @property
    def words(self) -> str:
        """For lists."""
        which = f"the monitor {self.monitor}" if self.monitor else "a monitor"
        times = f" {self.failures} times in a row" if self.failures > 1 else ""
        return f"{which} is {' or '.join(self.on)}{times}"


Rule = IssueRule | MetricRule | MonitorRule


def parsed(row: Row) -> Rule:
    """The rule of a row of `alert_rules`. Raises ApiError 400 if it has parts that are not evaluated."""
    rule = orjson.loads(row["body"])
    kind = str(row["kind"])
    if kind == ISSUE:
        return _issue_rule(row, rule)
    return _metric_rule(row, rule) if kind == METRIC else _monitor_rule(row, rule)


def _head(row: Row, rule: Mapping[str, Any], actions: Sequence[Action]) -> RuleHead:
    return RuleHead(
        str(row["organisation"]),
        int(row["rule_id"]),
        str(row["name"]),
        tuple(int(channel) for channel in row["channels"]),
        str(rule.get("environment") or ""),
        tuple(actions),
        nanoseconds_of(str(row["created_at"])),
    )


def _issue_rule(row: Row, rule: Mapping[str, Any]) -> IssueRule:
    conditions, filters = issue_parts(rule)
    head = _head(row, rule, [stored_action(action) for action in rule["actions"]])
    return IssueRule(head, conditions, filters, rule["actionMatch"], rule["filterMatch"], int(rule["frequency"]) * 60)


def issue_parts(rule: Mapping[str, Any]) -> tuple[tuple[Condition, ...], tuple[Filter, ...]]:
    """Conditions and filters. Without a condition every error counts, as at Sentry. Raises ApiError 400."""
    named = [(part, f"conditions[{index}]") for index, part in enumerate(rule["conditions"])]
    conditions = [read_condition(part, shown) for part, shown in named if not is_filter(part)]
    filters = [read_filter(part, shown) for part, shown in named if is_filter(part)]
    filters += [read_filter(part, f"filters[{index}]") for index, part in enumerate(rule["filters"])]
    return tuple(conditions) or (EVERY_EVENT,), tuple(filters)


def _metric_rule(row: Row, rule: Mapping[str, Any]) -> MetricRule:
    triggers = rule["triggers"]
    actions = [stored_action(action, (trigger["label"],)) for trigger in triggers for action in trigger["actions"]]
    return MetricRule(
        _head(row, rule, actions),
        str(rule["dataset"]),
        str(rule["aggregate"]),
        str(rule["query"]),
        int(rule["timeWindow"]) * 60,
        rule["thresholdType"] == 1,
        tuple(Trigger(str(trigger["label"]), float(trigger["alertThreshold"])) for trigger in triggers),
        None if rule.get("resolveThreshold") is None else float(rule["resolveThreshold"]),
        int(rule.get("comparisonDelta") or 0) * 60,
    )


def _monitor_rule(row: Row, rule: Mapping[str, Any]) -> MonitorRule:
    return MonitorRule(
        _head(row, rule, [stored_action(action) for action in rule["actions"]]),
        str(rule["monitor"]),
        tuple(str(status) for status in rule["on"]),
        int(rule["failures"]),
        read_schedule(rule["schedule"], rule.get("timezone") or "UTC") if rule.get("schedule") else None,
        int(rule.get("checkinMargin") or 0) * 60,
        int(rule.get("maxRuntime") or 0) * 60,
    )


def _joined(words: Sequence[str], match: str) -> str:
    if match == "none" and words:
        return f"none of: {', '.join(words)}"
    return (" and " if match == "all" else " or ").join(words)


def duration(seconds: int) -> str:
    """`5 min`, `1 h`, `2 days`."""
    if seconds % 86_400 == 0 and seconds >= 86_400:
        return f"{seconds // 86_400} day{'s' if seconds > 86_400 else ''}"
    if seconds % 3_600 == 0 and seconds >= 3_600:
        return f"{seconds // 3_600} h"
    return f"{seconds // 60} min" if seconds % 60 == 0 else f"{seconds} s"
