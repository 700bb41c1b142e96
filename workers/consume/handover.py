"""Passes items to workers of the same process in memory, without publishing them to the broker again.

Nothing can be lost. The body stays unacknowledged in RAW until the rows of all its items are stored, and rows are
a function of the body, so after a crash the body is processed again and makes the same rows. It saves the broker a
message that is five times the compressed body, with its fsync: docs/decisions/0012-stored.md has the numbers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from schemas.subjects import ITEMS
from workers.consume.message import Message, Receipt
from workers.unpack.publish import ItemMessage

# Items passed to a worker at once; then the event loop runs other tasks. Each takes at least 0.1 ms.
GROUP_MESSAGES: Final = 64


class ItemWorker(Protocol):
    """A worker of this process; a Pipeline is one."""

    @property
    def is_full(self) -> bool:
        """Whether it has so many messages in work that others would wait."""
        ...

    async def accept(self, messages: Sequence[Message]) -> None:
        """Takes ownership of the messages; blocks while it is full."""


class Handover:
    """Gives items to the workers of this process. Items of other workers go through the broker.

    So does every item of a redelivered body: if one of them crashes its worker, the others are not redelivered with it.
    Items for a worker that is full go through the broker too, so that unpack and with it all others need not wait.
    """

    def __init__(self, workers: Mapping[str, ItemWorker]) -> None:
        self._workers = workers

    async def give(self, message: Message, item_messages: Sequence[ItemMessage]) -> list[ItemMessage]:
        """Returns the items for the broker. The message is acknowledged after the items that were taken here."""
        if message.deliveries != 1:
            return list(item_messages)
        open_workers = {name for name, worker in self._workers.items() if not worker.is_full}
        taken_items = [item_message for item_message in item_messages if _worker(item_message) in open_workers]
        if not taken_items:
            return list(item_messages)
        body = _Body(message.receipt, parts=len(taken_items) + 1)
        message.receipt = _Part(body)
        by_worker: dict[str, list[Message]] = {}
        for item_message in taken_items:
            by_worker.setdefault(_worker(item_message), []).append(_message(message, item_message, _Part(body)))
        for worker, messages in by_worker.items():
            await self._give(self._workers[worker], messages)
        return [item_message for item_message in item_messages if _worker(item_message) not in open_workers]

    async def _give(self, item_worker: ItemWorker, messages: list[Message]) -> None:
        """In groups: a body has up to 500 items, and even a small one has a fixed cost."""
        for start in range(0, len(messages), GROUP_MESSAGES):
            if start:
                await asyncio.sleep(0)
            await item_worker.accept(messages[start : start + GROUP_MESSAGES])


class _Body:
    """The receipt of a body, shared by its parts: acknowledged with the last part, or returned with the first one."""

    __slots__ = ("left", "receipt")

    def __init__(self, receipt: Receipt, parts: int) -> None:
        self.receipt = receipt
        self.left = parts


class _Part:
    """The receipt of one item, or of the rows that unpack itself has to store."""

    __slots__ = ("_body",)

    def __init__(self, body: _Body) -> None:
        self._body = body

    async def ack(self) -> None:
        body = self._body
        body.left -= 1
        if body.left == 0:
            await body.receipt.ack()

    async def nak(self, delay: float | None = None) -> None:
        """The whole body is redelivered; items that are stored already make the same rows."""
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
