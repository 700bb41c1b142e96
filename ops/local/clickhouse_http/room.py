"""The disk of the engine's folder: whether it has room for another insert, or for an answer to be held back."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from aiohttp import web

from ops.local.disk_watch import ROOM_BYTES, room_bytes

# wait_end_of_query holds back this much, in a temporary file; what is longer is sent while it comes.
SPOOL_BYTES: Final = 1 << 30
# What answers leave of the disk, and how many may be held back at once: all of them together leave that much.
SPARED_BYTES: Final = 1 << 30
_ANSWERS: Final = 64


def spool_bytes(folder: Path) -> int:
    """How much of one answer may be held back on the disk of `folder`."""
    return max(0, min(SPOOL_BYTES, (room_bytes(folder) - SPARED_BYTES) // _ANSWERS))


def ready(folder: Path) -> web.Response:
    """200, or 503 with what was expected and what was found; inserts are refused with code 243 then."""
    found = room_bytes(folder)
    if found >= ROOM_BYTES:
        return web.Response(text="Ok.\n")
    text = (
        f"disk: expected {ROOM_BYTES} bytes free for the engine, found {found}; it goes on by itself with more room\n"
    )
    return web.Response(status=503, text=text)
