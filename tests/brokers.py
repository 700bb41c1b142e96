"""One question to a broker, from a test that is no coroutine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import nats
from nats.aio.client import Client

T = TypeVar("T")


def on_broker(url: str, work: Callable[[Client], Awaitable[T]], **options: Any) -> T:
    """Runs `work` on a connection of its own; `url` may name several servers, `options` are nats.connect's."""

    async def run() -> T:
        client = await nats.connect(url.split(","), **options)
        try:
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(run())
