"""Stack traces in OTLP spans and log records get the frames of their source, in protobuf and in JSON."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import nats.errors
import orjson
import pytest
from google.protobuf.message import Message as ProtobufMessage
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from schemas import headers, subjects
from schemas.otlp.http_bodies import Encoding
from schemas.otlp.protobuf_wire import length_field, varint_bytes
from tests.unit.artifact_files import LOOP, START, THROWN, app_bundle, artifact_of, browser_event
from tests.unit.otlp_encoding import JSON, PROTOBUF, RECEIVED_AT_NS, any_value, as_json, logs, put, span, traces
from tests.unit.worker_fakes import FakeReceipt
from tests.unit.workers.symbolicate.harness import ORIGIN, SymbolicationHarness, message_of
from workers.consume.message import Message
from workers.normalise.registry import normalisers
from workers.symbolicate import otlp_symbolicator, stack_texts, words
from workers.symbolicate.otlp_bodies import MAX_REPLACED, NewTrace, replace_stacktraces
from workers.symbolicate.otlp_symbolicator import OtlpSymbolicator
from workers.symbolicate.stack_texts import StackText

NORMALISERS = normalisers(30, 10**7)
APP = "https://shop.example/static/app.min.js"
HEAD = "TypeError: no item to add to basket"
CHROME = "\n".join(
    [
        HEAD,
        f"    at e ({APP}:{THROWN[0]}:{THROWN[1]})",
        f"    at async r ({APP}:{LOOP[0]}:{LOOP[1]})",
        f"    at {APP}:{START[0]}:{START[1]}",
        "    at <anonymous>",
    ]
)
FIREFOX = "\n".join(
    f"{name}@{APP}:{line}:{column}" for name, (line, column) in zip("eri", (THROWN, LOOP, START), strict=True)
)
CHROME_RESOLVED = [
    HEAD,
    "    at addToBasket (../src/shop.js:3:5)",
    "    at async checkout (../src/index.js:5:5)",
    "    at start (../src/index.js:10:3)",
    "    at <anonymous>",
]
FIREFOX_RESOLVED = [
    "addToBasket@../src/shop.js:3:5",
    "checkout@../src/index.js:5:5",
    "start@../src/index.js:10:3",
]
SHOP_1 = {"service.name": "shop", "service.version": "1.0"}


def raised(stacktrace: str = CHROME, **more: str) -> dict[str, str]:
    return {"exception.type": "TypeError", "exception.message": HEAD[11:], "exception.stacktrace": stacktrace, **more}


def span_export(attributes: dict[str, str], resource: dict[str, str]) -> ProtobufMessage:
    failed = span(name="click")
    put(failed.events.add(name="exception", time_unix_nano=RECEIVED_AT_NS - 10**9).attributes, attributes)
    return traces(span(span_id=b"another!"), failed, resource=resource)


def log_export(attributes: dict[str, str], resource: dict[str, str]) -> ProtobufMessage:
    record = LogRecord(time_unix_nano=RECEIVED_AT_NS, body=any_value("failed"))
    put(record.attributes, attributes)
    return logs(LogRecord(time_unix_nano=RECEIVED_AT_NS, body=any_value("other")), record, resource=resource)


EXPORTS = {"otlp_span": span_export, "otlp_log": log_export}


class Exports:
    """Exports of one kind and encoding through resolving and normalising."""

    def __init__(self, harness: SymbolicationHarness, worker: str, encoding: Encoding) -> None:
        self.harness = harness
        self.worker = worker
        self.encoding = encoding
        self.origin = replace(JSON if encoding == "json" else PROTOBUF, organisation="default")
        self.symbolicator = OtlpSymbolicator(harness.known, harness.frames, is_logs=worker == "otlp_log")

    def message(self, attributes: dict[str, str], resource: dict[str, str] = SHOP_1, deliveries: int = 1) -> Message:
        export = EXPORTS[self.worker](attributes, resource)
        body = as_json(export) if self.encoding == "json" else export.SerializeToString()
        named = {headers.ORGANISATION: "default"}
        return Message(f"raw.otlp.{self.worker}.7", named, body, subjects.RAW, 1, deliveries, 0, FakeReceipt([], "m"))

    async def row(self, attributes: dict[str, str], resource: dict[str, str] = SHOP_1) -> dict[str, Any]:
        """The row of the record with the stack trace."""
        message = await self.symbolicator.resolve(self.message(attributes, resource), self.origin)
        normaliser = NORMALISERS[self.worker]
        row = list(normaliser.normalise(self.origin, message).rows)[-1]
        return dict(zip(normaliser.columns, row, strict=True))


@pytest.fixture(params=[(worker, encoding) for worker in EXPORTS for encoding in ("protobuf", "json")], ids="-".join)
def exports(harness: SymbolicationHarness, request: pytest.FixtureRequest) -> Exports:
    """Every kind of record in both encodings; release 1.0 of the shop has a map."""
    harness.upload(data := app_bundle(debug_id="", release="1.0"), artifact_of(data))
    return Exports(harness, *request.param)


@pytest.mark.asyncio
@pytest.mark.parametrize(("sent", "resolved"), [(CHROME, CHROME_RESOLVED), (FIREFOX, FIREFOX_RESOLVED)])
async def test_a_stack_trace_names_the_source(exports: Exports, sent: str, resolved: list[str]) -> None:
    """In the form of the browser that wrote it; what was sent stays beside it, and other lines stay as they are."""
    row = await exports.row(raised(sent))
    stacktrace = row.get("exception_stacktrace") or row["attributes_string"]["exception.stacktrace"]
    assert stacktrace.splitlines() == resolved
    assert row["attributes_string"]["symbolicated"] == "all"
    assert "symbolication_repairs" not in row["attributes_string"]
    if exports.worker == "otlp_log":
        assert row["attributes_string"]["exception.raw_stacktrace"] == sent
    else:
        assert orjson.dumps(sent).decode() in str(row["payload"])


@pytest.mark.asyncio
async def test_lines_of_windows_keep_their_ends(exports: Exports) -> None:
    row = await exports.row(raised(CHROME.replace("\n", "\r\n")))
    stacktrace = row.get("exception_stacktrace") or row["attributes_string"]["exception.stacktrace"]
    assert stacktrace.split("\r\n") == CHROME_RESOLVED


@pytest.mark.asyncio
async def test_an_error_has_one_group_by_opentelemetry_and_by_sentry(exports: Exports) -> None:
    """With whatever names the minifier gave."""
    exports.harness.upload(data := app_bundle(release="web"), artifact_of(data))
    message = await exports.harness.symbolicator.resolve(message_of(browser_event(release="web")), ORIGIN)
    normaliser = NORMALISERS["event"]
    [event] = [dict(zip(normaliser.columns, row, strict=True)) for row in normaliser.normalise(ORIGIN, message).rows]
    assert (await exports.row(raised(CHROME.replace("<anonymous>", "z"))))["group_hash"] == event["group_hash"]
    assert (await exports.row(raised(FIREFOX)))["group_hash"] == event["group_hash"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "resource", [{}, {"service.version": "2.0"}, {"service.name": "1.0"}, {"service.name": "a", "service.version": ""}]
)
async def test_another_release_is_left_alone(exports: Exports, resource: dict[str, str]) -> None:
    message = exports.message(raised(), resource)
    assert await exports.symbolicator.resolve(message, exports.origin) is message


@pytest.mark.asyncio
async def test_a_release_may_be_named_with_its_service(exports: Exports) -> None:
    """`shop@2.0` is what Sentry's tools call version 2.0 of the shop."""
    exports.harness.upload(data := app_bundle(debug_id="", release="shop@2.0"), artifact_of(data))
    row = await exports.row(raised(), {"service.name": "shop", "service.version": "2.0"})
    assert row["attributes_string"]["symbolicated"] == "all"


