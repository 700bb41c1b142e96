"""Which messages a Batcher owns, and which task works on each of them. The Batcher acknowledges them.

The Batcher tells the broker that its messages are in progress. That must end when nobody works on a message any more.
So each message has an owner that can end; a message whose owner has ended is an orphan, and the Batcher gives it back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from workers.consume.message import Message


class MessageOwner(Protocol):
    """Works on a message: a task, a batch, or a collection in which it waits."""

    def done(self) -> bool:
        """Whether it has ended."""


class Nobody:
    """The owner of a message whose handling was broken off."""

    def done(self) -> bool:
        return True


NOBODY = Nobody()


class OwnedMessages:
    """The messages, in the order they came."""

    def __init__(self) -> None:
        self._owners: dict[Message, MessageOwner] = {}

    def __len__(self) -> int:
        return len(self._owners)

    def __contains__(self, message: Message) -> bool:
        return message in self._owners

    def __iter__(self) -> Iterator[Message]:
        return iter(self._owners)

    def take(self, message: Message, owner: MessageOwner) -> None:
        """Takes ownership of `message`."""
        self._owners[message] = owner

    def pass_on(self, message: Message, owner: MessageOwner) -> None:
        """Gives `message` another owner; does nothing if it is not owned here."""
        if message in self._owners:
            self._owners[message] = owner

    def let_go(self, message: Message) -> None:
        """`message` is settled or given back."""
        self._owners.pop(message, None)

    def abandon(self, messages: Iterable[Message], owner: MessageOwner) -> None:
        """Takes those of `messages` from `owner` that it still owns."""
        for message in messages:
            if self._owners.get(message) is owner:
                self._owners[message] = NOBODY

    def orphans(self) -> list[Message]:
        """Messages whose owner has ended."""
        return [message for message, owner in self._owners.items() if owner.done()]

    def due(self, touched_before_s: float) -> list[Message]:
        """Messages in work that the broker was not told about since `touched_before_s`."""
        return [
            message
            for message, owner in self._owners.items()
            if message.touched_s <= touched_before_s and not owner.done()
        ]
