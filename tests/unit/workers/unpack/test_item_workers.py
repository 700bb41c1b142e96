"""Which worker each item of an envelope goes to: every type that SDKs send, as a table of its own."""

from __future__ import annotations

import orjson
import pytest

from schemas import headers, subjects
from tests.unit.worker_fakes import Bench
from tests.unit.workers.unpack.test_handler import Items, raw, unpacker
from workers.unpack import envelope

ORIGIN = headers.Origin("default", 7, "key", "production", False, 1)
WORKERS = {
    "event": "event",
    "transaction": "transaction",
    "session": "session",
    "sessions": "session",
    "check_in": "check_in",
    "log": "log",
    "span": "span",
    "trace_metric": "trace_metric",
    "attachment": "attachment",
    "feedback": "feedback",
    "user_report": "feedback",
    "csp": "csp",
    "raw_security": "csp",
    "security": "csp",
    "csp-report": "csp",
}


def body_of(header: dict[str, object], payload: bytes = b"{}") -> bytes:
    return b"{}\n" + orjson.dumps({**header, "length": len(payload)}) + b"\n" + payload + b"\n"


@pytest.mark.parametrize(("item_type", "worker"), WORKERS.items())
def test_every_type_has_its_worker(item_type: str, worker: str) -> None:
    """And its own header keeps the type that was sent."""
    split = envelope.read(body_of({"type": item_type}), ORIGIN, 10_000)
    [(index, found, single)] = split.items
    assert (index, found, dict(split.dropped)) == (0, worker, {})
    assert orjson.loads(single.split(b"\n")[1])["type"] == item_type


@pytest.mark.parametrize(
    ("kind", "worker"), [("event.minidump", "minidump"), ("event.attachment", "attachment"), (None, "attachment")]
)
def test_a_dump_in_an_envelope_goes_to_the_worker_of_dumps(kind: str | None, worker: str) -> None:
    """It is an attachment to its sender."""
    header = {"type": "attachment"} | ({"attachment_type": kind} if kind else {})
    [(_, found, _)] = envelope.read(body_of(header, b"MDMP"), ORIGIN, 10_000).items
    assert found == worker


def test_only_an_attachment_is_a_dump() -> None:
    """The same word on another type means nothing."""
    [(_, found, _)] = envelope.read(body_of({"type": "event", "attachment_type": "event.minidump"}), ORIGIN, 99).items
    assert found == "event"


def test_an_unknown_type_is_dropped_by_name() -> None:
    """Counted, not lost without a word."""
    split = envelope.read(body_of({"type": "profile"}), ORIGIN, 10_000)
    assert (split.items, dict(split.dropped)) == ([], {"profile": 1})


@pytest.mark.parametrize(
    ("content_type", "route", "workers"),
    [
        ("application/x-sentry-envelope", subjects.SENTRY_STORE, ["session", "csp"]),
        ("application/x-sentry-envelope; charset=utf-8", subjects.SENTRY_STORE, ["session", "csp"]),
        ("application/json", subjects.SENTRY_ENVELOPE, ["session", "csp"]),
        ("application/x-sentry-envelope", subjects.SENTRY_ENVELOPE, ["session", "csp"]),
    ],
)
@pytest.mark.asyncio
async def test_an_envelope_is_read_as_one_wherever_it_was_posted(
    content_type: str, route: str, workers: list[str]
) -> None:
    """Old SDKs post envelopes to /store/ and say so in the media type."""
    async with Bench() as bench:
        items = Items()
        body = b'{}\n{"type":"session"}\n{}\n{"type":"csp"}\n{}\n'
        message = raw(bench, body, route, content_type=content_type)
        await unpacker(bench, items).accept([message])
        await bench.batcher.settle()
    assert [subject for subject, _, _ in items.stored] == [subjects.item(worker, 7) for worker in workers]


@pytest.mark.asyncio
async def test_a_store_body_is_an_event() -> None:
    """Posted to /store/ with the media type of its own."""
    async with Bench() as bench:
        items = Items()
        await unpacker(bench, items).accept([raw(bench, b'{"message":"a"}', subjects.SENTRY_STORE)])
        await bench.batcher.settle()
    assert [subject for subject, _, _ in items.stored] == [subjects.item("event", 7)]
