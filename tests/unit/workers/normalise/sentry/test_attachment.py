"""Sentry attachments: any bytes under any name, cut but never refused."""

from __future__ import annotations

import base64
import json
from functools import partial
from typing import Any

import orjson
import pytest
import sentry_sdk
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.envelope.body import write_single
from schemas.rows import NANOS_PER_SECOND, row_id
from tests.unit import normalised
from tests.unit.normalised import ID, NOW_NS, TRACE, anything, items_of, origin, scalars, sdk
from workers.normalise.sentry import attachment
from workers.normalise.verdict import Verdict

rows = partial(normalised.rows, columns=attachment.COLUMNS)
check_storable = partial(normalised.check_storable, columns=attachment.COLUMNS)


MIB = 1_048_576


def verdict(content: bytes, header: bytes = b"{}", item_type: str = "attachment", **fields: Any) -> Verdict:
    return attachment.normalise(origin(), write_single(header, {"type": item_type, **fields}, content))


def row(content: bytes, header: bytes = b"{}", **fields: Any) -> dict[str, Any]:
    (found,) = rows(verdict(content, header, **fields))
    return found


def test_attachment_becomes_a_row() -> None:
    """Its bytes as base64, its name, the event it belongs to, its header as the payload."""
    header = b'{"event_id":"%s","trace":{"trace_id":"%s","environment":"staging"}}' % (ID.encode(), TRACE.encode())
    found = row(
        b"a\nb\x00\xff", header, filename="app.log", content_type="text/plain", attachment_type="event.attachment"
    )
    assert (found["event_type"], found["item_type"], found["name"]) == ("app.log", "attachment", "app.log")
    assert base64.b64decode(found["body"]) == b"a\nb\x00\xff"
    assert (found["trace_id"], found["environment"]) == (TRACE, "staging")
    assert found["attributes_int"] == {"attachment.size_bytes": 5}
    assert found["attributes_string"] == {
        "attachment.type": "event.attachment",
        "attachment.content_type": "text/plain",
        "sentry.event_id": ID,
    }
    assert orjson.loads(found["metadata"]) == {"attachment": True, "truncated": False, "eventId": ID}
    assert orjson.loads(found["payload"])["filename"] == "app.log"
    assert found["event_id"] == row_id("sentry.item", 42, "raw-1", 3)
    assert found["repairs"] == []


@pytest.mark.parametrize(("size", "is_cut"), [(0, False), (MIB, False), (MIB + 1, True)])
def test_payload_above_a_mebibyte_is_cut_and_marked(size: int, is_cut: bool) -> None:
    """The whole size stays known."""
    found = row(b"x" * size)
    assert len(base64.b64decode(found["body"])) == min(size, MIB)
    assert found["attributes_int"]["attachment.size_bytes"] == size
    assert orjson.loads(found["metadata"])["truncated"] is is_cut
    assert found["repairs"] == (["payload_cut"] if is_cut else [])


def test_trace_attachment_says_for_itself_what_it_is() -> None:
    """The first bytes of its payload are JSON, the rest is the file."""
    meta = orjson.dumps(
        {
            "trace_id": TRACE,
            "timestamp": "2026-11-21T14:46:00Z",
            "filename": "shot.png",
            "content_type": "image/png",
            "attributes": {"screen": {"value": 2, "type": "integer"}},
        }
    )
    wire = {"content_type": "application/vnd.sentry.trace-attachment", "meta_length": len(meta)}
    found = row(meta + b"PNG", **wire)
    assert (found["name"], found["trace_id"], base64.b64decode(found["body"])) == ("shot.png", TRACE, b"PNG")
    assert found["timestamp"] == NOW_NS - 6 * NANOS_PER_SECOND
    assert found["attributes_int"] == {"attachment.size_bytes": 3, "screen": 2}
    assert found["attributes_string"]["attachment.content_type"] == "image/png"
    odd = row(b"{PNG", **{**wire, "meta_length": 2})
    assert (base64.b64decode(odd["body"]), odd["repairs"]) == (b"{PNG", ["attachment_meta_invalid"])


def test_attachments_of_one_envelope_keep_their_order_and_never_merge() -> None:
    """Not even two equal files of one event: their places tell their times apart."""
    wire = write_single(b'{"event_id":"%s"}' % ID.encode(), {"type": "attachment"}, b"same")
    first, second = (rows(attachment.normalise(origin(item_index=index), wire))[0] for index in (1, 2))
    assert first["timestamp"] < second["timestamp"]
    assert first["event_id"] != second["event_id"]


def test_attachment_without_a_name_gets_one() -> None:
    """A long one is cut and named."""
    assert row(b"x")["name"] == "Unnamed Attachment"
    assert row(b"x", filename="n" * 1_025)["repairs"] == ["filename_cut"]


def test_real_sdk_sends_attachments_with_their_event() -> None:
    """Bytes and type as given to the scope; both rows name the same event."""
    with sdk() as captured:
        sentry_sdk.get_current_scope().add_attachment(bytes=b"\x00line\n", filename="state.bin")
        sentry_sdk.get_current_scope().add_attachment(bytes=b"{}", filename="cart.json")
        event_id = sentry_sdk.capture_message("hello")
    found = [one for single in items_of(captured, "attachment") for one in rows(attachment.normalise(origin(), single))]
    assert [(one["name"], base64.b64decode(one["body"])) for one in found] == [
        ("state.bin", b"\x00line\n"),
        ("cart.json", b"{}"),
    ]
    assert {orjson.loads(one["metadata"])["eventId"] for one in found} == {event_id}
    assert found[1]["attributes_string"]["attachment.content_type"] == "application/json"
    assert {one["environment"] for one in found} == {"staging"}


names = ("filename", "content_type", "attachment_type", "meta_length", "platform")


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60), st.fixed_dictionaries({}, optional=dict.fromkeys(names, scalars)))
def test_any_attachment_is_one_row(content: bytes, fields: dict[str, Any]) -> None:
    """Whatever its header holds."""
    wire = json.dumps({**fields, "type": "attachment", "length": len(content)}).encode()
    found = attachment.normalise(origin(), b"\n".join((b"{}", wire, content)))
    check_storable(found)
    assert len(found.rows) == 1


@settings(max_examples=150, deadline=None)
@given(
    anything
    | st.fixed_dictionaries({}, optional=dict.fromkeys(("filename", "trace_id", "timestamp", "attributes"), anything))
)
def test_any_json_in_front_of_a_trace_attachment_is_one_row(meta: Any) -> None:
    """It is read, or it is part of the file."""
    content = json.dumps(meta).encode()
    found = verdict(content, content_type="application/vnd.sentry.attachment.v2", meta_length=len(content))
    check_storable(found)
    assert len(found.rows) == 1


@given(st.binary(max_size=200))
def test_any_bytes_are_answered(body: bytes) -> None:
    """Not a crash: a row or a named rejection."""
    for raw in (body, b"{}\n{}\n" + body, b'{}\n{"type":"attachment"}\n' + body):
        check_storable(attachment.normalise(origin(), raw))
