"""ClickHouse failures: each is retried, bisected or told to a person, and never the wrong one of the three."""

from __future__ import annotations

import struct

import aiohttp
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, DataError, OperationalError, ProgrammingError

from tests.unit.worker_fakes import FakeClock, FakeWriter
from workers.store.clickhouse_errors import (
    BAD_DATA,
    OUR_FAULT,
    RETRYABLE,
    BadData,
    InsertFailed,
    OurFault,
    RetryLater,
    classify,
)
from workers.store.insert import Inserter


def test_a_full_disk_is_known_however_it_is_said() -> None:
    """With ClickHouse's code, or as the file system said it; but a bad value that quotes those words stays bad."""
    for code in (243, 1001):
        found = classify(DatabaseError("DB::Exception: [Errno 28] No space left on device", code=code))
        assert isinstance(found, RetryLater)
        assert found.is_known
        assert found.reason == RETRYABLE[243]
    assert isinstance(classify(DatabaseError("cannot parse 'No space left on device'", code=27)), BadData)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (DatabaseError("too many parts", code=252), RetryLater),
        (DatabaseError("memory", code=241), RetryLater),
        (DatabaseError("cannot parse", code=27), BadData),
        (DatabaseError("type mismatch", code=53), BadData),
        (DatabaseError("no table", code=60), OurFault),
        (DatabaseError("auth", code=516), OurFault),
        (DatabaseError("never seen", code=99_999), RetryLater),
        (OperationalError("connection refused"), RetryLater),
        (DatabaseError("502 from a proxy"), RetryLater),
        (aiohttp.ClientConnectionError("reset"), RetryLater),
        (TimeoutError(), RetryLater),
        (ConnectionResetError(), RetryLater),
        (DataError("does not fit"), BadData),
        (struct.error("int too large"), BadData),
        (OverflowError("int too big"), BadData),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates"), BadData),
        (ProgrammingError("column count does not match"), OurFault),
        (RuntimeError("?"), RetryLater),
    ],
)
def test_every_failure_has_a_class(error: Exception, expected: type[InsertFailed]) -> None:
    """By code where there is one, by type where there is none."""
    assert isinstance(classify(error), expected)


def test_what_nobody_knows_is_retried_and_told() -> None:
    """Unknown is never data: dead-lettering good rows cannot be taken back."""
    for error in (DatabaseError("never seen", code=99_999), RuntimeError("?")):
        failure = classify(error)
        assert isinstance(failure, RetryLater)
        assert not failure.is_known


def test_every_code_has_one_class_and_a_short_reason() -> None:
    """Five words that a person can read in a dashboard."""
    tables = (RETRYABLE, BAD_DATA, OUR_FAULT)
    codes = [code for table in tables for code in table]
    assert len(codes) == len(set(codes))
    for table in tables:
        assert all(3 <= len(reason.split()) <= 5 for reason in table.values())


@pytest.mark.asyncio
async def test_bisecting_finds_all_bad_rows_and_stores_the_others_once() -> None:
    """Also when they lie side by side, first and last."""
    writer = FakeWriter([])
    bad = {0, 17, 18, 63, 99}
    writer.is_bad = lambda row: row[0] in bad
    refused = await Inserter(writer, FakeClock()).insert("t", ("n",), [(number,) for number in range(100)])
    assert {one.index for one in refused} == bad
    stored = [row[0] for row in writer.stored["t"]]
    assert sorted(stored, key=str) == sorted(set(range(100)) - bad, key=str)


@pytest.mark.asyncio
async def test_no_rows_no_insert() -> None:
    """An empty insert would be an error on the server."""
    writer = FakeWriter([])
    assert await Inserter(writer, FakeClock()).insert("t", ("n",), []) == []
    assert writer.inserts == []
