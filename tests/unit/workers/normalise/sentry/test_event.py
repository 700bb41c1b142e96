"""Sentry events: every form a field may have, and a row for whatever comes."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest

from schemas.envelope.body import write_single
from schemas.headers import Origin
from schemas.rows import NANOS_PER_SECOND
from tests.unit import normalised
from workers.normalise.sentry import event
from workers.normalise.verdict import Verdict

EXAMPLES = Path(__file__).parents[4] / "examples" / "sentry"
NOW_NS = 1_795_272_366 * NANOS_PER_SECOND  # 2026-11-21T14:46:06Z
ID = "26e31e9cc7b74ad0b11d3a8a265b9e38"
OTHER_ID = "9ec79c33ec9942ab8353589fcb2e04dc"


def origin(**changes: Any) -> Origin:
    return normalised.origin(**{"environment_from_event": False, "origin_seq": 7, "item_index": 0, **changes})


def verdict(payload: Any, *, header: bytes = b"{}", **changes: Any) -> Verdict:
    raw = payload if isinstance(payload, bytes) else orjson.dumps(payload)
    return event.normalise(origin(**changes), write_single(header, {"type": "event"}, raw))


def row(payload: Any, **options: Any) -> dict[str, Any]:
    (values,) = verdict(payload, **options).rows
    return dict(zip(event.COLUMNS, values, strict=True))


def crash(**fields: Any) -> dict[str, Any]:
    return {"exception": {"values": [{"type": "ValueError", "value": "bad thing", **fields}]}}


def example(name: str) -> bytes:
    return (EXAMPLES / name).read_bytes()


def test_error_event_names_itself_as_sentry_would() -> None:
    """Type and first line of the value are the name; the whole value is the body and the message of the exception."""
    found = row(crash(value="bad thing\nsecond line"))
    assert (found["event_type"], found["item_type"]) == ("agent.error", "event")
    assert found["name"] == "ValueError: bad thing"
    assert found["body"] == found["exception_message"] == "bad thing\nsecond line"
    assert found["exception_type"] == "ValueError"


@pytest.mark.parametrize(
    "form",
    [
        {"exception": {"values": [{"type": "E", "value": "v"}]}},
        {"exception": {"values": {"type": "E", "value": "v"}}},
        {"exception": [{"type": "E", "value": "v"}]},
        {"exception": [None, {"type": "E", "value": "v"}]},
        {"exception": {"type": "E", "value": "v"}},
        {"exception": {"value": "E: v"}},
        {"sentry.interfaces.Exception": {"values": [{"type": "E", "value": "v"}]}},
        {"exception": [{"type": "Cause", "value": "first"}, {"type": "E", "value": "v"}]},
    ],
)
def test_every_exception_form_is_read(form: dict[str, Any]) -> None:
    """Lists, single objects, old names, null entries, a type inside the value; the last of a chain was thrown."""
    found = row(form)
    assert (found["event_type"], found["exception_type"], found["exception_message"]) == ("agent.error", "E", "v")


@pytest.mark.parametrize(
    "form", [{}, {"values": []}, {"values": None}, [], [None], {"values": [{"type": "", "value": ""}]}]
)
def test_no_exception_is_a_log(form: Any) -> None:
    """Empty forms are no exception."""
    found = row({"exception": form, "message": "hello"})
    assert (found["event_type"], found["name"], found["exception_type"]) == ("app.log", "hello", "")


def test_stacktrace_reads_from_the_oldest_call_to_the_crash() -> None:
    """Chained exceptions in order, each with its frames, the most recent call last."""
    frames = [{"filename": "a.py", "lineno": 1, "function": "outer"}, {"module": "m", "function": "inner"}, None]
    chain = [
        {"type": "OSError", "value": "disk", "stacktrace": {"frames": [{"filename": "b.js", "lineno": 3, "colno": 9}]}}
    ]
    found = row({"exception": [*chain, {"type": "E", "value": "v", "stacktrace": {"frames": frames}}]})
    assert found["exception_stacktrace"] == (
        "OSError: disk\n  b.js:3:9 in <unknown>\nE: v\n  a.py:1 in outer\n  m in inner"
    )
    assert found["attributes_string"]["exception.chain"] == '["OSError","E"]'


def test_long_stacktrace_keeps_both_ends() -> None:
    """A runaway recursion does not make a row of a hundred thousand lines."""
    frames = [{"filename": "a.py", "lineno": line, "function": "again"} for line in range(10_000)]
    lines = row(crash(stacktrace={"frames": frames}))["exception_stacktrace"].split("\n")
    assert lines[1] == "  a.py:0 in again"
    assert lines[-1] == "  a.py:9999 in again"
    assert "  ... 9750 frames ..." in lines


def test_top_level_stacktrace_belongs_to_a_lone_exception() -> None:
    """Old SDKs send the trace beside the exception; native ones send it in the crashed thread."""
    frames = {"frames": [{"filename": "a.py", "lineno": 1, "function": "f"}]}
    expected = "ValueError: bad thing\n  a.py:1 in f"
    assert row({**crash(), "stacktrace": frames})["exception_stacktrace"] == expected
    threads = {"values": [{"current": True}, {"crashed": True, "stacktrace": frames}]}
    assert row({**crash(), "threads": threads})["exception_stacktrace"] == expected


@pytest.mark.parametrize(
    ("form", "text", "template"),
    [
        ({"message": "plain"}, "plain", ""),
        ({"logentry": "plain"}, "plain", ""),
        ({"message": 7}, "7", ""),
        ({"message": False, "logentry": {"formatted": "f"}}, "f", ""),
        ({"logentry": {"message": "a %s", "formatted": "a b", "params": ["b"]}}, "a b", "a %s"),
        ({"logentry": {"message": "same", "formatted": "same"}}, "same", ""),
        ({"logentry": {"message": "%s of %d, %.1f%%", "params": ["x", 3, 0.25]}}, "x of 3, 0.2%", "%s of %d, %.1f%%"),
        ({"logentry": {"message": "%(who)s", "params": {"who": None}}}, "%(who)s", ""),
        ({"logentry": {"message": "hi %(who)s", "params": {"who": "you"}}}, "hi you", "hi %(who)s"),
        ({"logentry": {"message": "hi {who}", "params": {"who": "you"}}}, "hi you", "hi {who}"),
        ({"logentry": {"message": "{} and {1} {{}}", "params": ["a", "b"]}}, "a and b {}", "{} and {1} {{}}"),
        ({"logentry": {"message": "%s %s", "params": ["only"]}}, "only %s", "%s %s"),
        ({"logentry": {"message": "%d", "params": ["text"]}}, "text", "%d"),
        ({"logentry": {"message": "%999999999d", "params": [1]}}, "%999999999d", ""),
        ({"sentry.interfaces.Message": {"message": "old %s", "params": ["way"]}}, "old way", "old %s"),
        (
            {"message": "%s left", "sentry.interfaces.Message": {"message": "%s left", "params": ["2"]}},
            "2 left",
            "%s left",
        ),
    ],
)
def test_every_message_form_is_read(form: dict[str, Any], text: str, template: str) -> None:
    """Text, template and parameters, printf or braces; what has no parameter stays as it is."""
    found = row(form)
    assert found["body"] == text
    assert found["attributes_string"].get("sentry.message.template", "") == template


def test_event_without_anything_is_still_a_row() -> None:
    """An empty object is stored under the name Sentry gives it, at the time of receipt, as an error."""
    found = row({})
    assert (found["name"], found["severity_number"], found["timestamp"]) == ("<unlabeled event>", 17, NOW_NS)
    assert found["repairs"] == ["timestamp_missing"]
    assert found["payload"] == "{}"


@pytest.mark.parametrize(
    ("level", "number"),
    [
        ("debug", 5), ("info", 9), ("log", 9), ("warning", 13), ("warn", 13), ("WARNING", 13), ("error", 17),
        ("fatal", 21), ("critical", 21), (10, 5), (20, 9), (30, 13), (40, 17), (50, 21), ("50", 21), (None, 17),
        ("loud", 17), ({}, 17), (True, 17),
    ],
)  # fmt: skip
def test_levels_map_to_severities(level: Any, number: int) -> None:
    """Names, aliases and Python's numbers; what nobody knows is an error and named."""
    found = row({"level": level, "timestamp": 1_795_272_365})
    assert found["severity_number"] == number
    assert found["repairs"] == (["level_invalid"] if level in ("loud", {}, True) else [])


