"""Receivers tell each other what they have counted, over core NATS. What the counts mean is quotas.py's.

Every receiver says its own counts and adds up everybody's: no process in the middle could be away, nothing is on disk.
"""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress
from typing import Final

import nats.errors
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from receiver import metrics
from receiver.quotas import Quotas
from schemas import subjects

REPORT_S: Final = 0.5
# A quota that is being used up fast is reported sooner, but not more often than this.
HURRIED_REPORT_S: Final = 0.05
# Now and then everything is said again, for receivers that have just started and for reports that were lost.
EVERYTHING_S: Final = 2.0
# A report is far below the broker's largest message, however many keys have quotas.
MAX_NAMES: Final = 10_000


class QuotaExchange:
    """Says what `quotas` has counted and hears what others have; `run` never ends by itself."""

    def __init__(self, client: Client, quotas: Quotas) -> None:
        self._client = client
        self._quotas = quotas
        self._name = uuid.uuid4().hex
        self._hurry = asyncio.Event()
        quotas.hurry = self._hurry.set
        quotas.admitted_while_stale = metrics.QUOTA_STALE_CHECKS.inc
        metrics.QUOTA_STALE.set_function(lambda: float(quotas.stale))

    async def open(self) -> None:
        """Begins to listen; the subscription survives reconnects."""
        await self._client.subscribe(subjects.QUOTA_USE, cb=self._on_report)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        next_full_s = loop.time()
        while True:
            everything = loop.time() >= next_full_s
            if everything:
                next_full_s = loop.time() + EVERYTHING_S
                self._quotas.forget_the_silent()
            await self._say(self._quotas.report(everything=everything))
            await asyncio.sleep(HURRIED_REPORT_S)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), REPORT_S - HURRIED_REPORT_S)

    async def _say(self, used: dict[str, int]) -> None:
        self._hurry.clear()
        names = list(used.items())
        for start in range(0, len(names), MAX_NAMES):
            body = orjson.dumps({"receiver": self._name, "used": dict(names[start : start + MAX_NAMES])})
            self._quotas.report_sent()
            with suppress(nats.errors.Error, OSError):  # the broker is away: `stale` will say so
                await self._client.publish(subjects.QUOTA_USE, body)

    async def _on_report(self, message: Msg) -> None:
        try:
            report = orjson.loads(message.data)
            receiver, used = str(report["receiver"]), {str(name): int(total) for name, total in report["used"].items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            metrics.QUOTA_REPORTS_UNREADABLE.inc()
            return
        if receiver == self._name:
            self._quotas.report_returned()
        else:
            self._quotas.hear(receiver, used)
            metrics.QUOTA_REPORTS.inc()
