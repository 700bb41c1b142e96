"""A Writer that encodes rows like the ClickHouse client and discards them: measures a worker without an engine."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from functools import cache
from typing import Final

from clickhouse_connect.datatypes.base import ClickHouseType
from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.driver.insert import InsertContext
from clickhouse_connect.driver.transform import NativeTransform

from ops.provisioning.tables import known
from schemas.rows import Row

_TABLE: Final = re.compile(r"\s*CREATE TABLE IF NOT EXISTS (\w+)\s")
_LATER_COLUMN: Final = re.compile(r"\s*ALTER TABLE (?P<table>\w+)\s+ADD COLUMN IF NOT EXISTS(?P<column>[^\n]*)")
_COLUMN: Final = re.compile(
    r"^\s+(?P<name>[a-z_0-9]+)\s+(?P<type>[A-Z]\w*(?:\((?:[^()]|\([^()]*\))*\))?)(?=,|$| )", re.MULTILINE
)


@cache
def column_types() -> dict[str, dict[str, ClickHouseType]]:
    """Column types by table and column, from the table files."""
    types: dict[str, dict[str, ClickHouseType]] = {}
    for migration in known():
        for statement in migration.statements():
            table = _TABLE.match(statement)
            if table is not None and "AggregateFunction" not in statement:
                columns = {match["name"]: get_from_name(match["type"]) for match in _COLUMN.finditer(statement)}
                types.setdefault(table[1], {}).update(columns)
            if (later := _LATER_COLUMN.match(statement)) and "AggregateFunction" not in statement:
                columns = {match["name"]: get_from_name(match["type"]) for match in _COLUMN.finditer(later["column"])}
                types.setdefault(later["table"], {}).update(columns)
    return types


def encoded_bytes(table: str, columns: Sequence[str], rows: Sequence[Row]) -> int:
    """Encodes rows as Native blocks; returns their size. Raises KeyError for a column that no table file declares."""
    types = [column_types()[table][name] for name in columns]
    context = InsertContext(table, list(columns), types, rows)
    return sum(len(block) for block in NativeTransform().build_insert(context))


class EncodingWriter:
    """Encodes in a thread like the client, so that the event loop is blocked as it would be."""

    async def insert(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        await asyncio.to_thread(encoded_bytes, table, columns, rows)

    async def check(self, system_id: str = "") -> None:
        """Needs no ClickHouse."""

    async def close(self) -> None:
        """Nothing to close."""