def test_event_id_prefers_the_envelope_header() -> None:
    """Header, else payload, else a function of the body's place: never a random one."""
    header = f'{{"event_id":"{ID}"}}'.encode()
    assert row({"event_id": ID})["event_id"] == int(ID, 16)
    assert row({"event_id": str(UUID(ID))}, header=header)["repairs"] == ["timestamp_missing"]
    differs = row({"event_id": OTHER_ID}, header=header)
    assert (differs["event_id"], differs["repairs"][-1]) == (int(ID, 16), "event_id_differs")
    assert row({})["event_id"] == row({})["event_id"] != row({}, item_index=1)["event_id"]
    assert row({"event_id": "nonsense"})["repairs"][-1] == "event_id_invalid"


def test_group_hash_ignores_what_changes_between_equal_errors() -> None:
    """Line numbers, values and library frames do not split a group; another function does."""

    def hashed(function: str, line: int, value: str) -> str:
        library = {"module": "lib", "function": "call", "lineno": line, "in_app": False}
        frame = {"module": "app", "function": function, "lineno": line, "in_app": True}
        return str(row(crash(value=value, stacktrace={"frames": [library, frame]}))["group_hash"])

    assert hashed("f", 1, "x") == hashed("f", 2, "y") != hashed("g", 1, "x")
    assert len(hashed("f", 1, "x")) == 32


