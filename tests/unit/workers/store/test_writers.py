"""The ClickHouse client keeps no rows of an insert that has ended; several parts are one statement."""

from __future__ import annotations

import gc
import weakref

import pytest
from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.driver.insert import InsertContext
from clickhouse_connect.driver.summary import QuerySummary
from clickhouse_connect.driver.transform import NativeTransform

from workers.settings import WorkerSettings
from workers.store import writers
from workers.store.clickhouse_errors import RetryLater
from workers.store.writers import ClickHouseWriter, InsertPart


class Text(str):
    """A text that can be weakly referenced."""


class EncodingClient:
    """Encodes rows with the client's own classes, and sends them nowhere."""

    def __init__(self) -> None:
        self.sent = b""

    async def data_insert(self, context: InsertContext) -> QuerySummary:
        self.sent = b"".join(NativeTransform().build_insert(context))
        return QuerySummary({"written_rows": "2"})


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.asyncio
async def test_an_ended_insert_keeps_no_rows(parts: int) -> None:
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
        await writer.insert_parts("t", [InsertPart(("a",), rows)] * parts)
        del rows
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.asyncio
async def test_one_statement_has_the_columns_of_all_its_parts() -> None:
    """Each part is a block with its own columns; what it has not is the table's DEFAULT."""
    writer, client = ClickHouseWriter(WorkerSettings()), EncodingClient()
    writer._client = client  # type: ignore[assignment]
    text = get_from_name("String")
    writer._types = {("t", ("a", "b")): [text] * 2, ("t", ("c", "a")): [text] * 2}
    await writer.insert_parts("t", [InsertPart(("a", "b"), [("1", "2")]), InsertPart(("c", "a"), [("3", "4")])])
    first = b"\x02\x01\x01a\x06String\x011\x01b\x06String\x012"
    second = b"\x02\x01\x01c\x06String\x013\x01a\x06String\x014"
    assert client.sent == b"INSERT INTO t (`a`, `b`, `c`) FORMAT Native\n" + first + second


@pytest.mark.asyncio
async def test_all_rows_of_all_parts_must_be_written() -> None:
    """The server's number is compared with the sum."""
    writer = ClickHouseWriter(WorkerSettings())
    writer._client = EncodingClient()  # type: ignore[assignment]
    writer._types["t", ("a",)] = [get_from_name("String")]
    part = InsertPart(("a",), [("x",)])
    await writer.insert_parts("t", [part, part])
    with pytest.raises(RetryLater, match="expected 3 written rows, found 2"):
        await writer.insert_parts("t", [part, part, part])


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8123", False),
        ("http://127.1.2.3:8123", False),
        ("http://[::1]:8123", False),
        ("HTTP://localhost:8123/", False),
        ("https://127.0.0.1:8443", True),
        ("http://10.0.0.1:8123", True),
        ("http://clickhouse:8123", True),
        ("http://localhost.example:8123", True),
        ("http://127.0.0.1.example:8123", True),
    ],
)
@pytest.mark.asyncio
async def test_inserts_are_compressed_but_on_this_machine(
    url: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network has a price for each byte, the loopback interface has none."""
    told: dict[str, object] = {}

    async def client(**options: object) -> object:
        told.update(options)
        return object()

    monkeypatch.setattr("clickhouse_connect.get_async_client", client)
    monkeypatch.setattr(writers, "read_answers", lambda _client: None)
    await writers.connect(WorkerSettings(clickhouse_url=url))
    assert told["compress"] is expected
