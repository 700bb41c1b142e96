"""Replies that come after the answer: what became of events under an idempotency key, for a later `sync` repeat.

The worker's reply comes after the insert. Waiting for it holds up no request; a reply that does not come within
WAIT_S is not noted, and a `sync` repeat then has the event processed once more.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from ops.runtime.tasks import end
from receiver.delivery.counts import Inbox, Tally, Ticket
from receiver.delivery.idempotency import BodyResult, FirstAnswers, FirstBody, RecordOwner
from receiver.delivery.publish import Unavailable

WAIT_S: Final = 60.0
# About 3 kB each; a reply to an event beyond them is not waited for.
MAX_WAITING: Final = 4096

# Whose record, under which name, and what it says so far.
Noted: TypeAlias = tuple[RecordOwner, bytes, FirstBody]


def result_of(tally: Tally) -> BodyResult:
    """What the workers' counts mean. A reply that comes before an insert says that there is nothing to insert."""
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

    def note(self, inbox: Inbox, ticket: Ticket, answers: FirstAnswers, noted: Noted) -> None:
        """Notes under the key what the reply to `ticket` says, and closes the ticket."""
        task = asyncio.create_task(_note(inbox, ticket, answers, noted))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        await end(*self._tasks)


async def _note(inbox: Inbox, ticket: Ticket, answers: FirstAnswers, noted: Noted) -> None:
    owner, name, first = noted
    try:
        await asyncio.wait((ticket.future,), timeout=WAIT_S)
        if ticket.future.done():
            with suppress(Unavailable):
                await answers.mark(owner, name, replace(first, result=result_of(ticket.future.result())))
    finally:
        inbox.close(ticket)
