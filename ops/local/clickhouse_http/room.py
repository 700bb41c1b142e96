"""`/ready` of the embedded engine: whether the disk of its folder has room for another insert."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from ops.local.disk_watch import ROOM_BYTES, room_bytes


def ready(folder: Path) -> web.Response:
    """200, or 503 with what was expected and what was found; inserts are refused with code 243 then."""
    found = room_bytes(folder)
    if found >= ROOM_BYTES:
        return web.Response(text="Ok.\n")
    text = (
        f"disk: expected {ROOM_BYTES} bytes free for the engine, found {found}; it goes on by itself with more room\n"
    )
    return web.Response(status=503, text=text)
