"""Terms of a search as conditions of SQL. The text is ours; keys of tags and all values are parameters."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from console.query.fields import FIELDS, UNKNOWN_HERE, Field, Kind, field_of
from console.query.terms import HAS, TEXT, Group, Term, parse, query_error, terms_of
from console.storage.clickhouse import Value

LEVELS: Final = ("fatal", "error", "warning", "info", "debug")
STATUSES: Final[Mapping[str, str]] = {
    "unresolved": "status = 'unresolved'",
    "resolved": "status = 'resolved'",
    "archived": "status = 'archived'",
    "ignored": "status = 'archived'",
    "muted": "status = 'archived'",
    "regressed": "is_regressed",
    "unassigned": "true",
    "assigned": "false",
    "for_review": "status = 'unresolved'",
    "new": "status = 'unresolved' AND first_seen > now() - INTERVAL 7 DAY",
}
_LATEST: Final = "(SELECT argMax(release, made_at) FROM release_dates WHERE organisation = {organisation:String})"
_AGE: Final = re.compile(r"(?P<sign>[+-])(?P<number>\d{1,6})(?P<unit>[smhdw])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_NUMBER: Final = re.compile(r"-?\d{1,18}(\.\d{1,9})?")
_USER_KINDS: Final = {"id": "user_id", "email": "user_email", "username": "user_name", "name": "user_name"}
MAX_KEY: Final = 200

Clock = Callable[[], dt.datetime]
# The number of a project by its slug or number; None if there is no such one.
ProjectNumber = Callable[[str], int | None]


@dataclass(slots=True)
class Conditions:
    """Conditions of one search. `of_issue` and `of_event` are SQL; empty ones hold always.

    `needs_events`: the condition of an event uses columns that `error_rows` does not have.
    """

    of_issue: str = ""
    of_event: str = ""
    needs_events: bool = False
    parameters: dict[str, Value] = field(default_factory=dict)


def conditions(text: str, project_number: ProjectNumber, now: Clock) -> Conditions:
    """The conditions of a query. Raises ApiError 400."""
    made = _Writer(project_number, now)
    found = Conditions()
    issue: list[str] = []
    event: list[str] = []
    for part in parse(text).parts:
        terms = list(terms_of(part)) if isinstance(part, Group) else [part]
        kinds = {_is_of_issue(term) for term in terms}
        if len(kinds) > 1:
            raise query_error(
                terms[0].position, "inside brackets and OR either fields of issues or fields of events", "both"
            )
        (issue if kinds == {True} else event).append(made.written(part))
    found.of_issue, found.of_event = " AND ".join(issue), " AND ".join(event)
    found.needs_events, found.parameters = made.needs_events, made.parameters
    return found


def _is_of_issue(term: Term) -> bool:
    known = field_of(term.key)
    return known is not None and known.of_issue


class _Writer:
    """Writes SQL and collects its parameters."""

    def __init__(self, project_number: ProjectNumber, now: Clock) -> None:
        self.parameters: dict[str, Value] = {}
        self.needs_events = False
        self._project_number = project_number
        self._now = now

    def written(self, part: Term | Group) -> str:
        if isinstance(part, Group):
            return "(" + f" {part.kind} ".join(self.written(one) for one in part.parts) + ")"
        sql = self._positive(part)
        return f"NOT ({sql})" if part.negated else f"({sql})"

    def _positive(self, term: Term) -> str:
        if term.key == TEXT:
            return self._text(FIELDS["message"], term, contains=True)
        if term.key == HAS:
            return self._has(term)
        if term.key in UNKNOWN_HERE:
            raise query_error(term.position, "a field that this server has (docs/console.md lists them)", term.key)
        if len(term.key) > MAX_KEY:
            raise query_error(term.position, f"a field or tag of at most {MAX_KEY} characters", term.key)
        known = field_of(term.key)
        if known is None:
            self.needs_events = True
            return self._tag(term)
        self.needs_events |= not (known.of_issue or known.in_errors)
        return self._by_kind(known, term)

    def _by_kind(self, known: Field, term: Term) -> str:
        if known.kind is Kind.NUMBER:
            return self._any(term, lambda value: self._number(known, term, value))
        if known.kind is Kind.TIME:
            return self._any(term, lambda value: self._time(known, term, value))
        if term.operator != "=":
            raise query_error(term.position, f"{term.key}:VALUE without a comparison", f"{term.key}:{term.operator}")
        if known.kind is Kind.STATUS:
            return self._any(term, lambda value: _chosen(term, value, STATUSES))
        if known.kind is Kind.LEVEL:
            return self._any(term, lambda value: self._level(known, term, value))
        if known.kind is Kind.PROJECT:
            return self._any(term, lambda value: f"channel_id = {self._project(term, value)}")
        if known.kind is Kind.USER:
            return self._any(term, self._user)
        if known.kind is Kind.CONSTANT:
            return self._any(term, lambda value: "true" if value == known.column.strip("'") else "false")
        return self._text(known, term, contains=term.key == "message")

    def _any(self, term: Term, written: Callable[[str], str]) -> str:
        return " OR ".join(written(value) for value in term.values)

    def _text(self, known: Field, term: Term, *, contains: bool) -> str:
        self.needs_events |= not (known.of_issue or known.in_errors)
        if term.operator != "=":
            raise query_error(term.position, f"{term.key}:VALUE without a comparison", f"{term.key}:{term.operator}")
        return self._any(term, lambda value: self._compared(known.column, value, contains=contains))

    def _compared(self, column: str, value: str, *, contains: bool = False) -> str:
        if value == "" and not contains:
            return f"{column} = ''"
        if column == "release" and value == "latest":
            return f"release = {_LATEST}"
        if "*" in value:
            pattern = value if not contains else f"*{value}*"
            return f"{column} ILIKE {self._new(_like(pattern))}"
        if contains:
            return f"positionCaseInsensitiveUTF8({column}, {self._new(value)}) > 0"
        return f"{column} = {self._new(value)}"

    def _has(self, term: Term) -> str:
        if term.operator != "=":
            raise query_error(term.position, "has:FIELD without a comparison", f"has:{term.operator}")
        return self._any(term, lambda name: self._has_one(term, name))

    def _has_one(self, term: Term, name: str) -> str:
        known = field_of(name)
        if known is not None and known.of_issue:
            raise query_error(term.position, "has: with a field of events or a tag", name)
        if known is None:
            self.needs_events = True
            return f"{self._attribute(name)} != ''"
        self.needs_events |= not known.in_errors
        return f"toString({known.column}) NOT IN ('', '0')"

    def _tag(self, term: Term) -> str:
        text = self._attribute(term.key)
        if term.operator == "=":
            return self._any(term, lambda value: self._compared(text, value))
        return self._any(term, lambda value: f"toFloat64OrNull({text}) {term.operator} {self._a_number(term, value)}")

    def _attribute(self, name: str) -> str:
        key = self._new(name)
        return (
            f"multiIf(mapContains(attributes_string, {key}), attributes_string[{key}], "
            f"mapContains(attributes_int, {key}), toString(attributes_int[{key}]), "
            f"mapContains(attributes_double, {key}), toString(attributes_double[{key}]), "
            f"mapContains(attributes_bool, {key}), toString(attributes_bool[{key}]), "
            f"resource[{key}])"
        )

    def _number(self, known: Field, term: Term, value: str) -> str:
        return f"{known.column} {term.operator} {self._a_number(term, value)}"

    def _a_number(self, term: Term, value: str) -> str:
        if not _NUMBER.fullmatch(value):
            raise query_error(term.position, f"a number after {term.key}:", value)
        if "." in value:
            return self._new(float(value), "Float64")
        return self._new(int(value), "Int64")

    def _time(self, known: Field, term: Term, value: str) -> str:
        """`-24h` means not older than a day, `+24h` older; a time alone means that day or that second."""
        if age := _AGE.fullmatch(value):
            then = self._now() - dt.timedelta(seconds=int(age["number"]) * _SECONDS[age["unit"]])
            sign = term.operator if term.operator != "=" else (">" if age["sign"] == "-" else "<")
            return f"{known.column} {sign} {self._moment(then)}"
        begin, length = _moment_of(term, value)
        if term.operator != "=":
            return f"{known.column} {term.operator} {self._moment(begin)}"
        return f"{known.column} >= {self._moment(begin)} AND {known.column} < {self._moment(begin + length)}"

    def _moment(self, moment: dt.datetime) -> str:
        text = moment.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        return f"toDateTime64({self._new(text)}, 9, 'UTC')"

    def _level(self, known: Field, term: Term, value: str) -> str:
        lowered = value.lower().replace("warn", "warning").replace("warninging", "warning")
        if lowered not in LEVELS:
            raise query_error(term.position, f"{term.key}: with {Kind.LEVEL.value}", value)
        return f"{known.column} = {self._new(lowered)}"

    def _project(self, term: Term, value: str) -> str:
        number = self._project_number(value)
        if number is None:
            raise query_error(term.position, f"{term.key}: with {Kind.PROJECT.value} of this organisation", value)
        return self._new(number, "UInt64")

    def _user(self, value: str) -> str:
        kind, colon, rest = value.partition(":")
        if colon and kind == "ip":
            return self._compared(FIELDS["user.ip"].column, rest)
        if colon and kind in _USER_KINDS:
            return self._compared(_USER_KINDS[kind], rest)
        return self._compared("user_id", value)

    def _new(self, value: Value, kind: str = "String") -> str:
        name = f"q{len(self.parameters)}"
        self.parameters[name] = value
        return f"{{{name}:{kind}}}"


def _chosen(term: Term, value: str, choices: Mapping[str, str]) -> str:
    sql = choices.get(value.lower())
    if sql is None:
        raise query_error(term.position, f"{term.key}: with one of {', '.join(choices)}", value)
    return sql


def _moment_of(term: Term, value: str) -> tuple[dt.datetime, dt.timedelta]:
    """A time and how long it lasts as a value: a day, or a second."""
    try:
        moment = dt.datetime.fromisoformat(value)
    except ValueError:
        raise query_error(term.position, f"{term.key}: with {Kind.TIME.value}", value) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    if not dt.datetime(1971, 1, 1, tzinfo=dt.UTC) < moment < dt.datetime(2200, 1, 1, tzinfo=dt.UTC):
        raise query_error(term.position, f"{term.key}: with a time of this century", value)
    return moment, dt.timedelta(days=1) if len(value) <= len("2026-01-31") else dt.timedelta(seconds=1)


def _like(value: str) -> str:
    """A pattern of ILIKE in which only `*` is a wildcard."""
    escaped = value.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%")
