"""Large bodies are read by another process: the same answers, and nobody waits for a hostile one."""

from __future__ import annotations

import asyncio
import base64
import gzip
import os
import signal
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.runtime.process.child_process import ChildProcess
from receiver.endpoints import minidump, native, store
from receiver.http import body_facts, body_readers
from receiver.http.answers import Refused
from receiver.http.body_facts import Unreadable
from receiver.http.body_readers import MAX_JOBS_OF_KEY, BodyReaders, ReaderProcess
from tests.polling import DEADLINE_S
from tests.unit import forms
from tests.unit.receiver.test_app import EVENT_ID, SECRET, Client, auth

NATIVE = {"x_api_key": SECRET}
TOLD = {"is_batch": False, "wants_fingerprint": True}
EVENT: dict[str, Any] = {"identifier": "a", "channel_id": 42, "payload": {"b": [1, 2.5, None]}}
HOSTILE = b'{"identifier":"a","channel_id":42,"payload":{"a":[' + b"[]," * 100_000 + b"NaN]}"


class NoParser:
    """Stands for every reader in this process: whatever reads a body here fails the test."""

    def __call__(self, *_args: object, **_named: object) -> Any:
        raise AssertionError("a large body was read in the receiver's loop")


@pytest.fixture
def unread_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("submission", "store", "loads"):
        monkeypatch.setattr(body_facts, name, NoParser())
    monkeypatch.setattr(minidump, "crash_id", NoParser())


def padded(event: dict[str, Any]) -> bytes:
    """The same event in a body that is too large to be read here."""
    return orjson.dumps(event).ljust(native.MAX_READ_HERE_BYTES + 1)


@pytest.mark.usefixtures("unread_here")
@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/event", HOSTILE, NATIVE, 400),
        ("/event", gzip.compress(HOSTILE), NATIVE | {"content_encoding": "gzip"}, 400),
        ("/event", HOSTILE + b"}", NATIVE, 201),
        ("/event", padded(EVENT), NATIVE, 201),
        ("/event/batch", HOSTILE, NATIVE, 400),
        ("/event/batch", orjson.dumps({"channel_id": 42, "events": [EVENT] * 1_000}), NATIVE, 202),
        ("/api/42/store/", HOSTILE, {"x_sentry_auth": auth()}, 200),
        ("/api/42/minidump/", b"MDMP".ljust(100_000), {"x_sentry_auth": auth()}, 200),
        (
            "/api/42/minidump/",
            forms.write([("upload_file_minidump", b"MDMP"), ("sentry", HOSTILE)]),
            {"x_sentry_auth": auth(), "content_type": forms.CONTENT_TYPE},
            200,
        ),
    ],
)
def test_no_large_body_is_read_in_the_loop(path: str, body: bytes, headers: dict[str, str], status: int) -> None:
    """Every endpoint that has to know something of its body asks the other process, whatever is in it."""
    assert Client().post(path, body, **headers).status == status