def test_group_hash_survives_the_next_build_of_a_bundle() -> None:
    """The hash in a bundle's name and its query say nothing about the error."""

    def hashed(filename: str) -> str:
        frame = {"filename": filename, "function": "pay", "lineno": 1, "colno": 7, "in_app": True}
        return str(row(crash(stacktrace={"frames": [frame]}))["group_hash"])

    assert hashed("https://x/main.5f3a9c01.js?v=1") == hashed("https://x/main.77aa0b1c.js?v=2")
    assert hashed("https://x/main.5f3a9c01.js") != hashed("https://x/other.5f3a9c01.js")


def test_group_hash_of_messages_uses_the_template() -> None:
    """Rendered numbers do not split a group."""
    first, second, other = "took 12 ms", "took 7 ms", "took too long"
    assert row({"message": first})["group_hash"] == row({"message": second})["group_hash"]
    assert row({"message": first})["group_hash"] != row({"message": other})["group_hash"]


def test_fingerprint_replaces_or_extends_the_default() -> None:
    """[{{ default }}] is the default itself; a list with it extends it; any other replaces it."""
    default = row(crash())["group_hash"]
    assert row({**crash(), "fingerprint": ["{{ default }}"]})["group_hash"] == default
    extended = row({**crash(), "fingerprint": ["{{default}}", "eu"]})
    assert extended["group_hash"] != default
    custom = {"fingerprint": ["mine", 7]}
    assert row({**crash(), **custom})["group_hash"] == row({"message": "x", **custom})["group_hash"]
    assert row(custom)["fingerprint"] == ["mine", "7"]
    assert row({"fingerprint": "text"})["repairs"] == ["timestamp_missing", "fingerprint_invalid"]


