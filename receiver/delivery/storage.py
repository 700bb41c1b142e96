"""Whether the broker can store bodies: `/ready` answers 503 after a few failures in a row, until a publish succeeds.

A receiver that is not ready gets no requests, so it publishes small test messages itself until one is stored: a list of
no outcomes, which makes no row. While bodies are stored, no test messages are sent.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from typing import Final

import structlog

from receiver import metrics
from receiver.delivery.publish import BodyPublisher, PublishError
from schemas import headers, refusals, subjects

FAILURES_IN_A_ROW: Final = 3
PROBE_EVERY_S: Final = 1.0
# Failures that say nothing about the disk: `broker` in /ready shows the connection, and a busy server still stores.
_NOT_ABOUT_STORAGE: Final = frozenset({"disconnected", "connection", "busy", "max_payload"})
_NO_CHANNEL: Final = 0

log = structlog.get_logger()


class Storage:
    """Counts failures since the last stored body. `clock_ns` is the wall clock, for the probe's headers."""

    def __init__(self, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._clock_ns = clock_ns
        self._failures = 0
        self._failed = asyncio.Event()
        metrics.STORES.set(1)

    @property
    def stores(self) -> bool:
        """False after FAILURES_IN_A_ROW, until something is stored again."""
        return self._failures < FAILURES_IN_A_ROW

    def stored(self) -> None:
        """The broker has written something."""
        if not self._failures:
            return
        if not self.stores:
            log.info("storage_resumed", failures=self._failures)
            metrics.STORES.set(1)
        self._failures = 0
        self._failed.clear()

    def failed(self, reason: str) -> None:
        """The broker did not take a body, for `reason` (a label of metrics.PUBLISH_FAILURES)."""
        if reason in _NOT_ABOUT_STORAGE:
            return
        self._failures += 1
        self._failed.set()
        if self._failures == FAILURES_IN_A_ROW:
            metrics.STORES.set(0)
            log.error(
                "storage_refused",
                reason=reason,
                failures=self._failures,
                remedy="not ready until the broker stores again; `axonpush status` says which stream and server refuse",
            )

    async def run(self, publisher: BodyPublisher) -> None:
        """Writes probes between a failure and the next success, until cancelled."""
        while True:
            await self._failed.wait()
            await asyncio.sleep(PROBE_EVERY_S)
            if self._failed.is_set():
                await self.probe(publisher)

    async def probe(self, publisher: BodyPublisher) -> None:
        """One small write, with a new id each time: the broker would drop a repeated id as a duplicate."""
        probe_headers = headers.write(self._origin(), f"storage-check:{uuid.uuid4().hex}")
        try:
            await publisher.publish(subjects.raw(subjects.OUTCOME, _NO_CHANNEL), refusals.encode(()), probe_headers)
        except PublishError as error:
            self.failed(error.reason)
        else:
            self.stored()

    def _origin(self) -> headers.Origin:
        return headers.Origin(
            organisation="",
            channel_id=_NO_CHANNEL,
            key_id="",
            environment="",
            environment_from_event=False,
            received_at_ns=self._clock_ns(),
            content_type="application/json",
        )
