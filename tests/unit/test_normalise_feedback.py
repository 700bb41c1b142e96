"""Sentry feedback in both its forms: what a user wrote, who, and about which event."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest
import sentry_sdk
from hypothesis import given, settings
from hypothesis import strategies as st
from sentry_sdk.envelope import Envelope, Item, PayloadRef
from sentry_sdk.transport import Transport

from schemas.envelope import read, write_single
from schemas.headers import Origin
from schemas.rows import NANOS_PER_DAY, NANOS_PER_SECOND, row_id
from workers.normalise import feedback
from workers.normalise.verdict import Verdict

NOW_NS = 1_795_272_366 * NANOS_PER_SECOND  # 2026-11-21T14:46:06Z
TRACE = "9b9a0fdc03ea4bc1aa343f0b325b74e4"
SPAN = "a7cb0ac040c271b8"
ID = "26e31e9cc7b74ad0b11d3a8a265b9e38"


def origin(**changes: Any) -> Origin:
    """Where a message came from: the third item of a body, with a key that lets the payload name its environment."""
    fields: dict[str, Any] = {
        "organisation": "acme",
        "channel_id": 42,
        "key_id": "k1",
        "environment": "production",
        "environment_from_event": True,
        "received_at_ns": NOW_NS,
        "sender_ip": "203.0.113.9",
        "origin_id": "raw-1",
        "item_index": 3,
    }
    return Origin(**{**fields, **changes})


class Captured(Transport):
    """Keeps what the SDK would have sent."""

    def __init__(self, options: dict[str, Any] | None = None) -> None:
        super().__init__(options)
        self.bodies: list[bytes] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        """As the bytes of a request."""
        self.bodies.append(envelope.serialize())


@contextmanager
def sdk(**options: Any) -> Iterator[Captured]:
    """The real SDK with a client of its own; it is flushed at the end."""
    captured = Captured()
    client = sentry_sdk.Client(
        dsn="https://key@example.com/42",
        transport=captured,
        default_integrations=False,
        environment="staging",
        release="shop@1.2",
        **options,
    )
    with sentry_sdk.isolation_scope() as isolation, sentry_sdk.new_scope() as scope:
        isolation.clear()
        scope.set_client(client)
        yield captured
        client.close()


def items_of(captured: Captured, item_type: str) -> list[bytes]:
    """Every item of a type, each as an envelope of its own, as the unpack worker writes them."""
    singles = []
    for body in captured.bodies:
        header, items = read(body)
        singles += [write_single(header.raw, one.header, one.payload) for one in items if one.type == item_type]
    return singles


def rows(found: Verdict) -> list[dict[str, Any]]:
    return [dict(zip(feedback.COLUMNS, values, strict=True)) for values in found.rows]


scalars = st.none() | st.booleans() | st.integers(-(10**25), 10**25) | st.floats() | st.text(max_size=8)
scalars |= st.sampled_from((TRACE, SPAN, "0" * 32, "ok", "\ud800", "2026-11-21T14:46:05Z", 1_795_272_360, "{{auto}}"))
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)


def check_storable(found: Verdict) -> None:
    """Text is UTF-8, numbers are finite and fit their columns, times fit the partitions."""
    for values in found.rows:
        cells = dict(zip(feedback.COLUMNS, values, strict=True))
        assert 0 <= cells.pop("event_id") < 2**128
        assert NOW_NS - 30 * NANOS_PER_DAY <= cells["timestamp"] <= NOW_NS + NANOS_PER_DAY
        assert 0 <= cells["original_timestamp_ns"] < 2**64
        assert 0 <= cells.get("duration_ns", 0) < 2**64
        assert isinstance(json.loads(cells["metadata"]), dict)
        assert all(-(2**63) <= number < 2**63 for number in cells["attributes_int"].values())
        json.dumps(cells, ensure_ascii=False, allow_nan=False).encode()
    for rejection in found.rejections:
        assert rejection.reason.isidentifier()
        assert len(rejection.detail) < 500


OTHER_ID = "9ec79c33ec9942ab8353589fcb2e04dc"


def verdict(payload: Any, item_type: str = "feedback", header: bytes = b"{}") -> Verdict:
    return feedback.normalise(origin(), write_single(header, {"type": item_type}, json.dumps(payload).encode()))


def row(payload: Any, item_type: str = "feedback", header: bytes = b"{}") -> dict[str, Any]:
    (found,) = rows(verdict(payload, item_type, header))
    return found


def sent(context: Any, **fields: Any) -> dict[str, Any]:
    return {"event_id": ID, "timestamp": 1_795_272_360, "contexts": {"feedback": context}, **fields}


def test_feedback_becomes_a_row() -> None:
    """Message, person, page, event and trace."""
    context = {
        "message": "It hangs\nalways",
        "contact_email": "ada@example.com",
        "name": "Ada",
        "url": "https://shop.example.com/cart",
        "associated_event_id": OTHER_ID.upper(),
        "replay_id": TRACE,
    }
    payload = sent(context, environment="staging", release="shop@1.2", user={"id": "7", "email": "old@example.com"})
    payload["contexts"]["trace"] = {"trace_id": TRACE, "span_id": SPAN}
    found = row(payload)
    assert (found["event_type"], found["item_type"], found["body"]) == ("custom", "feedback", "It hangs\nalways")
    assert (found["name"], found["event_id"]) == ("https://shop.example.com/cart", int(ID, 16))
    assert (found["user_id"], found["user_email"], found["user_name"]) == ("7", "ada@example.com", "Ada")
    assert (found["trace_id"], found["span_id"], found["environment"]) == (TRACE, SPAN, "staging")
    assert found["timestamp"] == NOW_NS - 6 * NANOS_PER_SECOND
    assert found["attributes_string"]["feedback.replay_id"] == TRACE
    assert found["attributes_string"]["sentry.event_id"] == OTHER_ID
    assert found["attributes_string"]["url.full"] == "https://shop.example.com/cart"
    assert orjson.loads(found["metadata"]) == {"feedback": True, "associatedEventId": OTHER_ID}
    assert found["repairs"] == []


def test_user_report_becomes_a_row() -> None:
    """The id in it is the event's, not its own."""
    report = {"event_id": ID, "name": "Ada", "email": "ada@example.com", "comments": "It hangs"}
    found = row(report, "user_report", b'{"event_id":"%s"}' % ID.encode())
    assert (found["event_type"], found["item_type"], found["name"]) == ("custom", "feedback", "User Feedback")
    assert (found["body"], found["user_email"], found["user_name"]) == ("It hangs", "ada@example.com", "Ada")
    assert (found["user_id"], found["timestamp"]) == ("ada@example.com", NOW_NS)
    assert found["event_id"] == row_id("sentry.item", 42, "raw-1", 3)
    assert orjson.loads(found["metadata"]) == {"feedback": True, "associatedEventId": ID, "eventId": ID}
    assert found["repairs"] == []


