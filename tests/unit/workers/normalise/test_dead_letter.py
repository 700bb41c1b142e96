"""Rows of dead letters: whatever headers a message has, it has a row, and dying again is the same row."""

from __future__ import annotations

import pytest

from schemas import headers
from tests.unit.worker_fakes import Bench, origin
from workers.consume.message import Message
from workers.normalise import dead_letter

ORIGIN = {headers.ORIGIN_ID: "origin", headers.ORIGIN_SEQ: "3"}
OWN = {headers.MESSAGE_ID: "own"}


def unreadable(**changes: object) -> Message:
    return Bench().message(subject="dead.event.event.7", **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (ORIGIN | OWN, ("origin", 3)),
        (ORIGIN, ("origin", 3)),
        (OWN, ("own", 9)),
        ({}, ("ITEMS:9", 9)),
        ({headers.ORIGIN_ID: "", headers.ORIGIN_SEQ: "x"} | OWN, ("own", 9)),
    ],
    ids=str,
)
def test_a_message_without_our_headers_has_an_origin(told: dict[str, str], expected: tuple[str, int]) -> None:
    """What the headers say of it, else the message's own id, else its place in the stream."""
    found = dead_letter.origin_of(unreadable(headers=told, seq=9))
    assert (found.origin_id, found.origin_seq, found.channel_id) == (*expected, 7)


def row(message: Message) -> dict[str, object]:
    (values,) = dead_letter.normalise(dead_letter.origin_of(message), message).rows
    return dict(zip(dead_letter.COLUMNS, values, strict=True))


def test_what_died_says_where_and_why() -> None:
    """From the headers that a worker put there; the subject says what kind of item it was."""
    told = headers.write(origin(origin_id="o", origin_seq=4, item_index=2), "m") | {
        headers.ORIGIN_SEQ: "4",
        headers.ITEM_INDEX: "2",
        headers.DEAD_STAGE: "event",
        headers.DEAD_REASON: "poison",
        headers.DEAD_ERROR: "KeyError",
        headers.DELIVERIES: "5",
        headers.ORIGIN_STREAM: "RAW",
    }
    found = row(unreadable(headers=told, seq=9, body=b'{"dsn":"https://ak_0123456789abcdef0123@host/1"}'))
    assert (found["stage"], found["item_type"]) == ("event", "event")
    assert (found["reason"], found["error"]) == ("poison", "KeyError")
    assert (found["origin_stream"], found["origin_seq"], found["dead_seq"], found["deliveries"]) == ("RAW", 4, 9, 5)
    assert (found["channel_id"], found["item_index"], found["version"]) == (7, 2, 9)
    assert b"0123456789abcdef" not in found["body"]  # type: ignore[operator]


def test_dying_again_at_the_same_place_is_the_same_row() -> None:
    """At another place it is another one."""
    told = headers.write(origin(origin_id="o"), "m")
    first = row(unreadable(headers=told | {headers.DEAD_STAGE: "event"}, seq=1))
    again = row(unreadable(headers=told | {headers.DEAD_STAGE: "event"}, seq=2))
    other = row(unreadable(headers=told | {headers.DEAD_STAGE: "unpack"}, seq=2))
    assert first["dead_id"] == again["dead_id"] != other["dead_id"]
