"""Requests whose bodies come when a test says so: for what happens while others are still on their way."""

from __future__ import annotations

import asyncio
from typing import Any

from receiver.app import App
from tests.polling import DEADLINE_S
from tests.unit.receiver.test_app import Answered

SETTLE_TURNS = 50


class Held:
    """One request to `app`, begun at once. `give` brings bytes, `answer` waits for what it hears."""

    def __init__(
        self,
        app: App,
        path: str,
        headers: dict[str, str] | None = None,
        *,
        address: str = "192.0.2.1",
        method: str = "POST",
    ) -> None:
        plain, _, query = path.partition("?")
        pairs = [(name.lower().replace("_", "-").encode(), value.encode()) for name, value in (headers or {}).items()]
        scope = {
            "type": "http",
            "method": method,
            "path": plain,
            "query_string": query.encode(),
            "headers": pairs,
            "client": (address, 1),
        }
        self._coming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._sent: list[dict[str, Any]] = []
        self.asked = 0
        self._answered = asyncio.Event()
        self.task = asyncio.create_task(app(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        self.asked += 1
        return await self._coming.get()

    async def _send(self, message: Any) -> None:
        self._sent.append(message)
        if message["type"] == "http.response.body":
            self._answered.set()

    def give(self, body: bytes, *, more: bool = True) -> None:
        self._coming.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def leave(self) -> None:
        """The sender goes away."""
        self._coming.put_nowait({"type": "http.disconnect"})

    @property
    def is_answered(self) -> bool:
        return self._answered.is_set()

    async def answer(self) -> Answered:
        async with asyncio.timeout(DEADLINE_S):
            await self._answered.wait()
        return Answered(self._sent)


async def settled() -> None:
    """Everything that can happen without more input has happened."""
    for _ in range(SETTLE_TURNS):
        await asyncio.sleep(0)
