"""The Fetcher: one request waits for a first message, and only what belongs to it wakes it up."""

from __future__ import annotations

import asyncio

import pytest
from nats.aio.msg import Msg

from schemas.subjects import SOURCES
from tests.unit.worker_fakes import settled
from workers.consume.pull import Fetcher, FetchSize


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
