"""Inserts rows: retries until ClickHouse answers, and finds the rows it refuses. writers.py has the insert itself."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from ops.runtime.process.backoff import Backoff
from schemas.rows import Row
from workers import metrics
from workers.clock import Clock
from workers.store.access import ClickHouseAccess, remedy
from workers.store.clickhouse_errors import BadData, InsertFailed, OurFault, RetryLater
from workers.store.writers import Writer

log = structlog.get_logger()

FIRST_PAUSE_S: Final = 0.25
# A restarted ClickHouse is used again within this time.
MAX_PAUSE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class RowRefused:
    """Row `index` of an insert can never be stored, for `error`."""

    index: int
    error: BadData


class InsertPause:
    """The pause after a failed insert into a table: no insert starts before it is over. Pauses double, with jitter."""

    def __init__(self, table: str, clock: Clock, backoff: Backoff) -> None:
        self._table = table
        self._clock = clock
        self._backoff = backoff
        self._failures = 0
        self._paused_until_s = 0.0

    async def wait(self) -> float:
        """Waits until the pause is over. Returns the start time of the attempt, for `failed`."""
        while (pause_s := self._paused_until_s - self._clock.now_s()) > 0:
            await self._clock.sleep(pause_s)
        return self._clock.now_s()

    @property
    def is_failing(self) -> bool:
        """Whether the last attempt failed."""
        return self._failures > 0

    def succeeded(self) -> None:
        if self._failures:
            log.info("inserts_resumed", table=self._table, failures=self._failures)
            metrics.INSERTS_HELD.labels(self._table).set(0)
        self._failures = 0
        self._paused_until_s = 0.0

    def failed(self, started_s: float, error: InsertFailed) -> None:
        """Attempts that ran side by side count once: the pause grows with time, not with the number of inserts."""
        if started_s < self._paused_until_s:
            return
        self._failures += 1
        pause_s = self._backoff.pause_s(self._failures)
        self._paused_until_s = self._clock.now_s() + pause_s
        metrics.INSERTS_HELD.labels(self._table).set(1)
        _tell(self._table, error, pause_s)


def _tell(table: str, error: InsertFailed, pause_s: float) -> None:
    is_alarm = isinstance(error, OurFault) or (isinstance(error, RetryLater) and not error.is_known)
    (log.error if is_alarm else log.warning)(
        "insert_held",
        table=table,
        kind=error.kind,
        code=error.code,
        reason=error.reason,
        error=error.message[:500],
        next_try_s=round(pause_s, 2),
        remedy=remedy(error) if isinstance(error, OurFault) else "",
    )


class Inserter:
    """Inserts until everything is stored that can be; shared by all batchers of a process."""

    def __init__(
        self,
        writer: Writer,
        clock: Clock,
        jitter: Callable[[], float] = random.random,
        access: ClickHouseAccess | None = None,
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._backoff = Backoff(FIRST_PAUSE_S, MAX_PAUSE_S, jitter)
        self._access = access
        self._pauses: dict[str, InsertPause] = {}

    async def insert(
        self, table: str, columns: Sequence[str], rows: Sequence[Row], *, retries_our_fault: bool = True
    ) -> list[RowRefused]:
        """Returns the rows that were refused, when all others are stored; may take as long as an outage does.

        Without `retries_our_fault` it raises OurFault instead of trying again; then any part of the rows may be stored.
        """
        refused: list[RowRefused] = []
        pending = [(0, len(rows))] if rows else []
        while pending:
            start, end = pending.pop()
            error = await self._until_answered(table, columns, rows[start:end], retries_our_fault=retries_our_fault)
            if error is None:
                continue
            if end - start == 1:
                refused.append(RowRefused(start, error))
                continue
            middle = (start + end) // 2
            pending += ((middle, end), (start, middle))
        return refused

    async def _until_answered(
        self, table: str, columns: Sequence[str], rows: Sequence[Row], *, retries_our_fault: bool
    ) -> BadData | None:
        """None when stored, the error when at least one of the rows is bad; anything else is waited out."""
        pause = self._pause_of(table)
        while True:
            started_s = await pause.wait()
            try:
                if self._access is not None and (pause.is_failing or self._access.is_of_another_system):
                    await self._access.confirm()
                await self._writer.insert(table, columns, rows)
            except InsertFailed as error:
                metrics.INSERT_ERRORS.labels(table, error.kind, str(error.code)).inc()
                if isinstance(error, BadData):
                    self._answered(pause, table)
                    return error
                pause.failed(started_s, error)
                if isinstance(error, OurFault):
                    if self._access is not None:
                        self._access.refused(table)
                    if not retries_our_fault:
                        raise
            else:
                self._answered(pause, table)
                metrics.INSERT_SECONDS.labels(table).observe(self._clock.now_s() - started_s)
                return None

    def _answered(self, pause: InsertPause, table: str) -> None:
        pause.succeeded()
        if self._access is not None:
            self._access.accepted(table)

    def _pause_of(self, table: str) -> InsertPause:
        pause = self._pauses.get(table)
        if pause is None:
            pause = self._pauses[table] = InsertPause(table, self._clock, self._backoff)
        return pause
