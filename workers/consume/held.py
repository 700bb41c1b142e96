"""Which messages a Batcher owns, and who works on each of them now. Settling them is the Batcher's.

A message must not stay held when nobody works on it any more: the broker would hear that it is in progress for ever.
So each has an owner that can end, and one whose owner has ended is an orphan, which the Batcher gives back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from workers.consume.message import Letter


class Owner(Protocol):
    """Whoever works on a message: a task, a batch, a place where it waits."""

    def done(self) -> bool:
        """Whether it has ended: then it does nothing for the message any more."""


class Nobody:
    """The owner of a message whose handling was broken off."""

    def done(self) -> bool:
        return True


NOBODY = Nobody()


class Held:
    """The messages, in the order they came."""

    def __init__(self) -> None:
        self._owners: dict[Letter, Owner] = {}

    def __len__(self) -> int:
        return len(self._owners)

    def __contains__(self, letter: Letter) -> bool:
        return letter in self._owners

    def __iter__(self) -> Iterator[Letter]:
        return iter(self._owners)

    def take(self, letter: Letter, owner: Owner) -> None:
        """From now on `letter` is held."""
        self._owners[letter] = owner

    def pass_on(self, letter: Letter, owner: Owner) -> None:
        """Another works on `letter` now; one that is not held stays so."""
        if letter in self._owners:
            self._owners[letter] = owner

    def let_go(self, letter: Letter) -> None:
        """`letter` is settled or given back."""
        self._owners.pop(letter, None)

    def abandon(self, letters: Iterable[Letter], owner: Owner) -> None:
        """`owner` does nothing more for those of `letters` that are still its own."""
        for letter in letters:
            if self._owners.get(letter) is owner:
                self._owners[letter] = NOBODY

    def orphans(self) -> list[Letter]:
        """Those whose owner has ended."""
        return [letter for letter, owner in self._owners.items() if owner.done()]

    def due(self, touched_before_s: float) -> list[Letter]:
        """Those that somebody works on and of which the broker has not heard since."""
        return [
            letter
            for letter, owner in self._owners.items()
            if letter.touched_s <= touched_before_s and not owner.done()
        ]
