"""Filters of an issue alert as Sentry names them, and one of ours: of the error that came in, or of its issue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from console.api.errors import ApiError
from console.query.conditions import conditions
from console.query.fields import LEVEL_OF, UNKNOWN_HERE
from console.rules.issue_conditions import found_name, read_choice, read_number
from console.storage.times import seconds_of

if TYPE_CHECKING:
    from console.query.functions import Columns
    from console.storage.clickhouse import Row

_FIRST: Final = "sentry.rules.filters."
QUERY_FILTER: Final = "axonpush.filters.query"
_LEVELS: Final[Mapping[str, str]] = {"50": "fatal", "40": "error", "30": "warning", "20": "info", "10": "debug"}
_TIMES_S: Final[Mapping[str, int]] = {"minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800}
# As Sentry names attributes; here they have the names of searches.
_ATTRIBUTES: Final[Mapping[str, str]] = {
    "message": "message", "platform": "platform", "environment": "environment", "type": "event.type",
    "exception.type": "error.type", "exception.value": "error.value", "user.id": "user.id",
    "user.email": "user.email", "user.username": "user.username", "user.ip_address": "user.ip",
    "http.method": "http.method", "http.url": "http.url", "http.status_code": "http.status_code",
    "sdk.name": "sdk.name",
}  # fmt: skip
# {}: the text of the event, in lower case; []: the value.
_MATCHES: Final[Mapping[str, tuple[str, str]]] = {
    "eq": ("is", "{0} = {1}"),
    "ne": ("is not", "{0} != {1}"),
    "sw": ("starts with", "startsWith({0}, {1})"),
    "nsw": ("does not start with", "NOT startsWith({0}, {1})"),
    "ew": ("ends with", "endsWith({0}, {1})"),
    "new": ("does not end with", "NOT endsWith({0}, {1})"),
    "co": ("contains", "position({0}, {1}) > 0"),
    "nc": ("does not contain", "position({0}, {1}) = 0"),
    "is": ("is set", "{0} != ''"),
    "ns": ("is not set", "{0} = ''"),
}
MAX_TEXT: Final = 250


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Of the error: `sql` makes the condition, with its values as parameters."""

    words: str
    sql: Callable[[Columns], str]


@dataclass(frozen=True, slots=True)
class IssueFilter:
    """Of the issue as the view `issues` has it, at a time in seconds."""

    words: str
    holds: Callable[[Row, float], bool]


Filter = EventFilter | IssueFilter


def read_filter(part: Mapping[str, Any], shown: str) -> Filter:
    """The filter of an object of a rule. Raises ApiError 400, also for one that is not evaluated."""
    name = str(part.get("id"))
    read = FILTERS.get(name.replace("sentry.rules.conditions.", _FIRST).replace("Condition", "Filter"))
    if read is None:
        raise ApiError(
            400, f"{shown}.id: expected a filter that is evaluated here: {', '.join(FILTERS)}; {found_name(part)}"
        )
    return read(part, shown)


def is_filter(part: Mapping[str, Any]) -> bool:
    """Whether an object among conditions is a filter: old rules have them there."""
    name = str(part.get("id"))
    return name in FILTERS or name.replace("sentry.rules.conditions.", _FIRST).replace("Condition", "Filter") in FILTERS


def _level(part: Mapping[str, Any], shown: str) -> Filter:
    level = str(part.get("level"))
    if level not in _LEVELS:
        raise ApiError(400, f"{shown}.level: expected one of {', '.join(_LEVELS)}, found {level[:40]!r}")
    match = read_choice(part, "match", {"eq": 1, "gte": 1, "lte": 1}, "eq", shown)
    wanted = {"eq": int.__eq__, "gte": int.__ge__, "lte": int.__le__}[match]
    names = [name for number, name in _LEVELS.items() if wanted(int(number), int(level))]
    more = {"eq": "", "gte": " or more severe", "lte": " or less severe"}[match]

    def sql(columns: Columns) -> str:
        return f"{LEVEL_OF} IN {columns.parameters.new(names, 'Array(String)')}"

    return EventFilter(f"level is {_LEVELS[level]}{more}", sql)


def _tag(part: Mapping[str, Any], shown: str) -> Filter:
    return _text_of(_short(part, "key", shown), part, shown)


