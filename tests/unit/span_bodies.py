"""Protobuf bodies of spans for blocks of rows: usual spans, and each kind of unusual ones beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from schemas.headers import Origin
from tests.unit.otlp_encoding import PROTOBUF, RECEIVED_AT_NS, put, span, traces

ATTRIBUTES: Mapping[str, Any] = {
    "http.request.method": "GET",
    "http.response.status_code": 503,
    "url.full": 'https://shop.example/caf\u00e9?q=\U0001f600&"\\\n\x00\x1f\x7f',
    "empty": "",
    "long": "x" * 127,
    "longer": "y" * 128,
    "least": -(2**63),
    "most": 2**63 - 1,
    "ratio": 0.1,
    "tiny": 5e-324,
    "large": 1e16,
    "minus zero": -0.0,
    "whole": 7.0,
    "is_cached": True,
    "is_late": False,
}


def usual(number: int, attributes: Mapping[str, Any] = ATTRIBUTES, **fields: Any) -> Span:
    """A span that a block takes."""
    start_ns = RECEIVED_AT_NS - number
    ids = {"trace_id": (number + 1).to_bytes(16, "big"), "span_id": (number + 1).to_bytes(8, "big")}
    times = {"start_time_unix_nano": start_ns, "end_time_unix_nano": start_ns + number * 1_000}
    one = span(**(ids | times | {"name": f"GET /{number}", "kind": number % 7, "flags": number} | fields))
    put(one.attributes, dict(attributes))
    if number % 100 == 0:
        put(one.attributes, {"longest": "z" * 20_000})
    if number % 2:
        one.parent_span_id = b"\x07" * 8
        one.status.code = number % 3
        one.status.message = "" if number % 3 else "broken \u20ac"
        one.trace_state = "ot=th:8" if number % 5 == 0 else ""
    return one


def _with_event(one: Span) -> None:
    one.events.add(name="exception", time_unix_nano=RECEIVED_AT_NS)


def _with_link(one: Span) -> None:
    one.links.add(trace_id=b"\x05" * 16, span_id=b"\x06" * 8)


def _with(attributes: Mapping[str, Any]) -> Callable[[Span], None]:
    return lambda one: put(one.attributes, dict(attributes))


def _setting(**fields: Any) -> Callable[[Span], None]:
    def change(one: Span) -> None:
        for name, value in fields.items():
            setattr(one, name, value)

    return change


# What a block leaves to Python, each alone.
UNUSUAL: Mapping[str, Callable[[Span], None]] = {
    "an event": _with_event,
    "a link": _with_link,
    "an exception": _with({"exception.type": "ValueError", "exception.stacktrace": "at f (a.js:1:2)"}),
    "a model call": _with({"gen_ai.system": "openai", "gen_ai.usage.prompt_tokens": 7}),
    "a header": _with({"http.request.header.authorization": "Bearer hunter2"}),
    "a map of headers": _with({"request.headers": '{"cookie": "hunter2"}'}),
    "a command": _with({"process.command_line": "mysql --password=hunter2"}),
    "a password in an address": _with({"http.url": "https://ada:hunter2@shop.example/"}),
    "a list": _with({"a": [1, 2]}),
    "a map": _with({"a": {"b": 1}}),
    "bytes": _with({"a": b"\xff"}),
    "nothing in an attribute": _with({"a": None}),
    "an infinity": _with({"a": float("inf")}),
    "a key that comes twice": _with({"is_cached": 1}),
    "a long key": _with({"k" * 128: 1}),
    "no trace id": _setting(trace_id=b""),
    "a trace id of zeros": _setting(trace_id=bytes(16)),
    "a short span id": _setting(span_id=b"\x01"),
    "a parent of zeros": _setting(parent_span_id=bytes(8)),
    "no start": _setting(start_time_unix_nano=0),
    "an end before the start": _setting(end_time_unix_nano=RECEIVED_AT_NS - 10**12),
    "an old start": _setting(start_time_unix_nano=10**9),
    "a start that is no time": _setting(start_time_unix_nano=2**64 - 1, end_time_unix_nano=2**64 - 1),
    "a negative kind": _setting(kind=-1),
    "dropped attributes": _setting(dropped_attributes_count=2),
    "dropped events": _setting(dropped_events_count=2),
    "dropped links": _setting(dropped_links_count=2),
    "a long record": _with({"a": "a" * 1_100_000}),
}


def body(spans: Sequence[Span], resource: Mapping[str, Any] | None = None) -> bytes:
    """One scope with these spans."""
    request = traces(*spans, resource=dict(resource if resource is not None else {"service.name": "till", "n": 7}))
    return bytes(request.SerializeToString())


def messages() -> Iterator[tuple[Origin, bytes]]:
    """Messages of many shapes: what blocks of one insert may differ in."""
    yield PROTOBUF, body([usual(number) for number in range(600)])
    odd = [usual(1_000 + number) for number in range(6 * len(UNUSUAL))]
    for number, change in enumerate(UNUSUAL.values()):
        change(odd[6 * number])
    yield replace(PROTOBUF, origin_seq=6), body(odd)
    for number in range(20):
        origin = replace(
            PROTOBUF, organisation=f"o{number % 3}", channel_id=10 + number, key_id=f"k{number}", origin_seq=7 + number
        )
        attributes = {f"key.{number}.{place}": place for place in range(20)} if number % 4 else {}
        made = [usual(2_000 + 100 * number + place, attributes) for place in range(10 + number)]
        yield origin, body(made, {f"r{place}": "\u20ac" for place in range(number)})
