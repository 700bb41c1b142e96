"""Checks structures: texts like `a String, b UInt8` that the engine parses as columns. They may have no expression.

`values('a String, b String ALIAS f(a)', …)` calls `f`, which the tree of the statement does not show.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ops.local.clickhouse_http.access.parse import Tree
from ops.local.clickhouse_http.access.tree import arguments, literal_text, nodes
from ops.local.clickhouse_http.errors import BAD_ARGUMENTS, denied, refusal

_WITH_STRUCTURE: Final = ("values", "input")
_PLAIN_COLUMN: Final = frozenset(
    {"type", "name", "data_type", "ephemeral_default", "primary_key_specifier", "null_modifier"}
)
# Nodes that the engine may replace by a text after the check: an alias, a parameter.
_REPLACED: Final = ("Identifier", "QueryParameter")


def structures_in(tree: Tree) -> Iterator[str]:
    """The structures in calls of a tree. Raises ServerError for one that is not a literal text."""
    for _, node in nodes(tree):
        if node.get("type") == "Function" and str(node.get("name", "")).lower() in _WITH_STRUCTURE:
            given = arguments(node)
            first: Any = given[0] if given else None
            if not isinstance(first, dict):
                continue
            if first.get("type") in _REPLACED:
                raise denied(f"The first argument of {node['name']} must be a value or a structure that stands there")
            if (text := _string(first)) is not None and (len(given) > 1 or str(node["name"]).lower() != "values"):
                yield text


def _string(node: Tree) -> str | None:
    value = node.get("value")
    if node.get("type") != "Literal" or not isinstance(value, dict) or value.get("field_type") != "String":
        return None
    return literal_text(value)


def definition(name: str, structure: str) -> bytes:
    """A statement with the columns of a structure, for the engine to parse."""
    return b"CREATE TEMPORARY TABLE %s (%s\n)" % (name.encode(), structure.encode())


def check_structure(tree: Tree | None) -> list[Tree]:
    """Checks the columns in the tree of a `definition`: names and types only. Raises ServerError."""
    declared = tree.get("columns_list") if tree and tree.get("type") == "CreateQuery" else None
    columns: list[Tree] = declared.get("columns", {}).get("children", []) if isinstance(declared, dict) else []
    only_columns = tree is not None and not any(
        tree.get(member) for member in ("storage", "select", "as_table_function", "as_table")
    )
    if not columns or not only_columns or set(declared or {}) - {"type", "columns"}:
        raise refusal(BAD_ARGUMENTS, "BAD_ARGUMENTS", "Expected columns as `name Type, …` and nothing else")
    for column in columns:
        if column.get("type") != "ColumnDeclaration" or set(column) - _PLAIN_COLUMN:
            raise refusal(BAD_ARGUMENTS, "BAD_ARGUMENTS", "Expected columns with a name and a type only")
    return columns
