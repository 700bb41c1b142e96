"""A receiver follows the registry: every change is known soon, what is held serves on while the broker is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import nats.errors
import pytest
from structlog.testing import capture_logs

from ops.runtime.registry import registry_log
from ops.runtime.registry.follow import PAUSE_S, RETRY_S
from receiver.admission.registry import (
    LOOKUP_TIMEOUT_S,
    Directory,
    RegistryUnavailable,
    WatchedRegistry,
)
from schemas.registry import Channel, Key, Organisation, key_hash
from schemas.subjects import REGISTRY_BUCKET
from tests.unit import virtual_time
from tests.unit.broker_fake import BrokerFake, bucket

RESYNC_S = 60.0
UNKNOWN_S = 30.0
CHANNEL = Channel(id=7, organisation="acme")
LIMITED = Organisation(slug="acme", quota_per_minute=10)


def key(number: int = 1) -> Key:
    text = f"ak_{number:032}"
    return Key(sha256=key_hash(text), id=f"{number:016x}", organisation="acme", environment="production", kind="secret")


class Followed:
    """A bucket, and a receiver's registry that follows it."""

    def __init__(self) -> None:
        self.broker = BrokerFake(bucket(REGISTRY_BUCKET))
        self.registry = WatchedRegistry(
            self.broker,  # type: ignore[arg-type]
            directory=Directory(UNKNOWN_S, asyncio.get_running_loop().time),
            resync_s=RESYNC_S,
            clock=asyncio.get_running_loop().time,
        )

    def put(self, entry: Key | Channel | Organisation) -> None:
        self._write(entry.kv_key, entry.model_dump_json().encode(), {})

    def delete(self, entry: Key | Channel | Organisation) -> None:
        self._write(entry.kv_key, b"", {"KV-Operation": "DEL"})

    def write_unreadable(self, name: str) -> None:
        self._write(name, b"\xff", {})

    def _write(self, name: str, data: bytes, told: dict[str, str]) -> None:
        stream = self.broker.streams[f"KV_{REGISTRY_BUCKET}"]
        self.broker.store(stream, f"$KV.{REGISTRY_BUCKET}.{name}", data, told)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.registry.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def scene(work: Callable[[Followed], Awaitable[None]]) -> None:
    async def run() -> None:
        await work(Followed())

    virtual_time.run(run())


def test_the_first_snapshot_has_every_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many requests it takes; before it, nobody is told that a key is unknown."""
    monkeypatch.setattr(registry_log, "BATCH", 2)

    async def work(site: Followed) -> None:
        for number in range(5):
            site.put(key(number))
        site.delete(key(3))
        assert not site.registry.ready
        assert site.registry.age_s() == float("inf")
        site.broker.get_last_msg = None  # type: ignore[method-assign, assignment]
        async with site.running():
            await site.registry.wait_ready()
            found = [await site.registry.key(key(number).sha256) for number in range(5)]
            assert found == [None if number == 3 else key(number) for number in range(5)]
            assert site.registry.ready  # and no entry had to be looked up

    scene(work)


def test_a_change_is_known_after_a_pause() -> None:
    """Made, changed, deleted; of channels, keys and organisations."""

    async def work(site: Followed) -> None:
        async with site.running():
            await site.registry.wait_ready()
            site.put(CHANNEL)
            site.put(LIMITED)
            site.put(key())
            await asyncio.sleep(2 * PAUSE_S)
            assert site.registry.organisation("acme") == LIMITED
            assert (await site.registry.channel(7), await site.registry.key(key().sha256)) == (CHANNEL, key())
            site.put(key().model_copy(update={"revoked": True}))
            site.delete(CHANNEL)
            await asyncio.sleep(2 * PAUSE_S)
            found = await site.registry.key(key().sha256)
            assert found is not None
            assert found.revoked
            assert await site.registry.channel(7) is None

    scene(work)


def test_an_entry_nobody_can_read_is_none() -> None:
    """The others are followed all the same."""

    async def work(site: Followed) -> None:
        site.write_unreadable("channel.8")
        site.put(CHANNEL)
        async with site.running():
            await site.registry.wait_ready()
            assert await site.registry.channel(8) is None
            site.write_unreadable("channel.7")
            site.put(key())
            await asyncio.sleep(2 * PAUSE_S)
            assert await site.registry.channel(7) is None
            assert await site.registry.key(key().sha256) == key()

    scene(work)


@pytest.mark.parametrize("error", [nats.errors.NoRespondersError(), OSError("away"), nats.errors.TimeoutError()])
def test_what_is_held_serves_on_while_the_broker_is_away(error: Exception) -> None:
    """Its age grows; what is not held is nobody's to deny; afterwards every change is made up for."""

    async def work(site: Followed) -> None:
        site.put(CHANNEL)
        async with site.running():
            await site.registry.wait_ready()
            site.broker.error = error
            site.put(key())
            await asyncio.sleep(RESYNC_S / 2)
            assert site.registry.age_s() >= RESYNC_S / 2 - 2 * PAUSE_S
            assert await site.registry.channel(7) == CHANNEL
            with pytest.raises(RegistryUnavailable):
                await site.registry.key(key().sha256)
            site.broker.error = None
            await asyncio.sleep(2 * PAUSE_S)
            assert site.registry.age_s() <= 2 * PAUSE_S
            assert await site.registry.key(key().sha256) == key()

    scene(work)


