"""Failed messages that DEAD had no room for: a limited number waits here until there is room."""

from __future__ import annotations

from typing import Final

from workers.consume.message import Entry

MAX_ENTRIES: Final = 256
MAX_BYTES: Final = 16_000_000


class WaitingDeadLetters:
    """The waiting entries, oldest first. As the owner of their messages it never ends."""

    def __init__(self, entries: int = MAX_ENTRIES, size_bytes: int = MAX_BYTES) -> None:
        self._most = entries
        self._most_bytes = size_bytes
        self._entries: dict[Entry, None] = {}
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, entry: Entry) -> bool:
        return entry in self._entries

    def done(self) -> bool:
        """See owned_messages.MessageOwner."""
        return False

    def take(self, entry: Entry) -> bool:
        """Whether there was room for it."""
        size_bytes = len(entry.message.body)
        if len(self._entries) >= self._most or self._size_bytes + size_bytes > self._most_bytes:
            return False
        self._entries[entry] = None
        self._size_bytes += size_bytes
        return True

    def entries(self) -> list[Entry]:
        """A copy, oldest first."""
        return list(self._entries)

    def remove(self, entry: Entry) -> None:
        """Removes it."""
        if entry in self._entries:
            del self._entries[entry]
            self._size_bytes -= len(entry.message.body)
