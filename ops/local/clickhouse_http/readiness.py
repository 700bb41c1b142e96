"""`/ready` of the embedded engine: whether its disk has room for another insert."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from ops.local.disk_watch import MIN_FREE_BYTES, free_bytes


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
