"""Crash uploads in every shape uploaders have: one dump, one event, one id that a retry finds again."""

from __future__ import annotations

from typing import Any

import msgpack
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.crash import form_fields, msgpack_files, upload_form
from schemas.crash.upload_form import CrashUpload, crash_id
from schemas.form import FormError
from tests.unit import forms
from tests.unit.forms import Field

ID = "26e31e9cc7b74ad0b11d3a8a265b9e38"
OTHER = "9ec79c33ec9942ab8353589fcb2e04dc"
DUMP: Field = ("upload_file_minidump", b"MDMP\x93\xa7", "crash.dmp")
RAW = "application/octet-stream"


def read(*fields: Field) -> CrashUpload:
    return upload_form.read(forms.write(fields), forms.CONTENT_TYPE, 42)


def packed(value: Any) -> bytes:
    found: bytes = msgpack.packb(value)
    return found


@pytest.mark.parametrize(
    "fields",
    [
        [("sentry", b'{"event_id":"%s","release":"r"}' % ID.encode())],
        [("sentry___scope", b'{"event_id":"%s","release":"r"}' % ID.encode())],
        [("sentry__2", b'%s","release":"r"}' % ID.encode()), ("sentry__1", b'{"event_id":"')],
        [("sentry[event_id]", ID.encode()), ("sentry[release]", b"r")],
        [("__sentry-event", packed({"event_id": ID, "release": "r"}), "__sentry-event")],
        [("attachment", packed({"event_id": ID.upper(), "release": "r"}), "__sentry-event")],
    ],
)
def test_the_event_in_every_form_uploaders_send(fields: list[Field]) -> None:
    """JSON, chunks of JSON, bracketed names, msgpack; the id is the sender's in all of them."""
    upload = read(DUMP, *fields)
    assert (upload.event_id, upload.event["release"]) == (ID, "r")
    assert (upload.dump.content, upload.files, upload.repairs) == (DUMP[1], [], ())
    assert crash_id(forms.write([DUMP, *fields]), forms.CONTENT_TYPE, 42) == ID


def test_the_first_to_say_it_wins() -> None:
    """The event file, then whole JSON, then chunks, then bracketed names; objects are filled up."""
    upload = read(
        ("sentry[tags][a]", b"4"),
        ("sentry[tags][d]", b"4"),
        ("sentry__1", b'{"tags":{"a":3,"c":3}}'),
        ("sentry", b'{"tags":{"a":2,"b":2},"event_id":"%s"}' % OTHER.encode()),
        ("__sentry-event", packed({"tags": {"a": 1}, "event_id": ID}), "__sentry-event"),
        DUMP,
    )
    assert upload.event["tags"] == {"a": 1, "b": 2, "c": 3, "d": "4"}
    assert upload.event_id == ID


def test_other_fields_are_extra_and_other_files_are_files() -> None:
    """What Crashpad's clients add is not lost."""
    upload = read(DUMP, ("guid", b"0-1"), ("ptype", b"browser"), ("log", b"line", "till.log"), ("sentryish", b"x"))
    assert upload.event["extra"] == {"guid": "0-1", "ptype": "browser", "sentryish": "x"}
    assert [(file.name, file.filename, file.content) for file in upload.files] == [("log", "till.log", b"line")]


def test_an_id_is_made_of_the_dump() -> None:
    """A retry has a new boundary and perhaps new fields; another dump or another channel is another event."""
    first = crash_id(forms.write([DUMP]), forms.CONTENT_TYPE, 42)
    again = forms.write([("guid", b"1"), DUMP], "other")
    assert crash_id(again, "multipart/form-data; boundary=other", 42) == first
    assert upload_form.read(again, "multipart/form-data; boundary=other", 42).event_id == first
    assert crash_id(DUMP[1], RAW, 42) == first
    assert crash_id(forms.write([DUMP]), forms.CONTENT_TYPE, 43) != first
    assert crash_id(b"MDMP", RAW, 42) != first
    nil = ("sentry", b'{"event_id":"%s"}' % (b"0" * 32))
    assert read(DUMP, nil).event_id == first


def test_breadcrumbs_of_both_files_are_one_trail() -> None:
    """The newer file last, no longer than the longer of them; a torn end costs only itself."""

    def trail(*seconds: int) -> bytes:
        return b"".join(packed({"timestamp": f"2026-11-21T14:46:{second:02}Z", "n": second}) for second in seconds)

    newer, older = trail(4, 5) + b"\x82\xa9time", trail(1, 2, 3)
    upload = read(DUMP, ("__sentry-breadcrumb1", newer, "b1"), ("__sentry-breadcrumb2", older, "b2"))
    assert [crumb["n"] for crumb in upload.event["breadcrumbs"]] == [3, 4, 5]
    assert upload.files == []


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([], []),
        ([b"", b""], []),
        ([b"\xc1"], []),
        ([packed([1]) + packed({"n": 1})], [1]),
        ([packed({"n": 1}), b""], [1]),
        ([packed({"n": 2, "timestamp": "2026-01-02"}), packed({"n": 1, "timestamp": "2026-01-01"})], [2]),
        # By the last time and not by the first.
        (
            [
                packed({"n": 1, "timestamp": "2026-01-01"}) + packed({"n": 4, "timestamp": "2026-01-04"}),
                packed({"n": 2, "timestamp": "2026-01-02"}) + packed({"n": 3, "timestamp": "2026-01-03"}),
            ],
            [1, 4],
        ),
        # The last one that says when it was.
        ([packed({"n": 2, "timestamp": "2026-01-02"}) + packed({"n": 3}), packed({"n": 1, "timestamp": None})], [2, 3]),
    ],
)
def test_breadcrumbs_are_ordered_by_the_last_time_of_their_file(files: list[bytes], expected: list[int]) -> None:
    """What is no object is left out, and so is a time that is none."""
    assert [crumb["n"] for crumb in msgpack_files.breadcrumbs(files)] == expected


