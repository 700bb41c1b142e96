"""New logs as they arrive: asks again and again for rows that were received since the last time, each row once.

Rows of one insert can become readable after others that were received later, so each question reaches back a little and
leaves out what it has shown.
"""

from __future__ import annotations

import datetime as dt
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import orjson

Line = dict[str, Any]
# From `since` on, at most `limit` lines, the newest first.
ReadLines = Callable[[dt.datetime, int], Awaitable[list[Line]]]

FIRST_LINES: Final = 100
# More lines than this are counted, not shown: nobody reads them.
LINES_OF_A_POLL: Final = 200
# Of who comes back: what it has seen already is among them, for REACH_BACK.
MISSED_LINES: Final = 1_000
REACH_BACK: Final = dt.timedelta(seconds=20)
# A page that comes back gets what it missed, for so long.
LONGEST_GAP: Final = dt.timedelta(minutes=10)
MAX_SHOWN: Final = 20_000
_POLLS_BETWEEN_SIGNS: Final = 10
# Rows of one poll, also of a flood.
MAX_ROWS: Final = 5_000


@dataclass(frozen=True, slots=True)
class LivePolls:
    """How often and how many times. A browser opens the stream again when it ends, and its token is checked anew."""

    number: int = 600
    interval_s: float = 1.0


class LiveLines:
    """The lines of one stream."""

    def __init__(self, read: ReadLines, now: Callable[[], dt.datetime]) -> None:
        self._read = read
        self._now = now
        self._shown: OrderedDict[str, None] = OrderedDict()
        self._rows_before = 0

    @property
    def resume_id(self) -> str:
        """What a page says when it comes back."""
        return str(int(self._now().timestamp()))

    async def first(self, last_seen: dt.datetime | None) -> tuple[list[Line], bool]:
        """What was before: the last lines, or those that a page has missed since `last_seen`."""
        now = self._now()
        since = now - LONGEST_GAP if last_seen is None else max(last_seen - REACH_BACK, now - LONGEST_GAP)
        return await self._poll(since, FIRST_LINES if last_seen is None else MISSED_LINES)

    async def next(self) -> tuple[list[Line], bool]:
        """What is new since the last poll, the oldest first, and whether there was more than is shown."""
        return await self._poll(self._now() - REACH_BACK, LINES_OF_A_POLL)

    async def _poll(self, since: dt.datetime, limit: int) -> tuple[list[Line], bool]:
        # All rows of the poll before may be among these again, and must not hide a new one.
        asked = min(limit + 1 + self._rows_before, MAX_ROWS)
        rows = await self._read(since, asked)
        self._rows_before = len(rows)
        fresh = [row for row in rows if row["id"] not in self._shown]
        for row in rows:
            self._shown[row["id"]] = None
            self._shown.move_to_end(row["id"])
        while len(self._shown) > MAX_SHOWN:
            self._shown.popitem(last=False)
        return fresh[:limit][::-1], len(fresh) > limit or len(rows) >= MAX_ROWS


def server_sent_event(name: str, document: Any, message_id: str = "") -> bytes:
    """A server-sent event. JSON has no line breaks, so no text of a sender can end the line."""
    first = f"id: {message_id}\n" if message_id else ""
    return f"{first}event: {name}\ndata: ".encode() + orjson.dumps(document) + b"\n\n"


async def stream(
    lines: LiveLines,
    last_seen: dt.datetime | None,
    polls: LivePolls,
    pause: Callable[[float], Awaitable[None]],
    goes_on: Callable[[], Awaitable[bool]],
) -> AsyncIterator[bytes]:
    """The body of the answer: lines as they come, and a sign of life when there are none."""
    yield b"retry: 2000\n\n"
    for number in range(polls.number):
        if number:
            await pause(polls.interval_s)
        if not await goes_on():
            return
        new_lines, has_more = await (lines.next() if number else lines.first(last_seen))
        if new_lines or not number:
            yield server_sent_event("lines", {"lines": new_lines, "hasMore": has_more}, lines.resume_id)
        elif number % _POLLS_BETWEEN_SIGNS == 0:
            yield b": waiting\n\n"