def _attribute(part: Mapping[str, Any], shown: str) -> Filter:
    name = read_choice(part, "attribute", _ATTRIBUTES, "", shown)
    if not name:
        raise ApiError(400, f"{shown}.attribute: expected one of {', '.join(_ATTRIBUTES)}, found none")
    return _text_of(_ATTRIBUTES[name], part, shown)


def _text_of(key: str, part: Mapping[str, Any], shown: str) -> Filter:
    match = read_choice(part, "match", _MATCHES, "eq", shown)
    needs_value = match not in ("is", "ns")
    value = _short(part, "value", shown).lower() if needs_value else ""
    words, pattern = _MATCHES[match]
    if any(letter in key for letter in "()`|") or key in UNKNOWN_HERE:
        raise ApiError(400, f"{shown}.key: expected the name of a tag or field of errors, found {key[:40]!r}")

    def sql(columns: Columns) -> str:
        text = f"lower(toString({columns.read(key).sql}))"
        return pattern.format(text, columns.parameters.new(value)) if needs_value else pattern.format(text)

    return EventFilter(f"{key} {words}{f' {value}' if needs_value else ''}", sql)


def _query(part: Mapping[str, Any], shown: str) -> Filter:
    query = part.get("query")
    if not isinstance(query, str) or not query.strip() or len(query) > 4_096:
        raise ApiError(400, f"{shown}.query: expected a search of 1 to 4096 characters, found none")

    def sql(columns: Columns) -> str:
        parts = conditions(query, replace(columns.language, function_sql=None))
        if parts.of_issue or not parts.of_event:
            expected = "fields of errors; age_comparison and issue_occurrences are filters of issues"
            raise ApiError(400, f"{shown}.query: expected {expected}, found a field of issues")
        return parts.of_event

    return EventFilter(query.strip(), sql)


def _latest_release(_part: Mapping[str, Any], shown: str) -> Filter:
    return replace(_query({"query": "release:latest"}, shown), words="it is of the latest release")


def _occurrences(part: Mapping[str, Any], shown: str) -> Filter:
    least = read_number(part.get("value"), f"{shown}.value")
    return IssueFilter(f"seen at least {least:g} times", lambda issue, _now_s: int(issue["times"]) >= least)


def _age(part: Mapping[str, Any], shown: str) -> Filter:
    value = read_number(part.get("value"), f"{shown}.value")
    unit = read_choice(part, "time", _TIMES_S, "day", shown)
    kind = read_choice(part, "comparison_type", {"older": 1, "newer": 1}, "older", shown)
    age_s = value * _TIMES_S[unit]

    def holds(issue: Row, now_s: float) -> bool:
        is_older = now_s - seconds_of(str(issue["first_seen"])) > age_s
        return is_older == (kind == "older")

    return IssueFilter(f"{kind} than {value:g} {unit}{'s' if value != 1 else ''}", holds)


def _category(part: Mapping[str, Any], shown: str) -> Filter:
    if str(part.get("value")) != "1":
        raise ApiError(400, f"{shown}.value: expected 1 (errors), found {str(part.get('value'))[:40]!r}")
    return IssueFilter("it is an error", lambda _issue, _now_s: True)


def _short(part: Mapping[str, Any], name: str, shown: str) -> str:
    value = part.get(name)
    text = str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    if not text or len(text) > MAX_TEXT or "\0" in text:
        raise ApiError(400, f"{shown}.{name}: expected a text of 1 to {MAX_TEXT} characters, found {str(value)[:40]!r}")
    return text


FILTERS: Final[Mapping[str, Callable[[Mapping[str, Any], str], Filter]]] = {
    f"{_FIRST}level.LevelFilter": _level,
    f"{_FIRST}tagged_event.TaggedEventFilter": _tag,
    f"{_FIRST}event_attribute.EventAttributeFilter": _attribute,
    f"{_FIRST}issue_occurrences.IssueOccurrencesFilter": _occurrences,
    f"{_FIRST}age_comparison.AgeComparisonFilter": _age,
    f"{_FIRST}latest_release.LatestReleaseFilter": _latest_release,
    f"{_FIRST}issue_category.IssueCategoryFilter": _category,
    QUERY_FILTER: _query,
}
