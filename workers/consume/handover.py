"""Items for workers of this very process: handed over in memory, without a second way through the broker.

Nothing is at risk by it. The body stays unacknowledged in RAW until the rows of all its items are stored, and rows are
a function of the body, so a process that dies half way leaves nothing lost and nothing doubled. It saves the broker a
message that is five times the compressed body, with its fsync: docs/decisions/0012-stored.md has the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from schemas.subjects import ITEMS
from workers.consume.message import Letter, Receipt
from workers.unpack.publish import Parcel


class Taker(Protocol):
    """A worker of this process; a Pipeline is one."""

    async def accept(self, letters: Sequence[Letter]) -> None:
        """Takes ownership of the letters; blocks while it is full."""


class Handover:
    """Gives items to `takers`, by worker. What nobody here takes is left for the broker.

    So is every item of a body that was delivered before: if one of them kills its worker, the others must not die with
    it again.
    """

    def __init__(self, takers: Mapping[str, Taker]) -> None:
        self._takers = takers

    async def give(self, letter: Letter, parcels: Sequence[Parcel]) -> list[Parcel]:
        """Returns the parcels that were not taken. The letter's receipt waits from now on for those that were."""
        if letter.deliveries != 1:
            return list(parcels)
        taken = [parcel for parcel in parcels if _worker(parcel) in self._takers]
        if not taken:
            return list(parcels)
        body = _Body(letter.receipt, parts=len(taken) + 1)
        letter.receipt = _Part(body)
        for parcel in taken:
            await self._takers[_worker(parcel)].accept([_letter(letter, parcel, _Part(body))])
        return [parcel for parcel in parcels if _worker(parcel) not in self._takers]


class _Body:
    """The receipt that the parts of one body share: settled once, by the last ack or by the first nak."""

    __slots__ = ("left", "receipt")

    def __init__(self, receipt: Receipt, parts: int) -> None:
        self.receipt = receipt
        self.left = parts


class _Part:
    """The receipt of one item, or of what unpack itself has to store."""

    __slots__ = ("_body",)

    def __init__(self, body: _Body) -> None:
        self._body = body

    async def ack(self) -> None:
        body = self._body
        body.left -= 1
        if body.left == 0:
            await body.receipt.ack()

    async def nak(self, delay: float | None = None) -> None:
        """The whole body comes again: what is stored of it already will be the same rows."""
        body = self._body
        if body.left > 0:
            body.left = -1  # later acks find nothing to do
            await body.receipt.nak(delay)

    async def in_progress(self) -> None:
        if self._body.left > 0:
            await self._body.receipt.in_progress()


def _worker(parcel: Parcel) -> str:
    return parcel.subject.split(".", 2)[1]


def _letter(body: Letter, parcel: Parcel, receipt: Receipt) -> Letter:
    """The item as the broker would have delivered it for the first time."""
    return Letter(parcel.subject, parcel.headers, parcel.body, ITEMS, body.seq, 1, body.stored_at_ns, receipt)
