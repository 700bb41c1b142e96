"""The Fetcher: one request waits for a first message, and only what belongs to it wakes it up."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from nats.aio.msg import Msg

from schemas.subjects import SOURCES
from tests.unit.worker_fakes import settled
from workers.consume.pull import Fetcher, FetchSize, PullLoop


class Broker:
    """As much of a NATS client as a Fetcher uses."""

    def __init__(self) -> None:
        self.stats = {"reconnects": 0}
        self.requests: list[str] = []

    def new_inbox(self) -> str:
        return "_INBOX.x"

    async def publish(self, _subject: str, _payload: bytes, reply: str) -> None:
        self.requests.append(reply)


@pytest.mark.asyncio
async def test_the_late_end_of_an_older_request_wakes_nobody() -> None:
    """Taken for news it would end every wait at once: a loop of requests that eats a processor."""
    broker = Broker()
    fetcher = Fetcher(broker, SOURCES["event"], FetchSize(10, 1000))  # type: ignore[arg-type]
    fetching = asyncio.create_task(fetcher.fetch())
    await settled()
    stale = Msg(broker, subject="_INBOX.x.0", reply="", headers={"Status": "408"})  # type: ignore[arg-type]
    await fetcher._receive(stale)
    await settled()
    assert broker.requests == ["_INBOX.x.1"]
    assert not fetching.done()
    fetching.cancel()
    await asyncio.gather(fetching, return_exceptions=True)


class Loop(SimpleNamespace):
    """As much of a PullLoop as its pump uses: the broker is another one after the first fetch."""

    def __init__(self) -> None:
        super().__init__(running=True, reconnects=0, connection=Broker(), fetcher=self, events=[])

    _connection_is_new = PullLoop._connection_is_new

    async def may_fetch(self) -> None:
        self.events.append("may fetch")

    async def fetch(self) -> list[str]:
        self.connection.stats["reconnects"] += 1
        return ["message"]

    async def consume(self, messages: list[str]) -> None:
        self.events.append(f"consumed {messages}")

    async def _return(self, messages: list[str]) -> None:
        self.events.append(f"returned {messages}")

    async def _until_bound(self) -> None:
        self.events.append("bound")

    def on_reconnect(self) -> None:
        self.events.append("checked again")

    async def _pump(self) -> None:
        if self.events.count("bound") == 2:
            self.running = False
            return
        await PullLoop._pump(self)  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_what_came_over_a_new_connection_is_given_back_until_the_broker_was_compared() -> None:
    """Behind the same address may be another system's broker."""
    loop: Any = Loop()
    await PullLoop._consume_pull(loop)
    assert loop.events == ["bound", "may fetch", "returned ['message']", "checked again", "bound"]
