"""What becomes of events under an idempotency key, noted after their answers: a later `sync` repeat asks for it.

The worker's reply comes after the insert. Waiting for it holds up no request; a reply that does not come within
FOLLOW_S is not noted, and a `sync` repeat then has the event processed once more.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from ops.runtime.tasks import end
from receiver.delivery.counts import Inbox, Tally, Ticket
from receiver.delivery.idempotency import Fate, First, FirstAnswers, RecordOwner
from receiver.delivery.publish import Unavailable

FOLLOW_S: Final = 60.0
# About 3 kB each; a reply to an event beyond them is not waited for.
MAX_FOLLOWED: Final = 4096


def fate_of(tally: Tally) -> Fate:
    """What the workers' counts mean. A reply that comes before an insert says that there is nothing to insert."""
    if tally.invalid is not None or not tally.stored or not tally.accepted:
        return Fate.REFUSED
    return Fate.PARTLY if tally.rejected else Fate.ROWS


@dataclass(slots=True)
class Fates:
    """Waits for the replies to stored events and notes them. `close` ends it."""

    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def is_full(self) -> bool:
        return len(self._tasks) >= MAX_FOLLOWED

    def follow(
        self, inbox: Inbox, ticket: Ticket, answers: FirstAnswers, whose: tuple[RecordOwner, bytes, First]
    ) -> None:
        """Notes under the key what the reply to `ticket` says, and closes the ticket."""
        task = asyncio.create_task(_note(inbox, ticket, answers, whose))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        await end(*self._tasks)


async def _note(inbox: Inbox, ticket: Ticket, answers: FirstAnswers, whose: tuple[RecordOwner, bytes, First]) -> None:
    owner, name, first = whose
    try:
        await asyncio.wait((ticket.future,), timeout=FOLLOW_S)
        if ticket.future.done():
            with suppress(Unavailable):
                await answers.mark(owner, name, replace(first, fate=fate_of(ticket.future.result())))
    finally:
        inbox.close(ticket)
