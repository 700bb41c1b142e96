"""Columns of `system` that say where files lie: found wherever a tree names them."""

from __future__ import annotations

from typing import Any

import pytest

from ops.local.clickhouse_http.access.paths import asked_path

TABLE = {"type": "TableIdentifier", "name_parts": ["system", "databases"]}
OTHER = {"type": "TableIdentifier", "name_parts": ["axonpush", "events"]}
STAR = {"type": "Asterisk"}


def column(*parts: str) -> dict[str, Any]:
    return {"type": "Identifier", "name": ".".join(parts)} | ({"name_parts": [*parts]} if len(parts) > 1 else {})


def select(table: dict[str, Any], *columns: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "SelectQuery", "tables": [{"database_and_table_name": table} | more], "select": [*columns]}


def count(*arguments: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "Function", "name": "COUNT", "arguments": {"children": [*arguments]}, **more}


@pytest.mark.parametrize(
    "tree",
    [
        select(TABLE, column("data_path")),
        select(TABLE, column("t", "METADATA_PATH")),
        select(TABLE, column("data_path", "size0")),
        select(TABLE, STAR),
        select(TABLE, {"type": "Function", "name": "tuple", "arguments": {"children": [STAR]}}),
        select(TABLE, count(STAR, column("data_path"))),
        select(TABLE, count(STAR, window={"order_by": [column("data_path")]})),
        select(TABLE, {"type": "ColumnsRegexpMatcher"}),
        select(TABLE, column("b"), column_aliases=[column("a"), column("b")]),
        select({"type": "Subquery", "query": select(TABLE, STAR)}, STAR),
        select(OTHER, column("system", "databases")),
        select(TABLE, column("name"), table_join={"type": "TableJoin", "is_natural": True}),
        {"type": "ShowTablesQuery", "where_expression": column("metadata_path")},
        {"type": "ShowTablesQuery", "where_expression": {"type": "Function", "name": "tuple", "arguments": [STAR]}},
        {"type": "ShowColumnsQuery", "where_expression": column("data_paths")},
    ],
)
def test_a_path_is_found(tree: dict[str, Any]) -> None:
    assert asked_path(tree)


@pytest.mark.parametrize(
    "tree",
    [
        select(TABLE, column("name"), count(STAR)),
        select(OTHER, column("data_path"), STAR),
        select({"type": "Subquery", "query": select(TABLE, column("name"))}, STAR),
        select(OTHER, column("system", "databases", "name")),
        {"type": "ShowTablesQuery", "where_expression": column("name")},
    ],
)
def test_what_tells_no_path_is_let_be(tree: dict[str, Any]) -> None:
    assert asked_path(tree) == ""
