"""Which functions may be called: in a call, or by their name as an argument of another function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ops.local.clickhouse_http.access import allowed
from ops.local.clickhouse_http.access.parse import Tree
from ops.local.clickhouse_http.access.tree import arguments
from ops.local.clickhouse_http.errors import UNKNOWN_FUNCTION, denied, refusal

# One row of system.functions: name, categories, alias_to, is_aggregate, higher_order.
FunctionRow = tuple[str, str, str, int, int | None]
QUERY_OF_FUNCTIONS: Final = "SELECT name, categories, alias_to, is_aggregate, higher_order FROM system.functions"


@dataclass(frozen=True, slots=True)
class Functions:
    """The engine's functions that may be called, by lower-case name.

    `higher_order` are those that take a function: `arrayMap(upper, …)` calls `upper`.
    """

    plain: frozenset[str]
    aggregates: frozenset[str]
    refused: frozenset[str]
    higher_order: frozenset[str] = frozenset()

    @classmethod
    def of(cls, rows: list[FunctionRow]) -> Functions:
        """Made from the rows of QUERY_OF_FUNCTIONS."""
        categories = {name: listed for name, listed, *_ in rows}
        named = {
            name: aggregate
            for name, _, alias, aggregate, _ in rows
            if _may_be_called(alias or name, categories.get(alias or name, ""))
        }
        refused = {row[0].lower() for row in rows if row[0] not in named}
        plain = ({name.lower() for name in named} | {name.lower() for name in allowed.FUNCTIONS}) - refused
        aggregates = frozenset(name.lower() for name, is_aggregate in named.items() if is_aggregate)
        return cls(frozenset(plain), aggregates, frozenset(refused), _higher_order(rows))

    def without(self, names: frozenset[str]) -> Functions:
        """The same without some names (lower-case)."""
        return Functions(self.plain - names, self.aggregates - names, self.refused | names, self.higher_order)

    def check(self, name: str) -> None:
        """Raises ServerError for a function that may not be called or does not exist."""
        if self.allow(name):
            return
        if name.lower() in self.refused:
            raise denied(f"Function {name} is not allowed")
        raise refusal(
            UNKNOWN_FUNCTION, "UNKNOWN_FUNCTION", f"Function with name `{name}` does not exist or is not allowed"
        )

    def check_arguments(self, name: str, call: Tree) -> None:
        """Checks names that a function may call. A column name passes, unless a refused function has the same name."""
        if name.lower() not in self.higher_order:
            return
        for argument in arguments(call):
            if isinstance(argument, dict) and argument.get("type") == "Identifier":
                named = str(argument.get("name", ""))
                if named.lower() in self.refused:
                    text = f"Function {named} is not allowed. If it is a column, write it with its table: t.{named}"
                    raise denied(text)

    def allow(self, name: str) -> bool:
        """Whether a function may be called, including with suffixes of aggregate functions."""
        if name.lower() in self.plain:
            return True
        while ending := next(
            (combinator for combinator in allowed.COMBINATORS if name.endswith(combinator) and name != combinator), ""
        ):
            name = name.removesuffix(ending)
            if name.lower() in self.aggregates:
                return True
        return False


def _may_be_called(name: str, categories: str) -> bool:
    if name in allowed.REFUSED_FUNCTIONS:
        return False
    return name in allowed.FUNCTIONS or categories in allowed.FUNCTION_CATEGORIES


def _higher_order(rows: list[FunctionRow]) -> frozenset[str]:
    """Whether a function takes functions. The engine says NULL if it does not know; aggregate functions take none."""
    real = {row[0] for row in rows if row[4] or (row[4] is None and not row[3])}
    return frozenset(row[0].lower() for row in rows if row[0] in real or row[2] in real)
