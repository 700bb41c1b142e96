"""A rule out of a request: known fields, checked types, bounded sizes, and only what can be evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson

from console.api.errors import ApiError
from console.api.request import text_field
from console.query.conditions import Language, conditions
from console.query.datasets import ERRORS, LOGS, SPANS, Dataset
from console.query.functions import Columns
from console.rules.issue_filters import EventFilter
from console.rules.parsed import issue_parts
from console.rules.schedule import read_schedule

if TYPE_CHECKING:
    from console.query.conditions import Clock, ProjectNumber
    from console.rules.actions import ActionReader

MAX_NAME: Final = 256
MAX_BODY_BYTES: Final = 65_536
MAX_PARTS: Final = 50
_MATCHES: Final = ("all", "any", "none")
# Minutes between two firings of one issue, and of a window, as at Sentry.
_FREQUENCY: Final = (5, 43_200)
_WINDOW: Final = (1, 1_440)
RULE_DATASETS: Final[Mapping[str, Dataset]] = {
    "events": ERRORS,
    "errors": ERRORS,
    "transactions": SPANS,
    "generic_metrics": SPANS,
    "events_analytics_platform": SPANS,
    "spans": SPANS,
    "logs": LOGS,
}
_LABELS: Final = ("critical", "warning")
# What tools send back of an answer, and what is ours to say.
_OURS: Final = frozenset(
    {"id", "dateCreated", "dateModified", "createdBy", "status", "snooze", "lastTriggered", "expand", "errors", "type"}
    | {"organizationId"}
)
ISSUE_FIELDS: Final = _OURS | {
    *("name", "actionMatch", "filterMatch", "conditions", "filters", "actions", "frequency", "environment", "owner"),
    *("projects", "comparisonType"),
}
METRIC_FIELDS: Final = _OURS | {
    *("name", "aggregate", "dataset", "query", "timeWindow", "thresholdType", "resolveThreshold", "triggers"),
    *("projects", "environment", "owner", "queryType", "eventTypes", "comparisonDelta", "thresholdPeriod"),
    *("description", "detectionType", "sensitivity", "seasonality", "monitorType"),
}
MONITOR_FIELDS: Final = _OURS | {
    *("name", "monitor", "environment", "on", "failures", "schedule", "checkinMargin", "maxRuntime", "timezone"),
    *("actions", "owner", "projects"),
}
MONITOR_STATES: Final = ("missed", "failed", "timeout", "late")
# Minutes: a month.
_MINUTES: Final = (1, 43_200)

Document = Mapping[str, Any]


def read_issue_rule(
    document: Document, actions: ActionReader, project_number: ProjectNumber, now: Clock
) -> dict[str, Any]:
    """The rule with every field; its conditions and filters are ones that are evaluated. Raises ApiError 400."""
    conditions_, filters = _components(document, "conditions"), _components(document, "filters")
    rule = {
        "name": _name(document),
        "actionMatch": _choice(document, "actionMatch", _MATCHES, "all"),
        "filterMatch": _choice(document, "filterMatch", _MATCHES, "all"),
        "conditions": conditions_,
        "filters": filters,
        "actions": _needed_actions(document, actions),
        "frequency": _whole(document, "frequency", _FREQUENCY, 30),
        "environment": text_field(document, "environment", 64) or None,
        "owner": text_field(document, "owner", 200) or None,
    }
    columns = Columns(ERRORS, Language(project_number, now, ERRORS.fields, ERRORS.refused), 60.0)
    for part in issue_parts(rule)[1]:
        if isinstance(part, EventFilter):
            part.sql(columns)
    return _bounded(rule)


def read_monitor_rule(document: Document, actions: ActionReader) -> dict[str, Any]:
    """The rule with every field; its schedule is one that can be computed. Raises ApiError 400."""
    schedule, zone = document.get("schedule"), text_field(document, "timezone", 64) or None
    if schedule is not None:
        if not isinstance(schedule, dict):
            raise ApiError(400, "schedule: expected an object with type and value, found another value")
        read_schedule(schedule, zone or "UTC")
    states = _texts(document, "on") or list(MONITOR_STATES[:3])
    for state in states:
        if state not in MONITOR_STATES:
            raise ApiError(400, f"on: expected some of {', '.join(MONITOR_STATES)}, found {state[:40]!r}")
    return _bounded(
        {
            "name": _name(document),
            "monitor": text_field(document, "monitor", 200),
            "environment": text_field(document, "environment", 64) or None,
            "on": list(dict.fromkeys(states)),
            "failures": _whole(document, "failures", (1, 100), 1),
            "schedule": schedule,
            "checkinMargin": _whole(document, "checkinMargin", _MINUTES, None),
            "maxRuntime": _whole(document, "maxRuntime", _MINUTES, None),
            "timezone": zone,
            "actions": _needed_actions(document, actions),
            "owner": text_field(document, "owner", 200) or None,
        }
    )


def _needed_actions(document: Document, actions: ActionReader) -> list[dict[str, Any]]:
    parts = _components(document, "actions", needs_id=False)
    if not parts:
        raise ApiError(400, "actions: expected at least one, found none")
    return actions.read(parts, "actions")


def read_metric_rule(
    document: Document, actions: ActionReader, project_number: ProjectNumber, now: Clock
) -> dict[str, Any]:
    """The rule with every field; its function and query are ones that can be answered. Raises ApiError 400."""
    dataset = _choice(document, "dataset", tuple(RULE_DATASETS), "events")
    aggregate = text_field(document, "aggregate", 250, "count()")
    query = text_field(document, "query", 4_096)
    language = Language(project_number, now, RULE_DATASETS[dataset].fields, RULE_DATASETS[dataset].refused)
    column = Columns(RULE_DATASETS[dataset], language, 60.0).read(aggregate)
    if not column.is_aggregate:
        raise ApiError(400, f"aggregate: expected a function like count(), found {aggregate[:80]!r}")
    if conditions(query, language).of_issue:
        raise ApiError(400, "query: expected fields of events, found a field of issues")
    return _bounded(
        {
            "name": _name(document),
            "aggregate": aggregate,
            "dataset": dataset,
            "query": query,
            "queryType": document.get("queryType") if isinstance(document.get("queryType"), int) else 0,
            "eventTypes": _texts(document, "eventTypes"),
            "timeWindow": _whole(document, "timeWindow", _WINDOW),
            "thresholdType": _whole(document, "thresholdType", (0, 1), 0),
            "thresholdPeriod": 1,
            "comparisonDelta": _whole(document, "comparisonDelta", (1, 43_200), None),
            "resolveThreshold": _number(document, "resolveThreshold", "resolveThreshold", is_optional=True),
            "triggers": _triggers(document, actions),
            "environment": text_field(document, "environment", 64) or None,
            "owner": text_field(document, "owner", 200) or None,
        }
    )


def _triggers(document: Document, actions: ActionReader) -> list[dict[str, Any]]:
    triggers = _components(document, "triggers", needs_id=False)
    if not 1 <= len(triggers) <= len(_LABELS):
        raise ApiError(400, f"triggers: expected 1 to {len(_LABELS)} of them, found {len(triggers)}")
    for index, trigger in enumerate(triggers):
        if trigger.get("label") != _LABELS[index]:
            label = str(trigger.get("label"))[:40]
            raise ApiError(400, f"triggers[{index}].label: expected {_LABELS[index]!r}, found {label!r}")
        _number(trigger, "alertThreshold", f"triggers[{index}].alertThreshold")
        shown = f"triggers[{index}].actions"
        trigger["actions"] = actions.read(_components(trigger, "actions", shown, needs_id=False), shown)
    return triggers


def _components(document: Document, name: str, shown: str = "", *, needs_id: bool = True) -> list[dict[str, Any]]:
    """Objects that say which condition, filter or action they are."""
    value, shown = document.get(name), shown or name
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > MAX_PARTS:
        raise ApiError(400, f"{shown}: expected a list of at most {MAX_PARTS} objects, found another value")
    for index, part in enumerate(value):
        if not isinstance(part, dict):
            raise ApiError(400, f"{shown}[{index}]: expected an object, found another value")
        if needs_id and not (isinstance(part.get("id"), str) and part["id"]):
            raise ApiError(400, f"{shown}[{index}].id: expected the name of one, as sentry.rules.…, found none")
    return [dict(part) for part in value]


def _name(document: Document) -> str:
    name = text_field(document, "name", MAX_NAME).strip()
    if not name:
        raise ApiError(400, f"name: expected a text of 1 to {MAX_NAME} characters, found an empty one")
    return name


def _choice(document: Document, name: str, choices: tuple[str, ...], default: str) -> str:
    value = document.get(name)
    if value is None:
        return default
    if value not in choices:
        raise ApiError(400, f"{name}: expected one of {', '.join(choices)}, found {str(value)[:40]!r}")
    return str(value)


def _texts(document: Document, name: str) -> list[str]:
    value = document.get(name) or []
    if not isinstance(value, list) or len(value) > MAX_PARTS or not all(isinstance(member, str) for member in value):
        raise ApiError(400, f"{name}: expected a list of at most {MAX_PARTS} texts, found another value")
    return [str(member)[:MAX_NAME] for member in value]


_NEEDED: Final = -1


def _whole(document: Document, name: str, bounds: tuple[int, int], default: int | None = _NEEDED) -> int | None:
    value = document.get(name)
    if value is None and default != _NEEDED:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not bounds[0] <= value <= bounds[1]:
        raise ApiError(400, f"{name}: expected a number from {bounds[0]} to {bounds[1]}, found {str(value)[:40]!r}")
    return int(value)


def _number(document: Document, name: str, shown: str, *, is_optional: bool = False) -> float | None:
    value = document.get(name)
    if value is None and is_optional:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e18:
        raise ApiError(400, f"{shown}: expected a number, found {str(value)[:40]!r}")
    return value


def _bounded(rule: dict[str, Any]) -> dict[str, Any]:
    size = len(orjson.dumps(rule))
    if size > MAX_BODY_BYTES:
        raise ApiError(400, f"body: expected a rule of at most {MAX_BODY_BYTES} bytes, found {size}")
    return rule
