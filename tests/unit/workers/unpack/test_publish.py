"""Items on their way to the broker: what a failed try leaves behind."""

from __future__ import annotations

import asyncio

import pytest
from nats.errors import TimeoutError as NatsTimeout

from tests.unit.worker_fakes import FakeClock, settled
from workers.unpack.publish import ItemMessage, OneByOne


@pytest.mark.asyncio
async def test_a_second_try_has_the_headers_of_the_first() -> None:
    """A group that failed has written its place into them: sent again, the item would open a batch nobody ends."""
    seen: list[dict[str, str]] = []

    async def publish(_subject: str, _body: bytes, headers: dict[str, str]) -> None:
        seen.append(dict(headers))
        headers["Nats-Batch-Id"] = "x"
        if len(seen) == 1:
            raise NatsTimeout

    clock = FakeClock()
    publisher = OneByOne(publish, clock, messages=1, size_bytes=100)
    publishing = asyncio.create_task(publisher.publish([ItemMessage("item.event.7", b"x", {"Nats-Msg-Id": "1:0:0"})]))
    await settled()
    await clock.turn(1)
    await publishing
    assert seen == [{"Nats-Msg-Id": "1:0:0"}] * 2
