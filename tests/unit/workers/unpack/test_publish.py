"""Items on their way to the broker: what a failed try leaves behind."""

from __future__ import annotations

import asyncio

import pytest
from nats.errors import MaxPayloadError
from nats.errors import TimeoutError as NatsTimeout

from ops.runtime.process.backoff import Backoff
from tests.unit.worker_fakes import FakeClock, settled
from workers.unpack import publish as publishing_module
from workers.unpack.publish import FIRST_PAUSE_S, MAX_PAUSE_S, ItemMessage, OneByOne


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


@pytest.mark.asyncio
async def test_pauses_double_up_to_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first one: a broker that is away for a minute is asked a dozen times, and not hundreds of times."""
    monkeypatch.setattr(publishing_module, "_BACKOFF", Backoff(FIRST_PAUSE_S, MAX_PAUSE_S, jitter=lambda: 1.0))
    tries = 0

    async def publish(_subject: str, _body: bytes, _headers: dict[str, str]) -> None:
        nonlocal tries
        tries += 1
        if tries <= 8:
            raise NatsTimeout

    clock = FakeClock()
    publisher = OneByOne(publish, clock, messages=1, size_bytes=100)
    publishing = asyncio.create_task(publisher.publish([ItemMessage("item.event.7", b"x", {})]))
    for _ in range(8):
        await settled()
        await clock.turn(MAX_PAUSE_S)
    await publishing
    assert clock.sleeps_s == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])


@pytest.mark.parametrize("error", [MaxPayloadError, ValueError])
@pytest.mark.asyncio
async def test_what_a_retry_would_not_mend_is_raised_at_once(error: type[Exception]) -> None:
    """Also where it comes at the second try."""
    for before in (0, 1):
        errors = [NatsTimeout()] * before + [error()]

        async def publish(
            _subject: str, _body: bytes, _headers: dict[str, str], errors: list[Exception] = errors
        ) -> None:
            raise errors.pop(0)

        clock = FakeClock()
        publisher = OneByOne(publish, clock, messages=1, size_bytes=100)
        publishing = asyncio.create_task(publisher.publish([ItemMessage("item.event.7", b"x", {})]))
        await settled()
        await clock.turn(1)
        with pytest.raises(error):
            await publishing
        assert errors == []
