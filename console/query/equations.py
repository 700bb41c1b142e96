"""Equations of columns, as `equation|count_if(level,equals,fatal) / count() * 100`: arithmetic of functions, as SQL."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from console.api.errors import ApiError

PREFIX: Final = "equation|"
MAX_DEPTH: Final = 8
MAX_OPERATORS: Final = 20
_NUMBER: Final = re.compile(r"\d{1,15}(\.\d{1,9})?")
# What stands between backticks may have brackets.
_CALL: Final = re.compile(r"[a-z][a-z0-9_]{0,40}\((?:`[^`]*`|[^`()])*\)")
_LEVELS: Final = ("+-", "*/")


def equation_sql(text: str, function: Callable[[str], str], number: Callable[[float], str]) -> str:
    """The SQL of an equation. `function` makes that of a function, `number` a parameter. Raises ApiError 400."""
    equation = _Equation(text, function, number)
    sql = equation.sum_of(0, MAX_DEPTH)
    if equation.at != len(text):
        raise equation.refused("+, -, *, / or the end")
    return sql


@dataclass(slots=True)
class _Equation:
    text: str
    function: Callable[[str], str]
    number: Callable[[float], str]
    at: int = 0
    operators: int = 0

    def sum_of(self, level: int, depth: int) -> str:
        """Operands with operators of this level between them; of the last level, one operand."""
        if level == len(_LEVELS):
            return self._operand(depth)
        sql = self.sum_of(level + 1, depth)
        while (sign := self._next()) and sign in _LEVELS[level]:
            self.at += 1
            self.operators += 1
            if self.operators > MAX_OPERATORS:
                raise self.refused(f"at most {MAX_OPERATORS} operators")
            right = self.sum_of(level + 1, depth)
            # Without a value where it is divided by 0.
            sql = f"({sql} / nullIf({right}, 0))" if sign == "/" else f"({sql} {sign} {right})"
        return sql

    def _operand(self, depth: int) -> str:
        sign = self._next()
        if sign == "(" and depth:
            self.at += 1
            sql = self.sum_of(0, depth - 1)
            if self._next() != ")":
                raise self.refused("a closing bracket")
            self.at += 1
        elif match := _NUMBER.match(self.text, self.at):
            self.at = match.end()
            sql = self.number(float(match[0]))
        elif match := _CALL.match(self.text, self.at):
            self.at = match.end()
            sql = self.function(match[0])
        else:
            raise self.refused(f"a number, a function like count(), or a bracket (at most {MAX_DEPTH} in each other)")
        self._next()
        return sql

    def _next(self) -> str:
        """The next character that is no blank; '' at the end."""
        while self.text[self.at : self.at + 1] == " ":
            self.at += 1
        return self.text[self.at : self.at + 1]

    def refused(self, expected: str) -> ApiError:
        """A 400 for this place."""
        actual = self.text[self.at : self.at + 40] or "the end"
        return ApiError(400, f"equation: at character {self.at + 1} expected {expected}, found {actual!r}")
