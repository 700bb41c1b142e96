"""How many things are done side by side, and how many of them for one organisation: no one takes all places."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class MessagePlaces:
    """`most` at once, three quarters of them for one organisation.

    Who waits for a place is one of few: only as many of an organisation stand in the common line as it may have places.
    """

    def __init__(self, most: int) -> None:
        self._all = asyncio.Semaphore(most)
        self._most_of_one = max(1, most * 3 // 4)
        self._of_one: dict[str, asyncio.Semaphore] = {}

    @asynccontextmanager
    async def of(self, organisation: str) -> AsyncIterator[None]:
        """A place for something of this organisation."""
        own = self._of_one.setdefault(organisation, asyncio.Semaphore(self._most_of_one))
        async with own, self._all:
            yield