def test_a_small_body_that_hides_a_large_one_is_not_read_in_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Old SDKs' base64 of zlib: nothing large comes out of it here, and the answer has the event's id all the same."""
    event = b'{"event_id":"%s","x":"%s"}' % (EVENT_ID.encode(), b"y" * 900_000)
    body = base64.b64encode(zlib.compress(event))
    assert len(body) < store.MAX_READ_HERE_BYTES
    sizes: list[int] = []
    event_text = body_facts.event_text

    def counted(body: bytes, limit_bytes: int) -> bytes:
        text = event_text(body, limit_bytes)
        sizes.append(len(text))
        return text

    monkeypatch.setattr(body_facts, "event_text", counted)
    answer = Client().post("/api/42/store/", body, x_sentry_auth=auth())
    assert (answer.status, answer.json) == (200, {"id": EVENT_ID})
    assert max(sizes, default=0) <= store.MAX_READ_HERE_BYTES


EVENTS = st.fixed_dictionaries(
    {"identifier": st.text(max_size=5), "payload": st.dictionaries(st.text(max_size=3), st.integers(0, 9), max_size=3)},
    optional={
        "channel_id": st.sampled_from([42, "42", 0, None, [], 99]),
        "dedupKey": st.text(max_size=5),
        "sync": st.sampled_from([False, None, "yes"]),
        "environment": st.sampled_from(["staging", "", "NO!", 7]),
        "eventType": st.sampled_from(["custom", "agent.end", "no"]),
        "metadata": st.sampled_from([None, {}, {"a": 1}, []]),
        "agentId": st.sampled_from([1, "a", "x" * 501, {}]),
    },
)


def found(reading: Callable[[], Any]) -> Any:
    """What it finds, or what it says that is wrong."""
    try:
        return reading()
    except Unreadable as error:
        return str(error)


def through_a_pipe(plain: Any) -> Any:
    return orjson.loads(orjson.dumps(plain))


@settings(max_examples=60, deadline=None)
@given(EVENTS, st.booleans(), st.booleans())
def test_both_ways_find_the_same(event: dict[str, Any], is_batch: bool, wants_fingerprint: bool) -> None:
    """What is read here, and what comes back from the other process, are equal: facts and refusals."""
    body = orjson.dumps({"channel_id": 42, "events": [event, event]} if is_batch else event)
    told = {"is_batch": is_batch, "wants_fingerprint": wants_fingerprint}
    here = found(lambda: body_facts.submission(body, **told))
    there = found(lambda: body_facts.submission_of(through_a_pipe(body_facts.read(body_facts.NATIVE, told, body))))
    assert there == here


@pytest.mark.parametrize(
    "fields", [{}, {"sync": False}, {"dedupKey": "k" * 300}, {"identifier": ""}, {"channel_id": "x"}]
)
def test_a_large_event_hears_what_a_small_one_hears(fields: dict[str, Any]) -> None:
    """Status and words do not depend on the size."""
    event = EVENT | fields
    small, large = (
        Client().post("/event", orjson.dumps(event), **NATIVE),
        Client().post("/event", padded(event), **NATIVE),
    )
    assert small.status == large.status
    if small.status >= 400:
        assert small.json == large.json
    else:
        assert small.json.keys() == large.json.keys()


@pytest.mark.asyncio
async def test_an_idempotency_key_sees_that_two_large_bodies_say_the_same() -> None:
    """The fingerprint is of the content, read there as here."""
    body = padded(EVENT)
    plain = await BodyReaders().read("k", body_facts.NATIVE, TOLD, body)
    assert body_facts.submission_of(plain).fingerprint == body_facts.submission(orjson.dumps(EVENT), **TOLD).fingerprint


@pytest.mark.asyncio
async def test_keys_take_turns() -> None:
    """A key with many bodies has its own wait; what it has too many of is refused, and other keys are not."""
    readers = BodyReaders()
    order: list[str] = []

    async def one(key: str) -> None:
        await readers.read(key, body_facts.CRASH, {"content_type": "x", "channel_id": 42}, b"MDMP")
        order.append(key)

    crowd = [asyncio.create_task(one("greedy")) for _ in range(MAX_JOBS_OF_KEY + 1)]
    other = asyncio.create_task(one("other"))
    ends = await asyncio.gather(*crowd, other, return_exceptions=True)
    refused = [end for end in ends if isinstance(end, Refused)]
    assert [one.status for one in refused] == [503]
    assert order.index("other") <= 2


@pytest.mark.asyncio
async def test_whoever_goes_away_costs_no_turn() -> None:
    """The body of a request that has ended is not read any more."""
    asked: list[bytes] = []

    class Heard(ReaderProcess):
        def ask(self, kind: str, arguments: dict[str, Any], inflated: bytes) -> dict[str, Any]:
            asked.append(inflated)
            return super().ask(kind, arguments, inflated)

    readers = BodyReaders(Heard())
    told = {"content_type": "x", "channel_id": 42}
    tasks = [asyncio.create_task(readers.read("k", body_facts.CRASH, told, b"%d" % n)) for n in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert asked == [b"0", b"2"]


@pytest.mark.asyncio
async def test_a_process_that_is_killed_is_started_again() -> None:
    """Its job may be sent again; the next one is answered."""
    readers = BodyReaders(process := ReaderProcess())
    told = {"content_type": "x", "channel_id": 42}
    first = await readers.read("k", body_facts.CRASH, told, b"MDMP")
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert await readers.read("k", body_facts.CRASH, told, b"MDMP") == first


@pytest.mark.asyncio
async def test_a_receiver_of_any_size_keeps_its_process() -> None:
    """How much memory the receiver has had says nothing about the process that it starts."""
    readers = BodyReaders(process := ReaderProcess())
    told = {"content_type": "x", "channel_id": 42}
    had = bytearray(400_000_000)
    had[::4096] = b"x" * len(had[::4096])
    await readers.read("k", body_facts.CRASH, told, b"MDMP")
    first = process.pid
    assert first is not None
    await readers.read("k", body_facts.CRASH, told, b"MDMP")
    assert process.pid == first


@pytest.mark.asyncio
async def test_a_body_that_takes_too_long_is_refused_for_good() -> None:
    """The process is ended with it, and whoever comes next gets a new one."""
    readers = BodyReaders(process := ReaderProcess(read_s=0.0))
    with pytest.raises(Refused) as refused:
        await readers.read("k", body_facts.NATIVE, TOLD, HOSTILE)
    assert refused.value.status == 413
    assert process.pid is None
    process.read_s = 30.0
    with pytest.raises(Unreadable):
        await readers.read("k", body_facts.NATIVE, TOLD, HOSTILE)


def test_the_process_has_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the receiver's variables it gets a short list; its memory is bounded."""
    monkeypatch.setenv("AXONPUSH_NATS_PASSWORD", "hunter2-hunter2")
    process = ChildProcess(body_readers.MODULE)
    try:
        environment = Path(f"/proc/{process.pid}/environ")
        if not environment.exists():
            pytest.skip("no /proc here")
        assert b"hunter2" not in environment.read_bytes()
    finally:
        process.close()


def test_the_process_ends_with_its_receiver() -> None:
    """Closing its input is enough, however the receiver died."""
    process = ChildProcess(body_readers.MODULE)
    try:
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.close()


def test_small_bodies_need_no_other_process() -> None:
    """The usual event is read where it is."""
    client = Client()
    client.steps.readers = BodyReaders(process := ReaderProcess())
    assert client.post("/event", orjson.dumps(EVENT), **NATIVE).status == 201
    assert client.post("/api/42/store/", b'{"event_id":"%s"}' % EVENT_ID.encode(), x_sentry_auth=auth()).status == 200
    assert process.pid is None
