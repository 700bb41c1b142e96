"""Free space on the engine's disk: answers `/ready`, and limits how much of an answer may be buffered."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from aiohttp import web

from ops.local.disk_watch import MIN_FREE_BYTES, free_bytes

# wait_end_of_query buffers this much of an answer in a temporary file; a longer answer is streamed.
SPOOL_BYTES: Final = 1 << 30
# All buffered answers together leave this much of the disk free.
SPARED_BYTES: Final = 1 << 30
_MAX_ANSWERS: Final = 64


def spool_bytes(folder: Path) -> int:
    """How much of one answer may be buffered on the disk of `folder`."""
    return max(0, min(SPOOL_BYTES, (free_bytes(folder) - SPARED_BYTES) // _MAX_ANSWERS))


def ready(folder: Path) -> web.Response:
    """200, or 503 with the expected and the found free space; inserts are then refused with code 243."""
    found_bytes = free_bytes(folder)
    if found_bytes >= MIN_FREE_BYTES:
        return web.Response(text="Ok.\n")
    text = (
        f"disk: expected {MIN_FREE_BYTES} bytes free for the engine, found {found_bytes}; "
        "inserts work again once there is room\n"
    )
    return web.Response(status=503, text=text)
