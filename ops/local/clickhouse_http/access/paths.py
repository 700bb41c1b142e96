"""Finds columns of `system` tables with file paths in a statement. Refuses nothing itself.

The engine can only grant `system` as a whole, so the statement's tree is searched.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ops.local.clickhouse_http.access.allowed import HIDDEN_COLUMNS
from ops.local.clickhouse_http.access.parse import Tree

_HIDDEN: Final = frozenset(column for columns in HIDDEN_COLUMNS.values() for column in columns)
# Statements that read `system` tables without naming them.
_SHOWS: Final = ("ShowTablesQuery", "ShowColumnsQuery", "ShowIndexesQuery")
# Nodes that mean several columns without naming them.
_STARS: Final = frozenset(
    {"Asterisk", "QualifiedAsterisk", "ColumnsRegexpMatcher", "QualifiedColumnsRegexpMatcher"},
)


def asked_path(tree: Tree) -> str:
    """What in a statement would reveal a path, in words for its sender; empty if nothing does."""
    nodes = list(_within(tree, inner=True))
    if not any(_hidden_table(node) or node.get("type") in _SHOWS for node in nodes):
        return ""
    for node in nodes:
        if path := _in_names(node) or _in_select(node):
            return path
        if node.get("is_natural"):
            return "NATURAL JOIN compares every column: write ON or USING"
    return ""


def _in_names(node: Tree) -> str:
    if node.get("type") == "Identifier":
        for part in _parts(node):
            if part.lower() in _HIDDEN:
                return f"column {part[:100]}"
        if table := _hidden_table(node):
            return f"system.{table} as a value"
    if node.get("column_aliases") and (table := _hidden_table(node.get("database_and_table_name"))):
        return f"system.{table} with other names for its columns"
    return ""


def _in_select(node: Tree) -> str:
    """Checks `*` and similar in a SELECT from such a table; in a subquery they mean what that selects."""
    if node.get("type") in _SHOWS and any(inner_node.get("type") in _STARS for inner_node in _within(node, inner=True)):
        return "* in SHOW: name the columns"
    if node.get("type") != "SelectQuery":
        return ""
    tables = node.get("tables") or {}
    table = next((name for inner_node in _within(tables, inner=False) if (name := _hidden_table(inner_node))), "")
    if not table or not any(inner_node.get("type") in _STARS for inner_node in _within(node, inner=False)):
        return ""
    return f"* of system.{table}: name its columns, without {', '.join(HIDDEN_COLUMNS[table])}"


def _hidden_table(node: Any) -> str:
    """The name of a table with hidden columns, if a node names one."""
    if not isinstance(node, dict) or node.get("type") not in ("TableIdentifier", "Identifier"):
        return ""
    parts = _parts(node)
    return parts[1] if len(parts) == 2 and parts[0] == "system" and parts[1] in HIDDEN_COLUMNS else ""


def _parts(node: Tree) -> list[str]:
    return [str(part) for part in node.get("name_parts") or [node.get("name", "")]]


def _within(tree: Tree, *, inner: bool) -> Iterator[Tree]:
    """Every node of a tree, with or without subqueries; the `*` of `count(*)` is skipped."""
    waiting: list[Any] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, dict) and (inner or node is tree or node.get("type") != "SelectQuery"):
            yield node
            if not _counts_rows(node):
                waiting.extend(node.values())


def _counts_rows(node: Tree) -> bool:
    if node.get("type") != "Function" or str(node.get("name", "")).lower() != "count":
        return False
    arguments = (node.get("arguments") or {}).get("children", [])
    # Skipped only if the call has nothing else (a window, parameters).
    only_arguments = not any(isinstance(value, dict | list) for key, value in node.items() if key != "arguments")
    return only_arguments and arguments == [{"type": "Asterisk"}]
