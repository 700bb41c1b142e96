"""Sentry feedback in both its forms: what a user wrote, who, and about which event."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import orjson
import pytest
import sentry_sdk
from hypothesis import given, settings
from hypothesis import strategies as st
from sentry_sdk.envelope import Envelope, Item, PayloadRef

from schemas.envelope.body import write_single
from schemas.rows import NANOS_PER_SECOND, row_id
from tests.unit import normalised
from tests.unit.normalised import ID, NOW_NS, SPAN, TRACE, anything, items_of, origin, sdk
from workers.normalise.sentry import feedback
from workers.normalise.verdict import Verdict

rows = partial(normalised.rows, columns=feedback.COLUMNS)
check_storable = partial(normalised.check_storable, columns=feedback.COLUMNS)


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
    where = "comments" if item_type == "user_report" else "contexts.feedback.message"
    assert found.rejections[0].detail == f"expected text as {where}, found nothing, nor a name or an e-mail address"


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