@pytest.mark.asyncio
async def test_a_missing_file_is_named_and_the_stack_trace_stays(exports: Exports) -> None:
    sent = CHROME.replace("app.min.js", "other.js")
    row = await exports.row(raised(sent))
    assert row["attributes_string"]["symbolicated"] == "none"
    assert row["attributes_string"]["symbolication_repairs"] == words.SOURCE_MAP_MISSING
    assert sent in (row.get("exception_stacktrace"), row["attributes_string"].get("exception.stacktrace"))


@pytest.mark.asyncio
async def test_without_artifacts_or_without_a_stack_trace_the_message_is_the_same(exports: Exports) -> None:
    for attributes in (raised(""), raised("no frame here"), {"exception.type": "E"}):
        message = exports.message(attributes)
        assert await exports.symbolicator.resolve(message, exports.origin) is message
    exports.harness.known.clear()
    message = exports.message(raised())
    assert not exports.symbolicator.concerns(message)
    assert await exports.symbolicator.resolve(message, exports.origin) is message
    assert exports.harness.store.reads == []


@pytest.mark.asyncio
async def test_an_unreachable_store_gives_the_message_back_and_at_last_stores_it_raw(exports: Exports) -> None:
    """The record says why."""
    exports.harness.store.error = nats.errors.TimeoutError()
    with pytest.raises(nats.errors.TimeoutError):
        await exports.symbolicator.resolve(exports.message(raised()), exports.origin)
    message = exports.message(raised(), deliveries=otlp_symbolicator.LAST_TRY)
    resolved = (await exports.symbolicator.resolve(message, exports.origin)).inflated or b""
    assert words.SOURCE_MAP_UNREACHABLE.encode() in resolved
    assert b"addToBasket" not in resolved


