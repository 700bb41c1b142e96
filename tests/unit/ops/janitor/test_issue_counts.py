"""Days that are over are counted once, and old counts are deleted when nobody can be reading them."""

from __future__ import annotations

import datetime as dt
from typing import Any

from clickhouse_connect.driver.exceptions import DatabaseError

from ops.janitor.issue_counts import CLEAN_EVERY_NS, DAYS_AT_ONCE, KEPT_NS, IssueCounter

HOUR_NS = 3_600 * 10**9


class _Answer:
    def __init__(self, rows: list[tuple[Any, ...]]) -> None:
        self.result_rows = rows


class FakeTables:
    """Days that wait, countings that hold, and countings that are stored."""

    def __init__(self) -> None:
        self.waiting: list[tuple[dt.date, int]] = []
        self.holding: dict[str, int] = {}
        self.stored: set[int] = set()
        self.finished: set[int] = set()
        self.refuses = False
        self.changes = False
        self.tried: list[dt.date] = []

    def query(self, sql: str, parameters: dict[str, Any] | None = None) -> _Answer:
        if "changed_at" in sql:
            return _Answer(list(self.waiting))
        if "AS latest_counting" in sql:
            return _Answer(list(self.holding.items()))
        if "DISTINCT counting_id" in sql:
            return _Answer([(one,) for one in self.stored])
        assert parameters is not None
        return _Answer([(int(parameters["counting"] in self.finished),)])

    def command(self, sql: str, parameters: dict[str, Any]) -> None:
        if sql.startswith("DELETE"):
            self.stored -= set(parameters["countings"])
        elif "min(order_key)" in sql:
            self.tried.append(parameters["day"])
            if self.refuses:
                raise DatabaseError("Code: 241. MEMORY_LIMIT_EXCEEDED")
            self.stored.add(parameters["counting"])
        elif not self.changes:
            self.finished.add(parameters["counting"])


class Clock:
    def __init__(self) -> None:
        self.now_ns = 1_000 * HOUR_NS

    def __call__(self) -> int:
        self.now_ns += 1
        return self.now_ns


def counter(clock: Clock | None = None) -> IssueCounter:
    return IssueCounter(clock or Clock())


def test_some_days_at_once() -> None:
    """After an upgrade there may be hundreds; each has a number of its own."""
    tables, counting = FakeTables(), counter()
    tables.waiting = [(dt.date(2026, 11, day), day) for day in range(1, 26)]
    assert counting.work(tables) == DAYS_AT_ONCE  # type: ignore[arg-type]
    assert len(tables.finished) == DAYS_AT_ONCE
    assert tables.tried == [dt.date(2026, 11, day) for day in range(1, 11)]


def test_a_day_that_cannot_be_counted_is_tried_again_when_it_has_changed() -> None:
    """Not every minute: counting it costs what it cost the last time. Other days are counted."""
    tables, counting = FakeTables(), counter()
    tables.waiting, tables.refuses = [(dt.date(2026, 11, 2), 7)], True
    assert [counting.work(tables) for _ in range(3)] == [0, 0, 0]  # type: ignore[arg-type]
    assert len(tables.tried) == 1
    tables.waiting, tables.refuses = [(dt.date(2026, 11, 2), 8)], False
    assert counting.work(tables) == 1  # type: ignore[arg-type]


def test_a_day_that_changed_meanwhile_is_not_counted() -> None:
    """Nothing says that its counts hold."""
    tables = FakeTables()
    tables.waiting, tables.changes = [(dt.date(2026, 11, 2), 7)], True
    assert counter().work(tables) == 0  # type: ignore[arg-type]
    assert tables.stored
    assert not tables.finished


def test_old_counts_are_deleted_when_no_list_can_read_them() -> None:
    """An hour old, and outdated at two looks; counts that hold stay for ever, new ones may not be finished yet."""
    tables, clock = FakeTables(), Clock()
    held, outdated, new = clock.now_ns - 900 * HOUR_NS, clock.now_ns - 2 * KEPT_NS, clock.now_ns - KEPT_NS // 2
    tables.stored, tables.holding = {held, outdated, new}, {"2026-11-02": held}
    counting = counter(clock)
    counting.work(tables)  # type: ignore[arg-type]
    assert tables.stored == {held, outdated, new}
    counting.work(tables)  # type: ignore[arg-type]
    assert tables.stored == {held, outdated, new}
    clock.now_ns += CLEAN_EVERY_NS
    counting.work(tables)  # type: ignore[arg-type]
    assert tables.stored == {held, new}


def test_counts_that_hold_again_stay() -> None:
    """The errors of the day are again those that were counted."""
    tables, clock = FakeTables(), Clock()
    old = clock.now_ns - 2 * KEPT_NS
    tables.stored = {old}
    counting = counter(clock)
    for holding in ({}, {"2026-11-02": old}, {}):
        tables.holding = holding
        counting.work(tables)  # type: ignore[arg-type]
        clock.now_ns += CLEAN_EVERY_NS
    assert tables.stored == {old}
