"""Counts rows made for senders with a quota of rows, and reports them to the receivers, which apply the quota.

Totals of the last minute are sent over core NATS, not a message for each body. Lost reports, and rows whose worker ends
before its next report, make a quota admit more, not less.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from nats.errors import Error as NatsError

from schemas import subjects, usage
from schemas.headers import Origin
from schemas.outcomes import CLIENT_PREFIX
from schemas.usage import EVERYTHING_S, Windows, key_name, organisation_name
from workers import metrics
from workers.clock import Clock, SystemClock
from workers.consume.message import Entry

REPORT_S: Final = 0.5


class RowCounts:
    """Counts of all workers of a process. `add` is for each message, `run` for the process's whole life."""

    def __init__(self, clock: Clock | None = None, health: Callable[[], Mapping[str, object]] | None = None) -> None:
        self._clock = clock or SystemClock()
        self._health = health
        self._windows = Windows()
        self._name = uuid.uuid4().hex
        self._is_asked = False

    def add(self, origin: Origin, entry: Entry) -> None:
        """Counts what was made of one message, if its sender has a quota of rows.

        A redelivered or replayed message does not count again, because its sender did not cause that.
        """
        if not origin.counts_rows or origin.replay_generation or entry.message.deliveries != 1:
            return
        rows = rows_of(entry)
        if rows:
            second = int(self._clock.now_s())
            for name in (key_name(origin.key_id), organisation_name(origin.organisation)):
                self._windows.of(name).add(second, rows)

    async def on_ask(self, _message: object) -> None:
        """A receiver has started, or `axonpush status` asks: the next report has everything, and our health."""
        self._is_asked = True

    def report(self, *, everything: bool) -> dict[str, int]:
        """Rows of the last minute by key and organisation: only changed ones or `everything`."""
        return self._windows.report(int(self._clock.now_s()), everything=everything)

    async def run(self, publish: Callable[[str, bytes], Awaitable[None]]) -> None:
        """Reports until cancelled: what has changed twice a second, everything every two seconds."""
        next_full_s = self._clock.now_s()
        while True:
            everything = self._is_asked or self._clock.now_s() >= next_full_s
            bodies = [usage.encode(self._name, {}, self._health())] if self._is_asked and self._health else []
            self._is_asked = False
            if everything:
                next_full_s = self._clock.now_s() + EVERYTHING_S
            for body in (*bodies, *usage.reports(self._name, self.report(everything=everything))):
                try:
                    await publish(subjects.QUOTA_ROWS, body)
                except (NatsError, OSError):
                    metrics.ROW_REPORTS_LOST.inc()
            await self._clock.sleep(REPORT_S)


def rows_of(entry: Entry) -> int:
    """The rows that a message counts for a quota: its rows, and each record that was refused, dropped or dead-lettered.

    An SDK's client report counts one row for each reason, whatever quantity it names.
    """
    return len(entry.rows) + sum(1 if row.outcome.startswith(CLIENT_PREFIX) else row.quantity for row in entry.outcomes)
