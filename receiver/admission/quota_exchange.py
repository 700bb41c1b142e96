"""Receivers send each other their counts over core NATS, and get from workers the number of rows they made.

quotas.py knows what the counts mean. Every process sends its own counts, and each receiver adds them all up. So there
is no central process that could be away, and nothing is on disk.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from receiver import metrics
from receiver.admission.quotas import Quotas
from schemas import subjects, usage
from schemas.usage import Unit, counter_name

REPORT_S: Final = 0.5
# A quota that is being used up fast is reported sooner, but not more often than this.
HURRIED_REPORT_S: Final = 0.05
# Everything is sent again at this interval, for receivers that have just started and for lost reports.
EVERYTHING_S: Final = usage.EVERYTHING_S


class QuotaExchange:
    """Sends the counts of `quotas` and receives those of others; `run` ends when it is cancelled."""

    def __init__(self, client: Client, quotas: Quotas) -> None:
        self._client = client
        self._quotas = quotas
        # What `axonpush status` shows of this process; added to the reports that somebody has asked for.
        self.health: Callable[[], Mapping[str, object]] | None = None
        self._name = uuid.uuid4().hex
        self._hurry = asyncio.Event()
        self._is_asked = False
        quotas.hurry = self._hurry.set
        quotas.admitted_while_stale = metrics.QUOTA_STALE_CHECKS.inc
        metrics.QUOTA_STALE.set_function(lambda: float(quotas.stale))

    async def open(self) -> None:
        """Subscribes; the subscriptions survive reconnects."""
        await self._client.subscribe(subjects.QUOTA_USE, cb=self._on_report)
        await self._client.subscribe(subjects.QUOTA_ROWS, cb=self._on_rows)
        await self._client.subscribe(subjects.QUOTA_ASK, cb=self._on_ask)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        next_full_s = loop.time()
        while True:
            everything = self._is_asked or loop.time() >= next_full_s
            if self._is_asked:
                await self._say_health()
            self._is_asked = False
            if everything:
                next_full_s = loop.time() + EVERYTHING_S
                self._quotas.forget_ended_reporters()
            await self._send(self._quotas.report(everything=everything))
            await asyncio.sleep(HURRIED_REPORT_S)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), REPORT_S - HURRIED_REPORT_S)

    async def _send(self, used: dict[str, int]) -> None:
        self._hurry.clear()
        for body in usage.reports(self._name, used):
            self._quotas.report_sent()
            with suppress(nats.errors.Error, OSError):  # the broker is away: `stale` will say so
                await self._client.publish(subjects.QUOTA_USE, body)

    async def _say_health(self) -> None:
        if self.health is not None:
            self._quotas.report_sent()
            with suppress(nats.errors.Error, OSError):
                await self._client.publish(subjects.QUOTA_USE, usage.encode(self._name, {}, self.health()))

    async def _on_report(self, message: Msg) -> None:
        try:
            receiver, used = usage.decode(message.data)
        except ValueError:
            metrics.QUOTA_REPORTS_UNREADABLE.inc()
            return
        if receiver == self._name:
            self._quotas.report_returned()
        else:
            self._quotas.hear(receiver, used)
            metrics.QUOTA_REPORTS.inc()

    async def _on_ask(self, _message: Msg) -> None:
        """A receiver has started: the next report has everything."""
        self._is_asked = True
        self._hurry.set()

    async def _on_rows(self, message: Msg) -> None:
        """A worker's report: rows it made, by key and organisation. It has no counts of requests or bytes."""
        try:
            worker, used = usage.decode(message.data)
        except ValueError:
            metrics.QUOTA_REPORTS_UNREADABLE.inc()
            return
        self._quotas.hear(worker, {counter_name(owner, Unit.ROWS): rows for owner, rows in used.items()})
        metrics.QUOTA_ROWS_REPORTS.inc()
