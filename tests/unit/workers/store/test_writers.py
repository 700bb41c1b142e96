"""The ClickHouse client keeps no rows of an insert that has ended."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from typing import Any

import pytest
from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.driver.insert import InsertContext
from clickhouse_connect.driver.summary import QuerySummary
from clickhouse_connect.driver.transform import NativeTransform

from workers.settings import WorkerSettings
from workers.store.writers import ClickHouseWriter


class Text(str):
    """A text that can be weakly referenced."""


class EncodingClient:
    """Encodes rows with the client's own classes, and sends them nowhere."""

    async def insert(self, table: str, data: Sequence[Any], **told: Any) -> QuerySummary:
        context = InsertContext(table, list(told["column_names"]), list(told["column_types"]), data)
        for _ in NativeTransform().build_insert(context):
            """Sent."""
        return QuerySummary({"written_rows": str(len(data))})


@pytest.mark.asyncio
async def test_an_ended_insert_keeps_no_rows() -> None:
    """Even before Python looks for reference cycles; the client's context is part of one."""
    writer = ClickHouseWriter(WorkerSettings())
    writer._client = EncodingClient()  # type: ignore[assignment]
    writer._types["t", ("a",)] = [get_from_name("String")]
    value = Text("x" * 1_000)
    gone = weakref.ref(value)
    rows = [(value,)]
    del value
    gc.collect()
    gc.disable()
    try:
        await writer.insert("t", ("a",), rows)
        del rows
        assert gone() is None
    finally:
        gc.enable()