def test_old_php_event_gives_a_full_row() -> None:
    """raven's interface names, pairs, Python's level numbers and rendered parameters."""
    found = row(example("legacy-raven-event.json"))
    assert found["name"] == found["body"] == "Invoice A-17 is 12 days late"
    assert (found["severity_text"], found["scope_name"], found["user_id"]) == ("warning", "billing.invoices", "42")
    assert found["event_id"] == UUID("6e3a9dd0-4c0b-4a5e-8a7f-2b1c7d9e0f11").int
    assert found["resource"]["host.name"] == "worker-3"
    assert found["resource"]["service.version"] == "billing@3.1"
    assert found["attributes_int"] == {
        "server.port": 8443,
        "extra.attempt": 3,
        "breadcrumbs.count": 2,
        "sentry.message.parameter.1": 12,
    }
    strings = found["attributes_string"]
    assert strings["shard"] == "7"
    assert strings["http.request.method"] == "POST"
    assert strings["server.address"] == "shop.example.com"
    assert strings["url.path"] == "/invoices/17"
    assert strings["http.request.header.accept"] == "text/html, */*"
    assert strings["user_agent.original"] == "curl/8.9"
    assert not any("authorization" in key for key in strings)
    assert strings["extra.items"] == '[{"sku":"x"}]'
    assert found["repairs"] == []


def test_mobile_crash_gives_a_full_row() -> None:
    """Thread traces, contexts under OpenTelemetry's names, flags, and a parent id that is none."""
    found = row(example("mobile-crash-event.json"), environment_from_event=True)
    assert found["exception_stacktrace"].split("\n") == [
        "NSRangeException: index 9 beyond bounds [0 .. 2]",
        "  UIKit in UIApplicationMain",
        "  Cart.swift:88 in CartViewController.pay()",
        "  0x1042f8a00 in <unknown>",
    ]
    assert (found["environment"], found["span_id"], found["parent_span_id"]) == ("staging", "a7cb0ac040c271b8", "")
    assert found["repairs"] == ["parent_span_id_invalid"]
    assert found["resource"]["service.name"] == "shop-ios"
    assert found["resource"]["service.namespace"] == "shop"
    assert found["resource"]["service.version"] == "com.example.shop@4.2.0+118"
    assert found["attributes_int"]["http.response.status_code"] == 502
    assert found["attributes_bool"] == {
        "os.rooted": False,
        "device.simulator": False,
        "feature_flag.new-cart": True,
        "exception.mechanism.handled": False,
    }
    strings = found["attributes_string"]
    assert strings["device.model.identifier"] == "iPhone17,2"
    assert strings["os.name"] == "iOS"
    assert strings["browser.name"] == "Mobile Safari"
    assert strings["shop.basket"] == '{"items":3}'
    assert found["attributes_double"] == {"device.battery_level": 81.5}


def test_payload_is_kept_as_sent() -> None:
    """Blanks and the order of keys included; only what is not JSON is rewritten."""
    raw = b'{ "message" : "x",\n "a": 1.50 }'
    assert row(raw)["payload"] == raw.decode()
    mended = row(b'\xef\xbb\xbf{"a": NaN, "b": [Infinity, 1e999], "c": "\\ud800", "message": "x\xff"}')
    assert orjson.loads(mended["payload"]) == {"a": None, "b": [None, None], "c": "\ufffd", "message": "x\ufffd"}
    assert "payload_rewritten" in mended["repairs"]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b"[1]", "not_an_object"),
        (b"null", "not_an_object"),
        (b'{"a":' * 100_000, "invalid_json"),
        (b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}", "invalid_json"),
    ],
)
def test_malformed_payload_is_a_counted_rejection(raw: bytes, reason: str) -> None:
    """Nothing raises: the reason is named and nothing is accepted."""
    found = verdict(raw)
    assert (found.rows, found.accepted, [one.reason for one in found.rejections]) == ([], 0, [reason])


def test_malformed_envelope_is_a_counted_rejection() -> None:
    """Bytes that are no envelope are refused by name too."""
    assert event.normalise(origin(), b"\xff").rejections[0].reason == "invalid_envelope"
