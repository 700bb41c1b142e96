"""An issue-alert or metric-alert rule out of a request: known fields, checked types, bounded sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson

from console.api.errors import ApiError
from console.api.request import text_field
from console.query.conditions import Language, conditions
from console.query.datasets import ERRORS, LOGS, SPANS, Dataset
from console.query.functions import Columns

if TYPE_CHECKING:
    from console.query.conditions import Clock, ProjectNumber

MAX_NAME: Final = 256
MAX_BODY_BYTES: Final = 65_536
MAX_PARTS: Final = 50
_MATCHES: Final = ("all", "any", "none")
# Minutes between two firings of one issue, and of a window, as at Sentry.
_FREQUENCY: Final = (5, 43_200)
_WINDOW: Final = (1, 1_440)
_DATASETS: Final[Mapping[str, Dataset]] = {
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

Document = Mapping[str, Any]


def read_issue_rule(document: Document) -> dict[str, Any]:
    """The rule with every field. Raises ApiError 400."""
    conditions_, actions = _components(document, "conditions"), _components(document, "actions")
    filters = _components(document, "filters")
    if not actions:
        raise ApiError(400, "actions: expected at least one, found none")
    return _bounded(
        {
            "name": _name(document),
            "actionMatch": _choice(document, "actionMatch", _MATCHES, "all"),
            "filterMatch": _choice(document, "filterMatch", _MATCHES, "all"),
            "conditions": conditions_,
            "filters": filters,
            "actions": actions,
            "frequency": _whole(document, "frequency", _FREQUENCY, 30),
            "environment": text_field(document, "environment", 64) or None,
            "owner": text_field(document, "owner", 200) or None,
        }
    )


def read_metric_rule(document: Document, project_number: ProjectNumber, now: Clock) -> dict[str, Any]:
    """The rule with every field; its function and query are ones that can be answered. Raises ApiError 400."""
    dataset = _choice(document, "dataset", tuple(_DATASETS), "events")
    aggregate = text_field(document, "aggregate", 250, "count()")
    query = text_field(document, "query", 4_096)
    language = Language(project_number, now, _DATASETS[dataset].fields, _DATASETS[dataset].refused)
    column = Columns(_DATASETS[dataset], language, 60.0).read(aggregate)
    if not column.is_aggregate:
        raise ApiError(400, f"aggregate: expected a function like count(), found {aggregate[:80]!r}")
    conditions(query, language)
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
            "triggers": _triggers(document),
            "environment": text_field(document, "environment", 64) or None,
            "owner": text_field(document, "owner", 200) or None,
        }
    )


def _triggers(document: Document) -> list[dict[str, Any]]:
    triggers = _components(document, "triggers", needs_id=False)
    if not 1 <= len(triggers) <= len(_LABELS):
        raise ApiError(400, f"triggers: expected 1 to {len(_LABELS)} of them, found {len(triggers)}")
    for index, trigger in enumerate(triggers):
        if trigger.get("label") != _LABELS[index]:
            found = str(trigger.get("label"))[:40]
            raise ApiError(400, f"triggers[{index}].label: expected {_LABELS[index]!r}, found {found!r}")
        _number(trigger, "alertThreshold", f"triggers[{index}].alertThreshold")
        trigger["actions"] = _components(trigger, "actions", f"triggers[{index}].actions", needs_id=False)
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
