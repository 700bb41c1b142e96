"""Whether ClickHouse accepts this process: a worker that it refuses fetches no messages, so that others get them.

A ClickHouse that is away later is waited out with the messages in hand (insert.py): then no other worker could insert.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import structlog

from ops.runtime.process.backoff import Backoff
from ops.runtime.secret_masking import without_secrets
from workers import metrics
from workers.clock import Clock
from workers.store.clickhouse_errors import InsertFailed, OurFault
from workers.store.same_system import BROKER_SILENT, WrongSystem

log = structlog.get_logger()

FIRST_PAUSE_S: Final = 0.25
MAX_PAUSE_S: Final = 5.0
REPORT_EVERY_S: Final = 60.0
# How long a worker may go on after its tables were adopted by another system.
COMPARE_EVERY_S: Final = 60.0
_AT_START: Final = "start"
_WRONG_USER: Final = frozenset({192, 193, 194, 516})


class ClickHouseAccess:
    """Open once ClickHouse has answered `check`; a table is closed while inserts into it fail by our fault.

    `check` raises InsertFailed. The retries of a held insert open its table again.
    """

    def __init__(
        self, check: Callable[[], Awaitable[None]], clock: Clock, jitter: Callable[[], float] = random.random
    ) -> None:
        self._check = check
        self._clock = clock
        self._backoff = Backoff(FIRST_PAUSE_S, MAX_PAUSE_S, jitter)
        self._checking = asyncio.Lock()
        self._answered = False
        self._jitter = jitter
        # Whether the last regular comparison found the tables of another system.
        self.is_of_another_system = False
        self._refused: set[str] = set()
        self._changed = asyncio.Event()
        metrics.CLICKHOUSE_REFUSES.labels(_AT_START).set(1)

    async def wait(self, tables: Iterable[str]) -> None:
        """Returns when ClickHouse has answered once and refuses inserts into none of `tables`."""
        if not self._answered:
            async with self._checking:  # one check for all workers of the process
                await self._until_answered()
        while not self._refused.isdisjoint(tables):
            self._changed.clear()
            await self._changed.wait()

    def refused(self, table: str) -> None:
        """An insert failed by our fault."""
        self._refused.add(table)
        metrics.CLICKHOUSE_REFUSES.labels(table).set(1)

    def accepted(self, table: str) -> None:
        """ClickHouse has answered an insert."""
        if table in self._refused:
            self._refused.discard(table)
            metrics.CLICKHOUSE_REFUSES.labels(table).set(0)
            self._changed.set()

    def check_again(self) -> None:
        """The connection to the broker is a new one: it may be another broker."""
        self._answered = False
        metrics.CLICKHOUSE_REFUSES.labels(_AT_START).set(1)

    async def watch(self) -> None:
        """Compares regularly, beside the inserts: tables can be adopted while everything runs. Ends when cancelled."""
        while True:
            await self._clock.sleep(COMPARE_EVERY_S * (1 - self._jitter() / 4))
            if self._answered or self.is_of_another_system:
                await self._compare()

    async def _compare(self) -> None:
        try:
            await self._check()
        except WrongSystem as error:
            if not self.is_of_another_system:
                _tell(error)
            self.is_of_another_system = True
            self.check_again()
        except InsertFailed:
            return  # the next insert sees it too
        else:
            self.is_of_another_system = False

    async def confirm(self) -> None:
        """Compares once more, after a failed insert: it may be another ClickHouse. Raises InsertFailed."""
        await self._check()

    async def _until_answered(self) -> None:
        failures, reported_s = 0, -REPORT_EVERY_S
        while not self._answered:
            try:
                await self._check()
            except InsertFailed as error:
                failures += 1
                if (now_s := self._clock.now_s()) - reported_s >= REPORT_EVERY_S or failures == 1:
                    _tell(error)
                    reported_s = now_s
                await self._clock.sleep(self._backoff.pause_s(failures))
            else:
                self._answered = True
                metrics.CLICKHOUSE_REFUSES.labels(_AT_START).set(0)
                log.info("clickhouse_answers", failures=failures)


def _tell(error: InsertFailed) -> None:
    (log.error if isinstance(error, OurFault) else log.warning)(
        "waiting_for_clickhouse",
        reason=error.reason,
        code=error.code,
        error=without_secrets(error.message)[:500],
        remedy=f"{remedy(error)}. This worker fetches no messages until then",
    )


def remedy(error: InsertFailed) -> str:
    """What an operator can do. A variable is read at the start only; what is mended on the server is seen at once."""
    if isinstance(error, WrongSystem):
        return (
            "correct AXONPUSH_CLICKHOUSE_URL, AXONPUSH_CLICKHOUSE_DATABASE or AXONPUSH_NATS_URL and start this worker "
            "again. `axonpush status` says whether another system took these tables: `axonpush migrate "
            "--take-back` brings them back; after a restore run `axonpush migrate --adopt-tables`, and it goes on by "
            "itself"
        )
    if error.reason == BROKER_SILENT:
        return "start the broker; this worker goes on by itself"
    if error.code in _WRONG_USER:
        return (
            "set AXONPUSH_CLICKHOUSE_USER and AXONPUSH_CLICKHOUSE_PASSWORD to a user that may insert and start this "
            "worker again; or correct the user in ClickHouse, and it goes on by itself"
        )
    if isinstance(error, OurFault):
        return "run `axonpush migrate`, or give the user its rights in ClickHouse; this worker goes on by itself"
    return "start ClickHouse, and this worker goes on by itself; or correct AXONPUSH_CLICKHOUSE_URL and start it again"
