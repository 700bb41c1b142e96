"""Protobuf bodies of log records for blocks of rows: usual records, and each kind of unusual ones beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from schemas.headers import Origin
from tests.unit.otlp_encoding import PROTOBUF, RECEIVED_AT_NS, any_value, logs, put
from tests.unit.span_bodies import ATTRIBUTES

_WORDS = ("INFO", "warning", "", "Error ", "no severity", "TRACE3")


def usual(number: int, attributes: Mapping[str, Any] = ATTRIBUTES, **fields: Any) -> LogRecord:
    """A record that a block takes; some of them are repaired."""
    ids = {"trace_id": (number + 1).to_bytes(16, "big"), "span_id": (number + 1).to_bytes(8, "big")}
    if number % 3 == 0:
        ids = {} if number % 9 else {"trace_id": bytes(16), "span_id": bytes(8)}
    times = {"time_unix_nano": RECEIVED_AT_NS - number if number % 4 else 0, "observed_time_unix_nano": RECEIVED_AT_NS}
    if number % 5 == 1:
        times = {"time_unix_nano": RECEIVED_AT_NS - number}
    about = {
        "severity_number": number % 25 if number % 2 else 0,
        "severity_text": _WORDS[number % len(_WORDS)],
        "flags": number,
    }
    one = LogRecord(**(ids | times | about | fields))
    one.body.string_value = f'out of paper {number} "caf\u00e9"\n' if number % 7 else ""
    if number % 6 == 0:
        one.event_name = f"shop.event.{number}"
    put(one.attributes, dict(attributes))
    return one


def _with(attributes: Mapping[str, Any]) -> Callable[[LogRecord], None]:
    return lambda one: put(one.attributes, dict(attributes))


def _setting(**fields: Any) -> Callable[[LogRecord], None]:
    def change(one: LogRecord) -> None:
        for name, value in fields.items():
            setattr(one, name, value)

    return change


def _saying(value: Any) -> Callable[[LogRecord], None]:
    return lambda one: one.body.CopyFrom(any_value(value))


# What a block leaves to Python, each alone.
UNUSUAL: Mapping[str, Callable[[LogRecord], None]] = {
    "an exception": _with({"exception.type": "ValueError", "exception.stacktrace": "at f (a.js:1:2)"}),
    "a model call": _with({"gen_ai.system": "openai", "gen_ai.usage.prompt_tokens": 7}),
    "an event's older name": _with({"event.name": "shop.paid"}),
    "a header": _with({"http.request.header.authorization": "Bearer hunter2"}),
    "a command": _with({"process.command_line": "mysql --password=hunter2"}),
    "a password in an address": _with({"http.url": "https://ada:hunter2@shop.example/"}),
    "a list": _with({"a": [1, 2]}),
    "bytes": _with({"a": b"\xff"}),
    "nothing in an attribute": _with({"a": None}),
    "an infinity": _with({"a": float("inf")}),
    "a key that comes twice": _with({"is_cached": 1}),
    "a long key": _with({"k" * 128: 1}),
    "no body": lambda one: one.ClearField("body"),
    "an empty body": _saying(None),
    "a number as body": _saying(7),
    "a map as body": _saying({"cookie": "hunter2", "n": 1}),
    "a short trace id": _setting(trace_id=b"\x01"),
    "a long span id": _setting(span_id=b"\x01" * 9),
    "no time at all": _setting(time_unix_nano=0, observed_time_unix_nano=0),
    "an old time": _setting(time_unix_nano=10**9),
    "a time that is none": _setting(time_unix_nano=2**64 - 1),
    "observed at no time": _setting(observed_time_unix_nano=2**64 - 1),
    "a severity above all": _setting(severity_number=25),
    "a negative severity": _setting(severity_number=-1),
    "dropped attributes": _setting(dropped_attributes_count=2),
    "a long record": _with({"a": "a" * 1_100_000}),
}


def body(records: Sequence[LogRecord], resource: Mapping[str, Any] | None = None) -> bytes:
    """One scope with these records."""
    request = logs(*records, resource=dict(resource if resource is not None else {"service.name": "till", "n": 7}))
    return bytes(request.SerializeToString())


def messages() -> Iterator[tuple[Origin, bytes]]:
    """Messages of many shapes: what blocks of one insert may differ in."""
    yield replace(PROTOBUF, origin_id="0"), body([usual(number) for number in range(600)])
    odd = [usual(1_000 + number) for number in range(6 * len(UNUSUAL))]
    for number, change in enumerate(UNUSUAL.values()):
        change(odd[6 * number])
    yield replace(PROTOBUF, origin_seq=6, origin_id="1"), body(odd)
    for number in range(20):
        origin = replace(
            PROTOBUF, organisation=f"o{number % 3}", channel_id=10 + number, key_id=f"k{number}", origin_seq=7 + number
        )
        attributes = {f"key.{number}.{place}": place for place in range(20)} if number % 4 else {}
        made = [usual(2_000 + 100 * number + place, attributes) for place in range(10 + number)]
        for place, one in enumerate(made):
            one.severity_text = f"level {number}.{place}" if number % 3 else one.severity_text
        yield origin, body(made, {f"r{place}": "\u20ac" for place in range(number)})