def test_user_report_takes_the_event_from_the_envelope() -> None:
    """Where its own id is none, which is named."""
    found = row({"event_id": "x", "comments": "It hangs"}, "user_report", b'{"event_id":"%s"}' % ID.encode())
    assert orjson.loads(found["metadata"])["eventId"] == ID
    assert found["repairs"] == ["event_id_invalid"]


def test_message_of_the_event_stands_in() -> None:
    """Older SDKs send feedback as an event with a message."""
    assert row({"message": "It hangs", "timestamp": 1_795_272_360})["body"] == "It hangs"


def test_invalid_associated_event_is_named() -> None:
    """And is no reason to lose the words."""
    found = row(sent({"message": "x", "associated_event_id": "nope"}))
    assert found["repairs"] == ["associated_event_id_invalid"]
    assert orjson.loads(found["metadata"]) == {"feedback": True}


@pytest.mark.parametrize(
    ("payload", "item_type"),
    [
        ({}, "feedback"),
        (sent({"message": " \n"}), "feedback"),
        (sent("x"), "feedback"),
        ({"event_id": ID}, "user_report"),
    ],
)
def test_feedback_without_words_or_person_is_rejected(payload: Any, item_type: str) -> None:
    """There is nothing to read and nobody to answer."""
    found = verdict(payload, item_type)
    assert (found.rows, found.accepted, found.rejections[0].reason) == ([], 0, "missing_message")


def test_report_without_words_is_kept_for_its_person() -> None:
    """Somebody to ask is worth a row."""
    assert row({"event_id": ID, "email": "ada@example.com"}, "user_report")["user_email"] == "ada@example.com"


names = ("message", "contact_email", "name", "url", "associated_event_id")
contexts = st.fixed_dictionaries({}, optional=dict.fromkeys(names, anything))
events = ("event_id", "timestamp", "user", "request", "tags", "environment", "release", "message", "sdk", "platform")


@settings(max_examples=150, deadline=None)
@given(contexts | anything, st.fixed_dictionaries({}, optional=dict.fromkeys(events, anything)))
def test_any_feedback_is_answered(context: Any, fields: dict[str, Any]) -> None:
    """A row or a named rejection."""
    found = verdict({"contexts": {"feedback": context}, **fields})
    check_storable(found)
    assert len(found.rows) + len(found.rejections) == 1


@settings(max_examples=150, deadline=None)
@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(("event_id", "name", "email", "comments"), anything)) | anything
)
def test_any_user_report_is_answered(payload: Any) -> None:
    """A row or a named rejection."""
    found = verdict(payload, "user_report")
    check_storable(found)
    assert len(found.rows) + len(found.rejections) == 1


def test_real_sdk_client_sends_feedback() -> None:
    """The SDK has no call for it: an event in a feedback item, as its users write it."""
    with sdk() as captured:
        client = sentry_sdk.get_client()
        event: Any = {"event_id": ID, "timestamp": 1_795_272_360, "contexts": {"feedback": {"message": "It hangs"}}}
        envelope = Envelope(headers={"event_id": ID})
        envelope.add_item(Item(payload=PayloadRef(json=event), type="feedback"))
        assert client.transport is not None
        client.transport.capture_envelope(envelope)
    (single,) = items_of(captured, "feedback")
    (found,) = rows(feedback.normalise(origin(), single))
    assert (found["body"], found["event_id"]) == ("It hangs", int(ID, 16))


@given(st.binary(max_size=200))
def test_any_bytes_are_answered(body: bytes) -> None:
    """Not a crash: a row or a named rejection."""
    for raw in (body, b"{}\n{}\n" + body, b'{}\n{"type":"feedback"}\n' + body):
        check_storable(feedback.normalise(origin(), raw))
