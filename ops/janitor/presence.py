"""The janitor answers `axonpush status`, which else could not tell whether one runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from schemas.subjects import JANITOR_ASK

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg


async def answer_presence(client: Client) -> None:
    """Answers until cancelled."""
    subscription = await client.subscribe(JANITOR_ASK, cb=_answer)
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        await subscription.unsubscribe()


async def _answer(message: Msg) -> None:
    if message.reply:
        await message.respond(b"{}")
