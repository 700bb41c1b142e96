"""Columns of an answer: a field, a tag, or a function of a group of events, as SQL with parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from console.api.errors import ApiError
from console.query import equations
from console.query.conditions import Language, conditions
from console.query.datasets import SPANS, Dataset
from console.query.fields import Kind
from console.query.parameters import Parameters
from console.query.terms import plain_key

MAX_NAME: Final = 250
MAX_FILTER: Final = 1_000
_CALL: Final = re.compile(r"(?P<name>[a-z][a-z0-9_]{0,40})\((?P<arguments>.*)\)", re.DOTALL)
_NOT_IN_WORDS: Final = re.compile(r"[^a-z0-9]+")
_TAG: Final = re.compile(r"tags\[(?P<name>[^\],]+)(,\s*(?P<kind>string|number|boolean))?\]")
_QUANTILES: Final[Mapping[str, float]] = {
    **{f"p{percent}": percent / 100 for percent in (10, 25, 50, 75, 90, 95, 99)},
    "median": 0.5,
}
# Of numbers; `min`, `max` and `any` are of texts and times too.
_OF_NUMBERS: Final[Mapping[str, str]] = {"avg": "avg", "sum": "sum", "min": "min", "max": "max", "p100": "max"}
# What is no failure: a request that its client gave up is none of the server.
_NO_FAILURE: Final = "status IN ('', 'unset', 'ok', 'cancelled', 'unknown')"
_COMPARISONS: Final[Mapping[str, str]] = {
    "equals": "=",
    "notEquals": "!=",
    "less": "<",
    "lessOrEquals": "<=",
    "greater": ">",
    "greaterOrEquals": ">=",
}
# Without a field they are of the duration or the status of spans.
_OF_SPANS: Final = frozenset({*_QUANTILES, *_OF_NUMBERS, "failure_rate", "failure_count"})
# Fields whose values people write in other words than columns have.
_IN_OTHER_WORDS: Final = frozenset({Kind.ISSUE, Kind.PROJECT, Kind.FRAMES})
FUNCTIONS: Final = (
    "count()",
    "count_unique(FIELD)",
    "count_if(FIELD,equals,VALUE) or count_if(`QUERY`)",
    "avg(FIELD)",
    "sum(FIELD)",
    "min(FIELD)",
    "max(FIELD)",
    "p50(FIELD) to p100(FIELD)",
    "percentile(FIELD,0.95)",
    "any(FIELD)",
    "last_seen()",
    "failure_count()",
    "failure_rate()",
    "eps()",
    "epm()",
    "equation|FUNCTION / FUNCTION * 100",
)


@dataclass(frozen=True, slots=True)
class AnswerColumn:
    """One column of an answer."""

    name: str
    sql: str
    kind: Kind
    # As meta.fields of an answer names it.
    type: str
    is_aggregate: bool = False
    is_tag: bool = False

    @property
    def sort_name(self) -> str:
        """`count_unique_user_id`, as older tools write `count_unique(user.id)` in `sort`."""
        return _NOT_IN_WORDS.sub("_", self.name.lower()).strip("_")


_TYPES: Final[Mapping[Kind, str]] = {
    Kind.NUMBER: "number",
    Kind.DURATION: "duration",
    Kind.TIME: "date",
    Kind.FLAG: "boolean",
    Kind.PROJECT_NUMBER: "integer",
}


@dataclass(slots=True)
class Columns:
    """Reads columns for one dataset; their values join the parameters of the statement."""

    dataset: Dataset
    language: Language
    seconds: float

    @property
    def parameters(self) -> Parameters:
        """Of the statement."""
        return self.language.parameters

    def read(self, name: str) -> AnswerColumn:
        """The column of this name. Raises ApiError 400."""
        if not name or len(name) > MAX_NAME + MAX_FILTER or "\0" in name:
            raise ApiError(400, f"field: expected 1 to {MAX_NAME} characters, found {name[:40]!r}")
        if name.startswith(equations.PREFIX):
            return _aggregate(name, self._equation(name.removeprefix(equations.PREFIX)), Kind.NUMBER)
        if call := _CALL.fullmatch(name):
            return replace(self._function(name, call["name"], call["arguments"]), name=name)
        return self._plain(name)

    def function_sql(self, call: str) -> str:
        """The SQL of a function in a condition. Raises ApiError 400."""
        return self.read(call).sql

    def _equation(self, text: str) -> str:
        def function(call: str) -> str:
            column = self.read(call)
            if column.kind not in (Kind.NUMBER, Kind.DURATION):
                raise _expected(call, "a function of a number in an equation")
            return column.sql

        return equations.equation_sql(text, function, lambda number: self.parameters.new(number, "Float64"))

    def _plain(self, name: str) -> AnswerColumn:
        if not name or len(name) > MAX_NAME or any(letter in name for letter in "()`"):
            raise _unknown(name)
        key = plain_key(name)
        if key in self.dataset.refused:
            if key in SPANS.fields:
                raise _expected(name, f"dataset=spans beside {key}, which {self.dataset.name} do not have")
            raise _expected(name, f"a field that the dataset {self.dataset.name} has (docs/console.md lists them)")
        known = self.dataset.fields.get(key)
        if known is not None and known.of_issue and known.kind is not Kind.CONSTANT:
            raise _expected(name, f"a field of events; {key} is one of whole issues, for queries only")
        if known is not None:
            sql = known.answered or known.column
            if known.kind is Kind.ISSUE:
                sql = f"(channel_id, {known.column})"
            return AnswerColumn(name, sql, known.kind, _TYPES.get(known.kind, "string"))
        tag = _TAG.fullmatch(name)
        sql = self.parameters.attribute(tag["name"].strip() if tag else name)
        if tag and tag["kind"] == "number":
            return AnswerColumn(name, f"toFloat64OrNull({sql})", Kind.NUMBER, "number", is_tag=True)
        return AnswerColumn(name, sql, Kind.TEXT, "string", is_tag=True)

    def _function(self, name: str, function: str, text: str) -> AnswerColumn:
        if function == "count_if" or (function.endswith("_if") and "`" in text):
            return self._conditional(name, function, text)
        arguments = [argument.strip() for argument in text.split(",")] if text.strip() else []
        return self._called(name, function, arguments, "")

    def _conditional(self, name: str, function: str, text: str) -> AnswerColumn:
        """``count_if(`span.op:db`)``, ``avg_if(`span.op:db`,span.duration)``, `count_if(level,equals,error)`."""
        if not text.lstrip().startswith("`"):
            return self._counted_if(name, [argument.strip() for argument in text.split(",", 2)])
        query, closing, rest = text.lstrip()[1:].partition("`")
        if not closing or len(query) > MAX_FILTER or (rest.strip() and not rest.lstrip().startswith(",")):
            raise _expected(name, f"a query of at most {MAX_FILTER} characters between two ` as the first argument")
        language = replace(self.language, fields=self.dataset.fields, function_sql=None)
        written = conditions(query, language)
        if written.of_issue or not written.of_event:
            raise _expected(name, "a query with fields of events between the two `")
        arguments = [argument.strip() for argument in rest.lstrip()[1:].split(",")] if rest.strip() else []
        if function == "count_if":
            arguments = []  # a second argument names what is counted, which changes nothing
        return self._called(name, function.removesuffix("_if"), arguments, written.of_event)

    def _counted_if(self, name: str, arguments: Sequence[str]) -> AnswerColumn:
        if len(arguments) != 3 or arguments[1] not in _COMPARISONS:
            raise _expected(name, f"count_if(FIELD,COMPARISON,VALUE) with one of {', '.join(_COMPARISONS)}")
        column, sign, value = self._plain(arguments[0]), _COMPARISONS[arguments[1]], arguments[2].strip('"')
        if column.kind in _IN_OTHER_WORDS:
            return self._called(name, "count", [], self._compared(arguments[0], sign, value, name))
        if column.kind in (Kind.NUMBER, Kind.DURATION) or sign not in ("=", "!="):
            right = self.parameters.new(_number(name, value), "Float64")
            return _count(name, f"{_as_number(column)} {sign} {right}")
        return _count(name, f"toString({column.sql}) {sign} {self.parameters.new(value)}")

    def _compared(self, field: str, sign: str, value: str, name: str) -> str:
        """The condition of a search, which knows slugs, short ids and the like."""
        if sign not in ("=", "!=") or '"' in value or "\\" in value:
            raise _expected(name, f"count_if({field},equals,VALUE) or notEquals")
        language = replace(self.language, fields=self.dataset.fields, function_sql=None)
        return conditions(f'{"!" if sign == "!=" else ""}{field}:"{value}"', language).of_event

    def _called(self, name: str, function: str, arguments: list[str], condition: str) -> AnswerColumn:
        """A function of these arguments; with `condition`, of the events for which it holds."""
        plain = self._without_field(name, function, condition) if not arguments else None
        if plain is not None:
            return plain
        if not arguments and self.dataset.duration and function in (*_QUANTILES, *_OF_NUMBERS):
            arguments = [self.dataset.duration]
        if function == "percentile" and len(arguments) == 2:
            return self._quantile(name, arguments[0], _fraction(name, arguments[1]), condition)
        if len(arguments) != 1:
            if not self.dataset.duration and function in _OF_SPANS:
                of_numbers = "" if function.startswith("failure") else f", or {function}(FIELD) of a number"
                raise _expected(name, f"dataset=spans beside a function of spans{of_numbers}")
            raise _unknown(name)
        if function in _QUANTILES:
            return self._quantile(name, arguments[0], _QUANTILES[function], condition)
        return self._of_one_field(name, function, self._plain(arguments[0]), condition)

    def _without_field(self, name: str, function: str, condition: str) -> AnswerColumn | None:
        holds = f"({condition})" if condition else ""
        if function == "count":
            return _count(name, condition)
        if function in ("eps", "epm", "tps", "tpm", "spm") and not condition:
            length = self.seconds / (60 if function.endswith("m") else 1)
            return _aggregate(name, f"(count() / {self.parameters.new(max(length, 1e-3), 'Float64')})", Kind.NUMBER)
        if function in ("last_seen", "first_seen") and not condition:
            return _aggregate(name, f"{'max' if function == 'last_seen' else 'min'}(timestamp)", Kind.TIME)
        if function in ("failure_rate", "failure_count") and self.dataset.duration:
            failed = f"NOT ({_NO_FAILURE})" + (f" AND {holds}" if holds else "")
            if function == "failure_count":
                return _count(name, failed)
            of_all = f"countIf({holds})" if holds else "count()"
            return _aggregate(name, f"(countIf({failed}) / nullIf({of_all}, 0))", Kind.NUMBER, "percentage")
        return None

    def _of_one_field(self, name: str, function: str, column: AnswerColumn, condition: str) -> AnswerColumn:
        given = column.sql if not condition else f"if({condition}, {column.sql}, NULL)"
        has_value = _both(f"toString({column.sql}) != ''", condition)
        if function == "count":
            return _count(name, has_value)
        if function == "count_unique":
            return _aggregate(name, f"uniqExactIf({column.sql}, {has_value})", Kind.NUMBER, "integer")
        if function == "any":
            # An issue is a tuple, which cannot be NULL.
            chosen = "anyIf" if column.kind is Kind.ISSUE else "anyIfOrNull"
            sql = f"{chosen}({column.sql}, {condition})" if condition else f"any({column.sql})"
            return replace(column, sql=sql, is_aggregate=True)
        if function in ("min", "max") and column.kind is Kind.TIME:
            return _aggregate(name, f"{function}({given})", Kind.TIME)
        if function not in _OF_NUMBERS:
            raise _unknown(name)
        number = _as_number(column)
        return _measured(name, f"{_OF_NUMBERS[function]}IfOrNull({number}, {condition or 'true'})", column)

    def _quantile(self, name: str, field: str, fraction: float, condition: str) -> AnswerColumn:
        column = self._plain(field)
        sql = f"quantileIfOrNull({fraction:.6f})({_as_number(column)}, {condition or 'true'})"
        return _measured(name, sql, column)


def _measured(name: str, sql: str, column: AnswerColumn) -> AnswerColumn:
    """A number made of a column: a duration of durations, else a plain one."""
    return _aggregate(name, sql, Kind.DURATION if column.kind is Kind.DURATION else Kind.NUMBER)


def _both(first: str, second: str) -> str:
    return f"{first} AND ({second})" if second else first


def _as_number(column: AnswerColumn) -> str:
    """Texts of tags that are no number count as none."""
    if column.kind in (Kind.NUMBER, Kind.DURATION, Kind.PROJECT_NUMBER):
        return column.sql
    return f"toFloat64OrNull(toString({column.sql}))"


def _count(name: str, condition: str) -> AnswerColumn:
    return _aggregate(name, f"countIf({condition})" if condition else "count()", Kind.NUMBER, "integer")


def _aggregate(name: str, sql: str, kind: Kind, shown: str = "") -> AnswerColumn:
    return AnswerColumn(name, sql, kind, shown or _TYPES.get(kind, "number"), is_aggregate=True)


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not abs(number) < 1e300:
        raise _expected(name, f"a number, found {text[:40]!r}")
    return number


def _fraction(name: str, text: str) -> float:
    fraction = _number(name, text)
    if not 0 <= fraction <= 1:
        raise _expected(name, "a fraction from 0 to 1 as the second argument")
    return fraction


def _expected(name: str, expected: str) -> ApiError:
    return ApiError(400, f"field: expected {expected}, found {name[:80]!r}")


def _unknown(name: str) -> ApiError:
    return _expected(name, f"a field, a tag, or one of {', '.join(FUNCTIONS)}")
