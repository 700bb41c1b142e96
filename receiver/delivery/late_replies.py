"""Stores workers' replies that arrive after the answer, so that a later `sync` repeat knows the result of its event.

The worker's reply comes after the insert, and no request waits for it. Without a reply within WAIT_S nothing is stored,
and a `sync` repeat processes the event again.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from ops.runtime.tasks import end
from receiver.delivery.counts import Inbox, Tally, Waiter
from receiver.delivery.idempotency import BodyResult, FirstAnswers, FirstBody, RecordOwner
from receiver.delivery.publish import Unavailable

WAIT_S: Final = 60.0
# About 3 kB each. With this many, replies to further events are not waited for.
MAX_WAITING: Final = 4096

# The record to update: its owner, its name, its current content.
Noted: TypeAlias = tuple[RecordOwner, bytes, FirstBody]


def result_of(tally: Tally) -> BodyResult:
    """The result that the counts stand for. A reply before the insert means that there was nothing to insert."""
    if tally.invalid is not None or not tally.stored or not tally.accepted:
        return BodyResult.REFUSED
    return BodyResult.PARTLY if tally.rejected else BodyResult.ROWS


@dataclass(slots=True)
class LateReplies:
    """Waits for the replies to stored events and notes them. `close` ends it."""

    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def is_full(self) -> bool:
        return len(self._tasks) >= MAX_WAITING

    def note(self, inbox: Inbox, waiter: Waiter, answers: FirstAnswers, noted: Noted) -> None:
        """Notes under the key what the reply to `waiter` says, and closes the waiter."""
        task = asyncio.create_task(_note(inbox, waiter, answers, noted))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        await end(*self._tasks)


async def _note(inbox: Inbox, waiter: Waiter, answers: FirstAnswers, noted: Noted) -> None:
    owner, name, first = noted
    try:
        await asyncio.wait((waiter.future,), timeout=WAIT_S)
        if waiter.future.done():
            with suppress(Unavailable):
                await answers.mark(owner, name, replace(first, result=result_of(waiter.future.result())))
    finally:
        inbox.close(waiter)