@pytest.mark.asyncio
async def test_a_fault_of_ours_costs_no_record(exports: Exports, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports.harness.frames, "resolve_javascript", lambda *_: 1 / 0)
    resolved = await exports.symbolicator.resolve(exports.message(raised()), exports.origin)
    assert words.FAILED.encode() in (resolved.inflated or b"")


@pytest.mark.asyncio
async def test_texts_are_read_beside_the_event_loop_and_only_so_many_lines(
    harness: SymbolicationHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 texts of line breaks, a few kilobytes compressed, held a worker for three seconds."""
    threads = set()

    class WatchedText(StackText):
        def __init__(self, text: str) -> None:
            threads.add(threading.current_thread())
            super().__init__(text)

    monkeypatch.setattr(otlp_symbolicator, "StackText", WatchedText)
    harness.upload(data := app_bundle(debug_id="", release="1.0"), artifact_of(data))
    exports = Exports(harness, "otlp_log", "protobuf")
    message = exports.message(raised("\n" * 60_000 + CHROME))
    assert await exports.symbolicator.resolve(message, exports.origin) is message
    assert threads
    assert threading.main_thread() not in threads
    few = exports.message(raised("\n" * (stack_texts.MAX_LINES - 10) + CHROME))
    assert b"addToBasket" in ((await exports.symbolicator.resolve(few, exports.origin)).inflated or b"")


@pytest.mark.asyncio
async def test_a_large_json_body_stays_as_it_is(harness: SymbolicationHarness) -> None:
    """One call of the JSON parser would hold the event loop."""
    harness.upload(data := app_bundle(debug_id="", release="1.0"), artifact_of(data))
    exports = Exports(harness, "otlp_log", "json")
    message = exports.message(raised(more="x" * otlp_symbolicator.MAX_JSON_BYTES))
    assert await exports.symbolicator.resolve(message, exports.origin) is message


@pytest.mark.asyncio
async def test_an_inflated_body_is_resolved_in_place_of_the_compressed_one(exports: Exports) -> None:
    """Workers inflate a body before they look at it."""
    message = exports.message(raised())
    message.inflated, message.body = message.body, b"compressed"
    resolved = await exports.symbolicator.resolve(message, exports.origin)
    assert resolved.body == b"compressed"
    assert b"addToBasket" in (resolved.inflated or b"")
    assert message.inflated is None


@pytest.mark.asyncio
async def test_only_so_many_different_stack_traces_of_a_body_are_resolved(harness: SymbolicationHarness) -> None:
    harness.upload(data := app_bundle(debug_id="", release="1.0"), artifact_of(data))
    exports = Exports(harness, "otlp_log", "protobuf")
    export = log_export(raised(), SHOP_1)
    for number in range(otlp_symbolicator.MAX_TEXTS + 5):
        record = export.resource_logs[0].scope_logs[0].log_records.add()  # type: ignore[attr-defined]
        put(record.attributes, raised(f"{number} {CHROME}"))
    message = exports.message({})
    message.body = export.SerializeToString()
    resolved = await exports.symbolicator.resolve(message, exports.origin)
    assert (resolved.inflated or b"").count(b"at addToBasket") == otlp_symbolicator.MAX_TEXTS


def test_after_so_many_stack_traces_a_body_stays_as_it_is() -> None:
    record = LogRecord(time_unix_nano=RECEIVED_AT_NS)
    for _ in range(MAX_REPLACED + 5):
        put(record.attributes, {"exception.stacktrace": "sent"})
    body = logs(record).SerializeToString()
    for encoding, data in (("protobuf", body), ("json", as_json(logs(record)))):
        changed = replace_stacktraces(data, encoding, True, lambda *_: NewTrace("new", "all"))  # type: ignore[arg-type]
        assert changed.count(b"raw_stacktrace") == MAX_REPLACED
        assert changed.count(b"sent") == MAX_REPLACED + 5


def test_everything_else_of_a_body_stays_as_it_is() -> None:
    """Fields of newer versions, too. The new attributes are what the span has more."""
    export = span_export(raised(), SHOP_1)
    newer = b"\xfa\x3e\x05newer"
    body = export.SerializeToString() + newer
    changed = replace_stacktraces(body, "protobuf", False, lambda *_: NewTrace("new", "some", ("a", "b")))
    assert changed.endswith(newer)
    parsed = type(export).FromString(changed)
    failed: Span = parsed.resource_spans[0].scope_spans[0].spans[1]  # type: ignore[attr-defined]
    assert {pair.key: pair.value.string_value for pair in failed.events[0].attributes} == {
        **raised("new"),
        "exception.raw_stacktrace": CHROME,
        "symbolicated": "some",
        "symbolication_repairs": "a b",
    }
    del failed.attributes[:]
    del failed.events[0].attributes[:]
    put(failed.events[0].attributes, raised())
    assert parsed == type(export).FromString(body)


@given(body=st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: b"exception.stacktrace" + tail))
def test_bytes_that_are_no_export_come_back_as_they_are(body: bytes) -> None:
    for encoding in ("protobuf", "json"):
        for is_logs in (True, False):
            assert replace_stacktraces(body, encoding, is_logs, lambda *_: None) is body  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 1, 30, 200])
def test_a_cut_export_comes_back_as_it_is(size: int) -> None:
    for export in (span_export(raised(), SHOP_1), log_export(raised(), SHOP_1)):
        for encoding, body in (("protobuf", export.SerializeToString()), ("json", as_json(export))):
            cut = body[: len(body) - size - 1]
            assert replace_stacktraces(cut, encoding, False, lambda *_: NewTrace("x", "all")) is cut  # type: ignore[arg-type]


@pytest.mark.parametrize("attributes", [{}, {"0": 7}, "text", 7, False])
def test_a_span_that_will_be_refused_stays_as_it_is(attributes: object) -> None:
    """Its attributes are no list: adding some would make it valid."""
    document = orjson.loads(as_json(span_export(raised(), SHOP_1)))
    document["resourceSpans"][0]["scopeSpans"][0]["spans"][1]["attributes"] = attributes
    body = orjson.dumps(document)
    assert replace_stacktraces(body, "json", False, lambda *_: NewTrace("x", "all")) is body


def test_a_value_that_ends_too_late_stays_as_it_is() -> None:
    """A text that is longer than its attribute is an error of the span, which is refused."""
    text = length_field(1, CHROME.encode())
    value = text[:1] + varint_bytes(10_000) + text[2:]
    attribute = length_field(1, b"exception.stacktrace") + length_field(2, value)
    record = length_field(6, attribute)
    body = length_field(1, length_field(2, length_field(2, record)))
    assert replace_stacktraces(body, "protobuf", True, lambda *_: NewTrace("x", "all")) is body


@given(text=st.text(max_size=300) | st.text("at (:1)@\n async", max_size=300))
def test_any_text_comes_back_as_it_is_where_nothing_is_resolved(text: str) -> None:
    stack = StackText(text)
    event = stack.traces("1.0")
    if event.traces:
        assert stack.with_frames(event) == text


@pytest.mark.parametrize(
    ("line", "file", "name"),
    [
        ("    at Object.render (/app/dist/index.js:7:8)", "/app/dist/index.js", "Object.render"),
        ("at new Shop (file:///app/a.mjs:7:8)", "file:///app/a.mjs", "Shop"),
        ("    at p (address at index.android.bundle:7:8)", "index.android.bundle", "p"),
        ("    at https://a.example/x.js?v=1:7:8\r", "https://a.example/x.js?v=1", "?"),
        ("async*run@https://a.example/x.js:7:8", "https://a.example/x.js", "async*run"),
        ("@https://a.example/x.js:7:8", "https://a.example/x.js", "?"),
    ],
)
def test_lines_of_every_runtime_are_frames(line: str, file: str, name: str) -> None:
    [trace] = StackText(f"Error: x\n{line}\n").traces("1").traces
    [frame] = trace.frames
    assert (frame["abs_path"], frame["lineno"], frame["colno"], frame["function"]) == (file, 7, 8, name)


@pytest.mark.parametrize(
    "line", ["    at <anonymous>", "    at Array.map (native)", "  at com.a.B.c(B.java:7)", "text:7:8"]
)
def test_other_lines_are_none(line: str) -> None:
    assert StackText(line).traces("1").traces == []
