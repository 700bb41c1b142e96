"""Terms of a search as conditions of SQL. The text is ours; keys of tags and all values are parameters."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from console.api.request import EARLIEST
from console.issues.ids import MAX_ID, issue_range
from console.query.fields import FIELDS, LEVEL_OF, TIME_OF_EVENT, UNKNOWN_HERE, Field, Fields, Kind
from console.query.parameters import Parameters
from console.query.terms import HAS, TEXT, Group, Term, parse_query, query_error, terms_of
from console.storage.clickhouse import Value

LEVELS: Final = ("fatal", "error", "warning", "info", "debug")
_ASSIGNED: Final = (
    "SELECT channel_id, issue_id FROM issue_assignments FINAL "
    "WHERE organisation = {organisation:String} AND assigned_to != ''"
)
STATUSES: Final[Mapping[str, str]] = {
    "unresolved": "status = 'unresolved'",
    "resolved": "status = 'resolved'",
    "archived": "status = 'archived'",
    "ignored": "status = 'archived'",
    "muted": "status = 'archived'",
    "regressed": "is_regressed",
    "assigned": f"(channel_id, issue_id) IN ({_ASSIGNED})",
    "unassigned": f"(channel_id, issue_id) NOT IN ({_ASSIGNED})",
    "for_review": "status = 'unresolved'",
    "new": "status = 'unresolved' AND first_seen > now() - INTERVAL 7 DAY",
}
_LATEST: Final = "(SELECT argMax(release, made_at) FROM release_dates WHERE organisation = {organisation:String})"
_AGE: Final = re.compile(r"(?P<sign>[+-])(?P<number>\d{1,6})(?P<unit>[smhdw])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_NUMBER: Final = re.compile(r"-?\d{1,18}(\.\d{1,9})?")
_USER_KINDS: Final = {"id": "user_id", "email": "user_email", "username": "user_name", "name": "user_name"}
_DURATION: Final = re.compile(r"(?P<number>\d{1,15}(\.\d{1,9})?)(?P<unit>ns|us|ms|s|m|min|h|d)?")
_MILLISECONDS: Final = {"ns": 1e-6, "us": 1e-3, "ms": 1, "s": 1e3, "m": 6e4, "min": 6e4, "h": 3.6e6, "d": 8.64e7}
_FLAGS: Final = {"true": "true", "1": "true", "false": "false", "0": "false"}
MAX_KEY: Final = 200
# More values of one field are a list of SQL.
MAX_ALTERNATIVES: Final = 3

Clock = Callable[[], dt.datetime]


@dataclass(slots=True)
class Conditions:
    """Conditions of one search. `of_issue`, `of_event` and `of_group` are SQL; empty ones hold always.

    `of_group`: on functions of a group of events, as `count():>5`.

    `needs_events`: the condition of an event uses columns that `error_rows` does not have.

    `needs_times`: it compares the times of single errors.
    """

    of_issue: str = ""
    of_event: str = ""
    of_group: str = ""
    needs_events: bool = False
    needs_times: bool = False
    parameters: dict[str, Value] = field(default_factory=dict)


# The number of a project by its slug or number; None if there is no such one.
ProjectNumber = Callable[[str], int | None]
# SQL of a function of a group, as `count()`. Raises ApiError 400.
FunctionSql = Callable[[str], str]


@dataclass(slots=True)
class Language:
    """What a search can name, and what its words stand for."""

    project_number: ProjectNumber
    now: Clock
    fields: Fields = field(default_factory=lambda: FIELDS)
    # Fields that are none here, though a tool may think so: a tag of this name would be a silent surprise.
    refused: frozenset[str] = UNKNOWN_HERE
    # None: functions are no conditions here.
    function_sql: FunctionSql | None = None
    parameters: Parameters = field(default_factory=Parameters)


def conditions(text: str, language: Language) -> Conditions:
    """The conditions of a query. Raises ApiError 400."""
    writer = _Writer(language)
    parts: dict[str, list[str]] = {"issue": [], "event": [], "group": []}
    for part in parse_query(text).parts:
        terms = list(terms_of(part)) if isinstance(part, Group) else [part]
        kinds = {writer.about(term) for term in terms}
        if len(kinds) > 1:
            expected = "inside brackets and OR either fields of issues, or fields of events, or functions"
            raise query_error(terms[0].position, expected, "several of them")
        parts[kinds.pop()].append(writer.written(part))
    issue, event, group = (" AND ".join(written) for written in parts.values())
    return Conditions(issue, event, group, writer.needs_events, writer.needs_times, language.parameters.values)


class _Writer:
    """Writes SQL and collects its parameters."""

    def __init__(self, language: Language) -> None:
        self.needs_events = False
        self.needs_times = False
        self._language = language
        self._fields = language.fields
        self._new = language.parameters.new
        self._attribute = language.parameters.attribute

    def about(self, term: Term) -> str:
        """Whether a term is about an `issue`, an `event` or a `group` of events."""
        if _is_call(term.key) and self._language.function_sql:
            return "group"
        known = self._fields.get(term.key)
        return "issue" if known is not None and known.of_issue else "event"

    def written(self, part: Term | Group) -> str:
        if isinstance(part, Group):
            return "(" + f" {part.kind} ".join(self.written(member) for member in part.parts) + ")"
        sql = self._positive(part)
        return f"NOT ({sql})" if part.negated else f"({sql})"

    def _positive(self, term: Term) -> str:
        if term.key == TEXT:
            return self._text(self._fields["message"], term, contains=True)
        if term.key == HAS:
            return self._has(term)
        if self.about(term) == "group":
            return self._function(term)
        if _is_call(term.key):
            raise query_error(term.position, "a field of events or issues, no function", term.key)
        if term.key in self._language.refused:
            raise query_error(term.position, "a field that this server has (docs/console.md lists them)", term.key)
        if len(term.key) > MAX_KEY:
            raise query_error(term.position, f"a field or tag of at most {MAX_KEY} characters", term.key)
        known = self._fields.get(term.key)
        if known is None:
            self.needs_events = True
            return self._tag(term)
        self.needs_events |= not (known.of_issue or known.in_errors)
        self.needs_times |= known.column == TIME_OF_EVENT
        return self._by_kind(known, term)

    def _by_kind(self, known: Field, term: Term) -> str:
        compared = {
            Kind.NUMBER: lambda value: self._number(known, term, value),
            Kind.DURATION: lambda value: self._duration(known, term, value),
            Kind.TIME: lambda value: self._time(known, term, value),
        }.get(known.kind)
        if compared is not None:
            return self._any(term, compared)
        if term.operator != "=":
            raise query_error(term.position, f"{term.key}:VALUE without a comparison", f"{term.key}:{term.operator}")
        equal = {
            Kind.STATUS: lambda value: _chosen(term, value, STATUSES),
            Kind.LEVEL: lambda value: self._level(known, term, value),
            Kind.PROJECT: lambda value: f"channel_id = {self._project(term, value)}",
            Kind.PROJECT_NUMBER: lambda value: f"channel_id = {self._project(term, value)}",
            Kind.ISSUE: lambda value: self._issue(known, term, value),
            Kind.ISSUE_NUMBER: lambda value: self._issue_number(known, term, value),
            Kind.FRAMES: lambda value: f"arrayExists(frame -> {self._compared('frame', value)}, {known.column})",
            Kind.ASSIGNEE: self._assignee,
            Kind.FLAG: lambda value: f"{known.column} = {_chosen(term, value, _FLAGS)}",
            Kind.USER: self._user,
            Kind.CONSTANT: lambda value: "true" if value == known.column.strip("'") else "false",
        }.get(known.kind)
        return self._any(term, equal) if equal else self._text(known, term, contains=term.key == "message")

    def _any(self, term: Term, written: Callable[[str], str]) -> str:
        return " OR ".join(written(value) for value in term.values)

    def _text(self, known: Field, term: Term, *, contains: bool) -> str:
        self.needs_events |= not (known.of_issue or known.in_errors)
        if term.operator != "=":
            raise query_error(term.position, f"{term.key}:VALUE without a comparison", f"{term.key}:{term.operator}")
        return self._equal_to_any(known.column, term.values, contains=contains)

    def _equal_to_any(self, column: str, values: Sequence[str], *, contains: bool = False) -> str:
        """A long list without patterns names the column once."""
        is_plain = not contains and column != "release"
        plain = [value for value in values if is_plain and value and "*" not in value]
        if len(plain) <= MAX_ALTERNATIVES:
            return " OR ".join(self._compared(column, value, contains=contains) for value in values)
        chosen = f"{column} IN ({', '.join(map(self._new, plain))})"
        return " OR ".join([chosen, *(self._compared(column, value) for value in values if value not in plain)])

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
        known = self._fields.get(name)
        if known is not None and known.of_issue:
            raise query_error(term.position, "has: with a field of events or a tag", name)
        if known is None:
            self.needs_events = True
            return f"{self._attribute(name)} != ''"
        self.needs_events |= not known.in_errors
        self.needs_times |= known.column == TIME_OF_EVENT
        if known.kind is Kind.FRAMES:
            return f"notEmpty({known.column})"
        return f"toString({known.column}) NOT IN ('', '0')"

    def _tag(self, term: Term) -> str:
        text = self._attribute(term.key)
        if term.operator == "=":
            return self._equal_to_any(text, term.values)
        return self._any(term, lambda value: f"toFloat64OrNull({text}) {term.operator} {self._a_number(term, value)}")

    def _function(self, term: Term) -> str:
        assert self._language.function_sql is not None
        sql = self._language.function_sql(term.key)
        return self._any(term, lambda value: f"{sql} {term.operator} {self._a_number(term, value)}")

    def _number(self, known: Field, term: Term, value: str) -> str:
        return f"{known.column} {term.operator} {self._a_number(term, value)}"

    def _a_number(self, term: Term, value: str) -> str:
        if not _NUMBER.fullmatch(value):
            raise query_error(term.position, f"a number after {term.key}:", value)
        if "." in value:
            return self._new(float(value), "Float64")
        return self._new(int(value), "Int64")

    def _duration(self, known: Field, term: Term, value: str) -> str:
        """In milliseconds, as answers have it."""
        match = _DURATION.fullmatch(value)
        if match is None:
            raise query_error(term.position, f"{term.key}: with {Kind.DURATION.value}", value)
        milliseconds = float(match["number"]) * _MILLISECONDS[match["unit"] or "ms"]
        return f"{known.column} {term.operator} {self._new(milliseconds, 'Float64')}"

    def _time(self, known: Field, term: Term, value: str) -> str:
        """`-24h` means not older than a day, `+24h` older; a time alone means that day or that second."""
        if age := _AGE.fullmatch(value):
            length = dt.timedelta(seconds=int(age["number"]) * _SECONDS[age["unit"]])
            now = self._language.now()
            then = now - min(length, now - EARLIEST)
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
        lowered = "warning" if value.lower() == "warn" else value.lower()
        if lowered not in LEVELS and not (lowered == "trace" and known.column != LEVEL_OF):
            raise query_error(term.position, f"{term.key}: with {Kind.LEVEL.value}", value)
        return f"{known.column} = {self._new(lowered)}"

    def _project(self, term: Term, value: str) -> str:
        number = self._language.project_number(value)
        if number is None:
            raise query_error(term.position, f"{term.key}: with {Kind.PROJECT.value} of this organisation", value)
        return self._new(number, "UInt64")

    def _issue(self, known: Field, term: Term, value: str) -> str:
        asked = issue_range(value)
        project = self._language.project_number(asked[0].lower()) if asked else None
        if asked is None or project is None:
            raise query_error(term.position, f"{term.key}: with {Kind.ISSUE.value} of this organisation", value)
        lowest, highest = self._new(asked[1], "UInt64"), self._new(asked[2], "UInt64")
        return f"channel_id = {self._new(project, 'UInt64')} AND {known.column} BETWEEN {lowest} AND {highest}"

    def _issue_number(self, known: Field, term: Term, value: str) -> str:
        if not (value.isascii() and value.isdigit() and len(value) <= len(str(MAX_ID)) and int(value) <= MAX_ID):
            raise query_error(term.position, f"{term.key}: with {Kind.ISSUE_NUMBER.value}", value)
        return f"{known.column} = {self._new(int(value), 'UInt64')}"

    def _assignee(self, value: str) -> str:
        """With or without `user:`; `none` is nobody."""
        if value in ("", "none"):
            return STATUSES["unassigned"]
        names = self._new(value if value.startswith("team:") else f"user:{value.removeprefix('user:')}")
        return f"(channel_id, issue_id) IN ({_ASSIGNED} AND assigned_to IN ({names}, {self._new(value)}))"

    def _user(self, value: str) -> str:
        kind, colon, rest = value.partition(":")
        if colon and kind == "ip":
            return self._compared(FIELDS["user.ip"].column, rest)
        if colon and kind in _USER_KINDS:
            return self._compared(_USER_KINDS[kind], rest)
        return self._compared("user_id", value)


def _is_call(key: str) -> bool:
    return key.endswith(")") and "(" in key


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
        raise query_error(term.position, f"{term.key}: with a time from 1971 to 2199", value)
    return moment, dt.timedelta(days=1) if len(value) <= len("2026-01-31") else dt.timedelta(seconds=1)


def _like(value: str) -> str:
    """A pattern of ILIKE in which only `*` is a wildcard."""
    escaped = value.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%")
