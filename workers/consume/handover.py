"""Passes items to workers of the same process in memory, without publishing them to the broker again.

Nothing is at risk by it. The body stays unacknowledged in RAW until the rows of all its items are stored, and rows are
a function of the body, so a process that dies half way leaves nothing lost and nothing doubled. It saves the broker a
message that is five times the compressed body, with its fsync: docs/decisions/0012-stored.md has the numbers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from schemas.subjects import ITEMS
from workers.consume.message import Message, Receipt
from workers.unpack.publish import ItemMessage

# Items that are given to a worker at once; then the loop looks at everything else. They take 0.1 ms each at least.
GROUP_MESSAGES: Final = 64


class Taker(Protocol):
    """A worker of this process; a Pipeline is one."""

    async def accept(self, messages: Sequence[Message]) -> None:
        """Takes ownership of the messages; blocks while it is full."""


class Handover:
    """Gives items to `takers`, by worker. What nobody here takes is left for the broker.

    So is every item of a body that was delivered before: if one of them kills its worker, the others must not die with
    it again.
    """

    def __init__(self, takers: Mapping[str, Taker]) -> None:
        self._takers = takers

    async def give(self, message: Message, item_messages: Sequence[ItemMessage]) -> list[ItemMessage]:
        """Returns the messages of items that were not taken.

        The message's receipt waits from now on for those that were.
        """
        if message.deliveries != 1:
            return list(item_messages)
        taken = [item_message for item_message in item_messages if _worker(item_message) in self._takers]
        if not taken:
            return list(item_messages)
        body = _Body(message.receipt, parts=len(taken) + 1)
        message.receipt = _Part(body)
        by_worker: dict[str, list[Message]] = {}
        for item_message in taken:
            by_worker.setdefault(_worker(item_message), []).append(_message(message, item_message, _Part(body)))
        for worker, messages in by_worker.items():
            await self._give(self._takers[worker], messages)
        return [item_message for item_message in item_messages if _worker(item_message) not in self._takers]

    async def _give(self, taker: Taker, messages: list[Message]) -> None:
        """In groups: a body has up to 500 items, each of which has its price however small it is."""
        for start in range(0, len(messages), GROUP_MESSAGES):
            if start:
                await asyncio.sleep(0)
            await taker.accept(messages[start : start + GROUP_MESSAGES])


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


def _worker(item_message: ItemMessage) -> str:
    return item_message.subject.split(".", 2)[1]


def _message(body: Message, item_message: ItemMessage, receipt: Receipt) -> Message:
    """The item as the broker would have delivered it for the first time."""
    return Message(
        item_message.subject, item_message.headers, item_message.body, ITEMS, body.seq, 1, body.stored_at_ns, receipt
    )
