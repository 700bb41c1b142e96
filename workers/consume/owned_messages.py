"""Which messages a Batcher owns, and which task works on each of them. The Batcher acknowledges them.

A message must not stay held when nobody works on it any more: the broker would hear that it is in progress for ever.
So each has an owner that can end, and one whose owner has ended is an orphan, which the Batcher gives back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from workers.consume.message import Message


class MessageOwner(Protocol):
    """Whoever works on a message: a task, a batch, a place where it waits."""

    def done(self) -> bool:
        """Whether it has ended: then it does nothing for the message any more."""


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
        """From now on `message` is held."""
        self._owners[message] = owner

    def pass_on(self, message: Message, owner: MessageOwner) -> None:
        """Another works on `message` now; one that is not held stays so."""
        if message in self._owners:
            self._owners[message] = owner

    def let_go(self, message: Message) -> None:
        """`message` is settled or given back."""
        self._owners.pop(message, None)

    def abandon(self, messages: Iterable[Message], owner: MessageOwner) -> None:
        """`owner` does nothing more for those of `messages` that are still its own."""
        for message in messages:
            if self._owners.get(message) is owner:
                self._owners[message] = NOBODY

    def orphans(self) -> list[Message]:
        """Those whose owner has ended."""
        return [message for message, owner in self._owners.items() if owner.done()]

    def due(self, touched_before_s: float) -> list[Message]:
        """Those that somebody works on and of which the broker has not heard since."""
        return [
            message
            for message, owner in self._owners.items()
            if message.touched_s <= touched_before_s and not owner.done()
        ]
