"""What the process does: waits for the lease, and while it has it evaluates, sends and records, side by side."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog

from console.alerts import metrics
from console.alerts.bucket import BucketUnavailable
from console.alerts.lease import RENEW_S
from console.alerts.limits.failures import ENDS_ROUND
from console.alerts.limits.places import MessagePlaces
from console.api.errors import ApiError
from ops.runtime.tasks import end, run_together
from schemas.subjects import ALERTS_ASK

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from console.alerts.deliver.sender import DeliverySender
    from console.alerts.evaluate import Evaluator
    from console.alerts.history import History
    from console.alerts.lease import EvaluationLease
    from console.alerts.requests import Requests
    from console.alerts.secret_sweep import SecretSweep
    from console.alerts.settings import AlertsSettings
    from console.alerts.states import States

LOOK_S: Final = 0.25
RECORD_S: Final = 1.0
RETRY_S: Final = 1.0
# The supervisor waits 15 s for a process that it asked to stop.
DRAIN_S: Final = 12.0
MAX_REQUESTS: Final = 20
# A console's inbox in the same account, and in another one: nowhere else is answered.
_INBOXES: Final = ("_INBOX.console.", "_R_.")

log = structlog.get_logger()


@dataclass(slots=True)
class Leader:
    """One process. `run` returns after `stop`."""

    settings: AlertsSettings
    client: Client
    lease: EvaluationLease
    states: States
    evaluator: Evaluator
    sender: DeliverySender
    history: History
    requests: Requests
    sweep: SecretSweep
    stop: asyncio.Event
    traced: Callable[[str], AbstractContextManager[object]] = lambda _name: nullcontext()
    _answering: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self) -> None:
        """Until `stop`; what is being sent is finished, and the lease is given back."""
        renewing = asyncio.create_task(self._renew())
        try:
            while not self.stop.is_set():
                if self.lease.is_held:
                    await self._lead()
                await self._pause(LOOK_S)
        finally:
            await end(renewing)
            await self.lease.release()

    async def _renew(self) -> None:
        while True:
            began = time.monotonic()
            try:
                metrics.LEADER.set(await self.lease.step())
            except Exception:
                log.exception("lease_failed")
            await asyncio.sleep(max(0.1, RENEW_S - (time.monotonic() - began)))

    async def _lead(self) -> None:
        """Works until the lease is lost, or until what was begun is finished after `stop`."""
        log.info("alerts_leading")
        working, watching = asyncio.create_task(self._work()), asyncio.create_task(self._until_over())
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if working.done() and not working.cancelled() and (error := working.exception()) is not None:
            expected = isinstance(error, ENDS_ROUND)
            log.warning("alerts_interrupted", error=type(error).__name__, exc_info=None if expected else error)
            await self._pause(RETRY_S)
        await end(working, watching)
        self.states.forget()
        log.info("alerts_not_leading")

    async def _until_over(self) -> None:
        drained_s = 0.0
        while self.lease.is_held and drained_s < DRAIN_S:
            await asyncio.sleep(LOOK_S)
            drained_s += LOOK_S if self.stop.is_set() else 0.0

    async def _work(self) -> None:
        await self.states.load_all()
        subscription = await self.client.subscribe(ALERTS_ASK, cb=self._on_request)
        try:
            await run_together(self._evaluate(), self._send(), self._record())
        finally:
            if self.client.is_connected:
                await subscription.unsubscribe()
            await end(*self._answering)

    async def _evaluate(self) -> None:
        last_error = ""
        while not self.stop.is_set():
            began, error = time.monotonic(), ""
            try:
                with self.traced("alerts round"):
                    await self.evaluator.round()
                await self.sweep.step(self.evaluator.source.rules)
            except ApiError as refused:
                error = refused.detail
                metrics.ROUNDS_FAILED.labels("clickhouse").inc()
            except BucketUnavailable:
                error = "the broker does not answer"
                metrics.ROUNDS_FAILED.labels("broker").inc()
            if error and error != last_error:
                log.error("alerts_not_evaluated", error=error)
            elif last_error and not error:
                log.info("alerts_evaluated_again")
            last_error = error
            took_s = time.monotonic() - began
            metrics.ROUND_SECONDS.observe(took_s)
            # At most half of the time is spent on evaluating.
            await self._pause(max(self.settings.alerts_interval_s, took_s))

    async def _send(self) -> None:
        places, running = MessagePlaces(self.settings.alerts_deliveries_at_once), set[asyncio.Task[None]]()
        try:
            while not self.stop.is_set():
                running |= set(self.sender.start_due(places))
                await self._pause(LOOK_S)
                running = _still_running(running)
            if running:
                await asyncio.wait(running)
                _still_running(running)
        finally:
            await end(*running)

    async def _record(self) -> None:
        while True:
            is_last = self.stop.is_set()
            try:
                await self.history.write()
            except ApiError as error:
                log.warning("alert_history_not_written", error=error.detail)
            except BucketUnavailable:
                log.warning("alert_history_not_written", error="the broker does not answer")
            if is_last:
                return
            await self._pause(RECORD_S)

    async def _pause(self, seconds: float) -> None:
        """Shorter when `stop` comes."""
        try:
            async with asyncio.timeout(seconds):
                await self.stop.wait()
        except TimeoutError:
            return

    async def _on_request(self, message: Msg) -> None:
        if not message.reply.startswith(_INBOXES) or len(self._answering) >= MAX_REQUESTS:
            return
        task = asyncio.create_task(self._answer(message))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, message: Msg) -> None:
        await message.respond(await self.requests.answer(message.data))


def _still_running(tasks: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    """Those that have not ended. A broker that does not answer is asked again; other errors end the work."""
    for task in tasks:
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            if not isinstance(error, BucketUnavailable):
                raise error
            log.warning("alert_delivery_interrupted", error="the broker does not answer")
    return {task for task in tasks if not task.done()}