def test_the_newest_breadcrumbs_of_a_file_are_kept() -> None:
    """No more than any SDK keeps."""
    many = b"".join(packed({"n": number}) for number in range(msgpack_files.MAX_BREADCRUMBS + 2))
    kept = [crumb["n"] for crumb in msgpack_files.breadcrumbs([many])]
    assert kept == list(range(2, msgpack_files.MAX_BREADCRUMBS + 2))


@pytest.mark.parametrize("more", [0, 1])
def test_a_file_may_have_its_greatest_size(more: int) -> None:
    """And one byte more is too much."""
    overhead = len(packed({"a": "x" * 100_000})) - 100_000
    content = packed({"a": "x" * (msgpack_files.MAX_FILE_BYTES - overhead + more)})
    assert len(content) == msgpack_files.MAX_FILE_BYTES + more
    assert (msgpack_files.read_message(content) is None) == bool(more)


@pytest.mark.parametrize("depth", [1, 2])
def test_a_form_in_place_of_the_dump_is_unwrapped(depth: int) -> None:
    """Old Electron sends the whole form once more inside the field."""
    body = forms.write([DUMP, ("sentry", b'{"release":"r"}')], "inner-0")
    for level in range(1, depth + 1):
        body = forms.write([("upload_file_minidump", body, "minidump.dmp")], f"inner-{level}")
    upload = upload_form.read(body, f"multipart/form-data; boundary=inner-{depth}", 42)
    assert (upload.dump.content, upload.event["release"]) == (DUMP[1], "r")


@pytest.mark.parametrize("fields", [[], [("sentry", b"{}")], [("upload_file_minidump", b"", "crash.dmp")]])
def test_without_a_dump_it_is_no_crash(fields: list[Field]) -> None:
    """The refusal names the field."""
    with pytest.raises(FormError, match="upload_file_minidump"):
        read(*fields)


@pytest.mark.parametrize(
    ("field", "repair"),
    [
        (("sentry", b"{broken"), form_fields.FIELD_INVALID),
        (("sentry", b"[1]"), form_fields.FIELD_INVALID),
        (("a", b"x" * (form_fields.MAX_TEXT_BYTES + 1)), form_fields.FIELDS_DROPPED),
        (("__sentry-event", b"\xc1", "__sentry-event"), upload_form.EVENT_FILE_INVALID),
        (("__sentry-event", b"\x91" * 600, "__sentry-event"), upload_form.EVENT_FILE_INVALID),
        (("__sentry-event", bytes(msgpack_files.MAX_FILE_BYTES + 1), "__sentry-event"), upload_form.EVENT_FILE_INVALID),
        (("sentry", b'{"a":' + b"[" * 600 + b"]" * 600 + b"}"), upload_form.EVENT_TOO_LARGE),
        (("a", b"\x01" * 400_000), upload_form.EVENT_TOO_LARGE),
    ],
)
def test_what_cannot_be_read_costs_itself_and_is_named(field: Field, repair: str) -> None:
    """The crash is worth more than what was said about it."""
    upload = read(DUMP, field)
    assert (upload.dump.content, upload.repairs) == (DUMP[1], (repair,))
    assert repair in upload_form.REPAIRS


def test_msgpack_becomes_json() -> None:
    """Bytes, numbers as keys, times, extensions, endless numbers: all of it can be written."""
    odd = {"a": b"\xff", 1: 2, "t": msgpack.Timestamp(1, 0), "x": msgpack.ExtType(4, b"1"), "n": float("nan")}
    assert msgpack_files.read_message(packed(odd)) == {"a": "\ufffd", "1": 2, "t": 1.0, "x": None, "n": None}


field_names = st.sampled_from(
    (
        *("upload_file_minidump", "sentry", "sentry__1", "sentry__2", "sentry___x", "sentry[a]", "sentry[a][b]"),
        *("guid", upload_form.EVENT_FILE, *upload_form.BREADCRUMB_FILES),
    )
)
contents = st.binary(max_size=30) | st.sampled_from(
    (b"MDMP", b'{"event_id":1}', b'{"a":{"b":1}}', b'{"a":[', packed({"a": {"b": 1}, b"k": [1]}), b"--x\r\n\r\n--x--")
)
a_field = st.tuples(field_names, contents) | st.tuples(field_names, contents, st.sampled_from(("f", "__sentry-event")))


@settings(max_examples=300, deadline=None)
@given(st.lists(a_field, max_size=6))
def test_any_fields_are_an_upload_or_refused(fields: list[Field]) -> None:
    """And the receiver's id is the workers' id."""
    body = forms.write(fields)
    found = crash_id(body, forms.CONTENT_TYPE, 42)
    assert len(bytes.fromhex(found)) == 16
    try:
        upload = upload_form.read(body, forms.CONTENT_TYPE, 42)
    except FormError:
        return
    assert upload.event_id == found
    assert len(orjson.dumps(upload.event)) <= upload_form.MAX_EVENT_BYTES
    assert set(upload.repairs) <= upload_form.REPAIRS


@given(st.binary(max_size=120))
def test_any_msgpack_is_read_or_left_out(content: bytes) -> None:
    """No bytes raise."""
    msgpack_files.read_message(content)
    orjson.dumps(msgpack_files.breadcrumbs([content, b"\x81\xa1a\x01" + content]))
