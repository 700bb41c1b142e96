"""Dead letters: whole, with a reason, once; and a row for each, whatever it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.js.errors import ServiceUnavailableError

from schemas import headers
from tests.unit.worker_fakes import RECEIVED_AT_NS, Bench, origin
from workers.consume.message import Dead, Message
from workers.normalise import dead_letter as dead_rows
from workers.store.dead_letters import DeadLetterNotStored, DeadStreamSink, dead_headers

COLUMN = {name: index for index, name in enumerate(dead_rows.COLUMNS)}


def in_dead(message: Message, dead: Dead, stage: str = "event") -> Message:
    """The message as the worker of DEAD would get it."""
    bench = Bench()
    return bench.message(
        body=message.body, headers=dead_headers(message, stage, dead), subject=f"dead.{stage}.event.7", seq=3
    )


def test_a_dead_letter_keeps_everything() -> None:
    """Body and headers as they were, where it came from, why it died; but no reply address."""
    message = Bench().message(body=b"\xff\x00", content_encoding="gzip", wants_sync=True, deliveries=4)
    written = dead_headers(message, "event", Dead("invalid", "line\nbreak é"))
    assert written["Content-Encoding"] == "gzip"
    assert written["Origin-Subject"] == "item.event.7"
    assert written["Origin-Stream"] == "ITEMS"
    assert written["Deliveries"] == "4"
    assert written["Dead-Error"] == "line?break ?"
    assert not {"Counts-To", "Sync"} & written.keys()
    read = headers.read(written, 999)
    assert (read.origin_id, read.origin_seq) == ("id-m", 5)


def test_dying_twice_is_one_dead_letter() -> None:
    """The broker's own deduplication sees one id, and the row has one id."""
    message = Bench().message()
    first, second = (in_dead(message, Dead("invalid", text)) for text in ("a", "b"))
    assert first.headers["Nats-Msg-Id"] == second.headers["Nats-Msg-Id"] == "dead:event:id-m"
    ids = {dead_rows.normalise(dead_rows.origin_of(one), one).rows[0][COLUMN["dead_id"]] for one in (first, second)}
    assert len(ids) == 1


@pytest.mark.asyncio
async def test_a_full_dead_stream_is_an_error_to_the_caller() -> None:
    """Who then keeps the message."""

    async def full(_subject: str, _body: bytes, _headers: dict[str, str]) -> None:
        raise ServiceUnavailableError(code=503, err_code=10077, description="maximum bytes exceeded")

    with pytest.raises(DeadLetterNotStored):
        await DeadStreamSink(full, "event").store(Bench().message(), Dead("invalid", "x"))


def test_a_dead_letter_becomes_a_row() -> None:
    """With bytes as bytes: a body need not be text."""
    message = in_dead(Bench().message(body=b"\xff\x00"), Dead("invalid", "because"))
    row = dead_rows.normalise(dead_rows.origin_of(message), message).rows[0]
    found = {name: row[index] for name, index in COLUMN.items()}
    expected = {"organisation": "acme", "channel_id": 7, "stage": "event", "reason": "invalid", "error": "because"}
    assert found.items() >= (expected | {"origin_seq": 5, "dead_seq": 3, "body": b"\xff\x00", "deliveries": 1}).items()
    assert found["received_at"] == RECEIVED_AT_NS


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=40)), st.text(max_size=30), st.binary(max_size=50))
def test_anything_in_dead_becomes_a_row(given_headers: dict[str, str], subject: str, body: bytes) -> None:
    """Even what is not ours: it must be seen, and it must not stop the worker."""
    message = Bench().message(body=body, headers=given_headers, subject=subject)
    [row] = dead_rows.normalise(dead_rows.origin_of(message), message).rows
    assert len(row) == len(dead_rows.COLUMNS)


def test_a_stranger_is_dated_by_the_broker() -> None:
    """No worker's clock: the stream's own time makes the same row each time."""
    message = Bench().message(headers={}, subject="dead.event.event.12")
    read = dead_rows.origin_of(message)
    assert (read.channel_id, read.received_at_ns) == (12, RECEIVED_AT_NS + 1)
    assert origin().received_at_ns == RECEIVED_AT_NS


def test_a_key_in_a_dead_body_does_not_reach_the_table() -> None:
    """A broken envelope may carry its DSN; the row keeps the kind of key and the rest of the bytes."""
    dsn = b'{"dsn":"https://pt_abcdefghijklmnop0123@host/7"}\nnot an item'
    message = in_dead(Bench().message(body=dsn), Dead("invalid", "because"))
    row = dead_rows.normalise(dead_rows.origin_of(message), message).rows[0]
    assert row[COLUMN["body"]] == b'{"dsn":"https://pt_[key]@host/7"}\nnot an item'