def test_a_start_without_a_broker_tries_until_there_is_one() -> None:
    """Not ready until then."""

    async def work(site: Followed) -> None:
        site.put(CHANNEL)
        site.broker.error = nats.errors.NoRespondersError()
        async with site.running():
            await asyncio.sleep(20 * RETRY_S)
            assert not site.registry.ready
            site.broker.error = None
            await asyncio.sleep(2 * RETRY_S)
            assert site.registry.ready
            assert await site.registry.channel(7) == CHANNEL

    scene(work)


def test_each_reason_for_a_broker_that_is_away_is_logged_once() -> None:
    """However often it is tried; an error without a text by its name."""

    async def work(site: Followed) -> None:
        async with site.running():
            for error in (OSError("away"), TimeoutError(), OSError("away")):
                site.broker.error = error
                await asyncio.sleep(10 * RETRY_S)

    with capture_logs() as lines:
        scene(work)
    told = [line["error"] for line in lines if line["event"] == "registry_unreachable"]
    assert told == ["away", "TimeoutError", "away"]
    assert {line["bucket"] for line in lines} == {REGISTRY_BUCKET}


@pytest.mark.parametrize("is_asked_for", [True, False])
def test_everything_is_read_again_now_and_then(is_asked_for: bool) -> None:
    """When the connection is new, and every RESYNC_S: a bucket that was made anew counts from the beginning."""

    async def work(site: Followed) -> None:
        for number in range(9):
            site.put(key(number))
        async with site.running():
            await site.registry.wait_ready()
            site.broker.streams[f"KV_{REGISTRY_BUCKET}"] = bucket(REGISTRY_BUCKET)
            site.put(CHANNEL)
            await asyncio.sleep(2 * PAUSE_S)
            assert await site.registry.key(key(1).sha256) == key(1)
            if is_asked_for:
                site.registry.resync()
            await asyncio.sleep(2 * PAUSE_S if is_asked_for else RESYNC_S)
            assert await site.registry.key(key(1).sha256) is None
            assert await site.registry.channel(7) == CHANNEL

    scene(work)


def test_an_unknown_key_is_looked_up_once_in_a_while() -> None:
    """Whoever tries keys is no load; a key that was just made is found before the change is followed."""

    async def work(site: Followed) -> None:
        asked: list[str] = []
        find = site.broker.get_last_msg

        async def counting(stream: str, subject: str, **options: Any) -> Any:
            asked.append(subject)
            return await find(stream, subject, **options)

        site.broker.get_last_msg = counting  # type: ignore[method-assign]
        for _ in range(3):
            assert await site.registry.key(key().sha256) is None
        assert len(asked) == 1
        site.put(key())
        await asyncio.sleep(UNKNOWN_S + 1)
        assert await site.registry.key(key().sha256) == key()
        assert await site.registry.key(key().sha256) == key()
        assert len(asked) == 2

    scene(work)


def test_a_look_up_ends() -> None:
    """Of a broker that does not answer: 503 in time, and not a request that waits for ever."""

    async def work(site: Followed) -> None:
        async def never(*_: Any, **__: Any) -> None:
            await asyncio.Event().wait()

        site.broker.get_last_msg = never  # type: ignore[method-assign, assignment]
        began_s = asyncio.get_running_loop().time()
        with pytest.raises(RegistryUnavailable):
            await site.registry.key(key().sha256)
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(LOOKUP_TIMEOUT_S)

    scene(work)


def test_who_waits_knows_what_was_written_before() -> None:
    """Also if the first look at the bucket had begun already."""

    async def work(site: Followed) -> None:
        follower = site.registry._follower
        async with site.running():
            await follower.wait_ready()
            for number in range(20):
                site.put(key(number))
                await follower.caught_up()
                assert await site.registry.key(key(number).sha256) == key(number)
            site.broker.error = nats.errors.NoRespondersError()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(60):
                    await follower.caught_up()

    scene(work)
