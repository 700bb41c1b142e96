"""Traces of ourselves: who is sampled, which spans there are, what never stands in them, and that they stop nobody."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from prometheus_client import REGISTRY
from pydantic import ValidationError

from ops.replay.reprocess import reprocessed
from ops.runtime import tracing
from ops.runtime.settings import Settings
from ops.runtime.stream_reader import StoredMessage
from ops.runtime.tracing import Tracing
from receiver import server
from receiver.app import App
from receiver.delivery.publish import Unavailable
from receiver.settings import ReceiverSettings
from receiver.tracing import TracedApp
from schemas import headers
from tests.polling import DEADLINE_S, eventually
from tests.servers import ROOT, environment, free_port
from tests.unit.receiver.test_app import ENVELOPE, SECRET, Client
from tests.unit.worker_fakes import COLUMNS, TABLE, Bench, heard, settled
from tests.unit.workers.consume.test_pipeline import echo
from tests.unit.workers.unpack.test_handler import TWO_ITEMS, Items
from workers.consume.handover import Handover
from workers.consume.message import Message
from workers.consume.normalise_handler import NormaliseHandler
from workers.consume.pipeline import HandlerOptions, Pipeline
from workers.normalise.registry import Normaliser
from workers.normalise.verdict import Verdict
from workers.store.batcher import BatchLimits
from workers.tracing import Spans
from workers.unpack.handler import Unpack
from workers.unpack.publish import OneByOne

Normalise = Callable[[headers.Origin, Message], Verdict]
URL = "http://collector.example:4318"
FOREIGN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
FOREIGN_TRACE = 0x4BF92F3577B34DA6A3CE929D0E0E4736
PATH = f"/api/42/envelope/?sentry_key={SECRET}"


class Seen:
    """Traces into memory; `chance` is what every request draws."""

    def __init__(self, ratio: float = 0.5, chance: float = 0.0) -> None:
        self._memory = InMemorySpanExporter()
        self.ended = threading.Event()
        settings = Settings(tracing_url=URL, tracing_sample_ratio=ratio)
        self.traces = Tracing(settings, "test", exporter=self._memory, chance=lambda: chance)

    def spans(self) -> dict[str, ReadableSpan]:
        """Every span that has ended, by its name."""
        self.traces.close()
        found = self._memory.get_finished_spans()
        assert len({span.name for span in found}) == len(found)
        return {span.name: span for span in found}


def client(seen: Seen) -> Client:
    """A receiver without sockets, with spans."""
    made = Client()
    made.app = TracedApp(made.steps, seen.traces)
    return made


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def ids(span: ReadableSpan) -> tuple[int, int]:
    context = span.get_span_context()
    assert context is not None
    return context.trace_id, context.span_id


def is_child(child: ReadableSpan, parent: ReadableSpan) -> bool:
    assert child.parent is not None
    return (child.parent.trace_id, child.parent.span_id) == ids(parent)


# --- off


def test_nothing_of_opentelemetry_is_imported_while_it_is_off() -> None:
    """What is off costs neither time nor memory."""
    code = (
        "import sys, receiver.server, workers.process, ops.cli.main\n"
        "kinds = ('opentelemetry.sdk', 'opentelemetry.trace', 'opentelemetry.exporter', 'ops.runtime.tracing')\n"
        "found = [name for name in sys.modules if name.startswith(kinds)]\n"
        "assert not found, found"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_the_setting_decides_which_application_serves() -> None:
    """Without it the plain one, so that a request costs nothing more; with it the one with spans."""
    steps = Client().steps
    assert type(server._app(steps, AsyncExitStack())) is App
    on = Client(tracing_url=URL, tracing_sample_ratio=0).steps
    assert type(server._app(on, AsyncExitStack())) is TracedApp


# --- the receiver


def test_a_request_has_a_span_and_its_publish_another_within() -> None:
    """Route, status and sizes are told; the message carries the context of its publish."""
    seen = Seen()
    sender = client(seen)
    assert sender.post(PATH, ENVELOPE).status == 200
    spans = seen.spans()
    request, publish = spans["POST /api/{channel}/envelope"], spans["publish RAW"]
    assert request.parent is None
    assert request.kind is SpanKind.SERVER
    assert attributes(request) == {
        "http.request.method": "POST",
        "http.route": "/api/{channel}/envelope",
        "http.request.body.size": len(ENVELOPE),
        "http.response.status_code": 200,
    }
    assert is_child(publish, request)
    told = attributes(publish)
    assert (told["axonpush.route"], told["axonpush.raw_seq"], told["axonpush.duplicate"]) == (
        "sentry.envelope", 1, False,
    )  # fmt: skip
    _, _, sent = sender.publisher.published[0]
    carried = tracing.read(sent[headers.TRACE_PARENT])
    assert carried is not None
    assert (carried.trace_id, carried.span_id, carried.trace_flags.sampled) == (*ids(publish), True)


def test_a_senders_own_trace_neither_forces_nor_continues_ours() -> None:
    """Whoever sends would else decide what we spend; a link says where the request came from."""
    unsampled = Seen(ratio=0.01, chance=0.5)
    sender = client(unsampled)
    told = {"traceparent": FOREIGN, "sentry-trace": FOREIGN[3:-3] + "-1"}
    assert sender.send("POST", PATH, ENVELOPE, told).status == 200
    assert headers.TRACE_PARENT not in sender.publisher.published[0][2]
    assert unsampled.spans() == {}

    sampled = Seen()
    client(sampled).send("POST", PATH, ENVELOPE, told)
    request = sampled.spans()["POST /api/{channel}/envelope"]
    assert ids(request)[0] != FOREIGN_TRACE
    assert [link.context.trace_id for link in request.links] == [FOREIGN_TRACE]


def test_requests_that_carry_our_own_spans_are_not_traced() -> None:
    """Or each trace would make another, for ever."""
    seen = Seen(ratio=1.0)
    sender = client(seen)
    body = b'{"resourceSpans":[]}'
    own = {"X-API-Key": SECRET, "X-Axonpush-Channel": "42", "Content-Type": "application/json", tracing.OWN_SPANS: "1"}
    assert sender.send("POST", "/v1/traces", body, own).status == 200
    assert headers.TRACE_PARENT not in sender.publisher.published[0][2]
    assert seen.spans() == {}


def test_our_exporter_says_that_the_spans_are_ours() -> None:
    """The header of the test before is the one that goes out, with those of the operator, and a whole address."""
    settings = Settings(tracing_url=URL, tracing_headers="X-API-Key=ak_1%3D, X-Axonpush-Channel=7")
    exporter: Any = tracing._exporter(settings)
    assert exporter._endpoint == f"{URL}/v1/traces" == tracing.endpoint(f"{URL}/v1/traces/")
    sent = exporter._client._headers
    assert (sent[tracing.OWN_SPANS], sent["x-api-key"], sent["x-axonpush-channel"]) == ("1", "ak_1=", "7")
    exporter.shutdown()


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/ready"), ("GET", "/metrics"), ("POST", "/nowhere"), ("OPTIONS", "/v1/logs")]
)
def test_what_carries_no_data_is_not_traced(method: str, path: str) -> None:
    """Health checks, preflights, and whatever scans the internet."""
    seen = Seen(ratio=1.0)
    client(seen).send(method, path)
    assert seen.spans() == {}


def test_no_key_no_path_and_no_payload_is_in_a_span() -> None:
    """A key in path or query, a channel, an event: none of it leaves for where traces are kept."""
    seen = Seen()
    body = ENVELOPE.replace(b"{}", b'{"message":"card of Ada"}')
    sender = client(seen)
    sender.post(PATH, body, x_note="tell nobody")
    sender.send("POST", f"/api/42/cron/nightly/{SECRET}/?status=ok", b"")
    seen.traces.close()
    text = "".join(span.to_json() for span in seen._memory.get_finished_spans())
    assert "/cron/{slug}/{key}" in text
    for secret in (SECRET, "card of Ada", "tell nobody", "nightly", "sentry_key", "192.0.2.1"):
        assert secret not in text


def test_a_broker_that_is_away_is_a_failed_span_and_the_usual_answer() -> None:
    """The span says why in a word."""
    seen = Seen()
    sender = client(seen)
    sender.publisher.error = Unavailable("stream_full", 5)
    answer = sender.post(PATH, ENVELOPE)
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    spans = seen.spans()
    publish, request = attributes(spans["publish RAW"]), attributes(spans["POST /api/{channel}/envelope"])
    assert (publish["axonpush.publish_error"], publish["error.type"]) == ("stream_full", "Unavailable")
    assert (request["http.response.status_code"], request["error.type"]) == (503, "503")
    assert not spans["publish RAW"].events, "an exception's text may quote the sender"


# --- the workers


def one_row(_origin: headers.Origin, _message: Message) -> Verdict:
    return Verdict(rows=[(1,)], accepted=1)


def traced(bench: Bench, seen: Seen, normalise: Normalise = echo) -> Pipeline:
    """A normaliser and a Batcher with spans, over the bench's fakes."""
    spans = Spans(seen.traces)
    bench.batcher = spans.batcher("event", TABLE, COLUMNS, bench.outlets, BatchLimits())
    work = spans.handler("event", NormaliseHandler(Normaliser("event", TABLE, COLUMNS, normalise)))
    return Pipeline("event", work, bench.batcher, bench.outlets, HandlerOptions())


def traced_message(bench: Bench, body: bytes = b"1", parent: str = FOREIGN, **changes: Any) -> Message:
    message = bench.message(body=body, **changes)
    message.headers = {**message.headers, headers.TRACE_PARENT: parent}
    return message


@pytest.mark.asyncio
async def test_one_insert_has_one_span_with_links_to_what_is_traced_in_it() -> None:
    """It goes on in the trace of the first; messages that are not traced make no span and are stored all the same."""

    async def scene(seen: Seen) -> Bench:
        async with Bench() as bench:
            messages = [bench.message("plain", b"1"), traced_message(bench, b"2"), bench.message("more", b"3")]
            await traced(bench, seen).accept(messages)
            await bench.batcher.settle()
            assert all(heard(message) == ["ack"] for message in messages)
            assert headers.TRACE_PARENT in messages[1].headers
            assert messages[1].headers[headers.TRACE_PARENT] == FOREIGN, "the message keeps what it came with"
            return bench

    seen = Seen()
    bench = await scene(seen)
    assert [row for (row,) in bench.writer.stored[TABLE]] == [1, 2, 3]
    spans = seen.spans()
    normalise, insert = spans["normalise event"], spans[f"INSERT {TABLE}"]
    assert normalise.parent is not None
    assert (normalise.parent.trace_id, normalise.parent.is_remote) == (FOREIGN_TRACE, True)
    assert attributes(normalise)["axonpush.rows"] == 1
    assert is_child(insert, normalise)
    assert [(link.context.trace_id, link.context.span_id) for link in insert.links] == [ids(normalise)]
    told = attributes(insert)
    assert (told["db.operation.batch.size"], told["axonpush.messages"], told["axonpush.traced_messages"]) == (3, 3, 1)


@pytest.mark.asyncio
async def test_links_of_a_batch_have_an_end() -> None:
    """The number of the traced stands beside them."""

    async def scene(seen: Seen) -> None:
        async with Bench() as bench:
            number = tracing.MAX_LINKS + 10
            await traced(bench, seen).accept([traced_message(bench, name=str(one)) for one in range(number)])
            await bench.batcher.settle()

    seen = Seen()
    await scene(seen)
    seen.traces.close()
    (insert,) = [span for span in seen._memory.get_finished_spans() if span.name.startswith("INSERT")]
    assert len(insert.links) == tracing.MAX_LINKS
    assert attributes(insert)["axonpush.traced_messages"] == tracing.MAX_LINKS + 10


@pytest.mark.parametrize(("body", "why"), [(b"null", "Invalid"), (b"[1]", "TypeError")])
@pytest.mark.asyncio
async def test_what_fails_is_told_by_its_kind_alone(body: bytes, why: str) -> None:
    """The sentence goes to the sender and to the dead letters, for it may quote the body."""

    async def scene(seen: Seen) -> None:
        async with Bench() as bench:
            await traced(bench, seen).accept([traced_message(bench, body)])
            await bench.batcher.settle()
            assert len(bench.dead_letters.stored_dead) == 1

    seen = Seen()
    await scene(seen)
    (span,) = seen.spans().values()
    assert attributes(span)["error.type"] == why
    assert span.status.description is None
    assert not span.events


@pytest.mark.parametrize("is_handed_over", [False, True])
@pytest.mark.asyncio
async def test_items_go_on_below_unpack(is_handed_over: bool) -> None:
    """Through the broker or in memory: unpack -> normalise -> insert, in one trace."""

    async def scene(seen: Seen) -> Items:
        async with Bench() as bench:
            items, event = Items(), traced(bench, seen, one_row)
            publisher = OneByOne(items.publish, bench.clock, messages=8, size_bytes=1_000_000)
            given = Handover({"event": event}) if is_handed_over else None
            work = Spans(seen.traces).handler("unpack", Unpack(publisher, bench.outlets.replies, 1_000_000, given))
            message = traced_message(bench, TWO_ITEMS, subject="raw.sentry.envelope.7", seq=41)
            await Pipeline("unpack", work, bench.batcher, bench.outlets, HandlerOptions()).accept([message])
            await bench.batcher.settle()
            await settled()
            assert [word for word in bench.journal if word.endswith(" m")] == ["ack m"]
            return items

    seen = Seen()
    items = await scene(seen)
    spans = seen.spans()
    trace_id, span_id = ids(spans["unpack"])
    assert trace_id == FOREIGN_TRACE
    assert attributes(spans["unpack"])["axonpush.items"] == 2
    carried = {told[headers.TRACE_PARENT] for _, _, told in items.stored}
    assert carried == {f"00-{trace_id:032x}-{span_id:016x}-01"}
    if is_handed_over:
        assert is_child(spans["normalise event"], spans["unpack"])


def test_a_replay_does_not_go_on_in_an_old_trace() -> None:
    """It would be a span of today in a trace of last week."""
    told = headers.write(headers.Origin("default", 7, "key", "production", False, 1), "m") | {
        headers.TRACE_PARENT: FOREIGN
    }
    stored = StoredMessage(41, "raw.otlp.logs.7", told, b"{}", 2, 1)
    assert headers.TRACE_PARENT not in reprocessed(stored, 1).headers


@given(st.one_of(st.none(), st.text(), st.from_regex(r"[0-9a-f]{2}-[0-9a-fx]{30,33}-[0-9a-f]{15,17}-[0-9a-f]{1,3}")))
def test_any_text_is_a_context_or_none(text: str | None) -> None:
    """Whoever may publish may write anything."""
    found = tracing.read(text)
    assert found is None or found.is_valid


# --- what goes out


def counted(result: str) -> float:
    return REGISTRY.get_sample_value("axonpush_tracing_spans_total", {"result": result}) or 0.0


def some(traces: Tracing, number: int) -> None:
    for _ in range(number):
        with traces.span("one", SpanKind.INTERNAL, {}):
            pass


class Held(SpanExporter):
    """An endpoint that takes for ever, until `gate` opens; then it fails."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.asked = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        self.gate.wait(DEADLINE_S)
        raise OSError("no route")

    def shutdown(self) -> None:
        self.gate.set()


class Taken(SpanExporter):
    """An endpoint that takes everything."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing to close."""


def traces_into(exporter: SpanExporter | None, url: str = URL) -> Tracing:
    return Tracing(Settings(tracing_url=url, tracing_sample_ratio=1.0), "test", exporter=exporter)


def test_spans_that_were_taken_are_counted() -> None:
    """As exported, and none as lost."""
    before = {result: counted(result) for result in ("exported", "lost")}
    traces = traces_into(Taken())
    some(traces, 3)
    traces.close()
    assert {result: counted(result) - before[result] for result in before} == {"exported": 3, "lost": 0}


def test_an_endpoint_that_hangs_holds_up_nobody_and_what_is_dropped_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its queue fills, the rest is dropped; an exporter that raises is a loss that is counted as well."""
    monkeypatch.setattr(tracing, "QUEUE_SPANS", 8)
    monkeypatch.setattr(tracing, "EXPORT_SPANS", 8)
    monkeypatch.setattr(tracing, "CLOSE_S", 0.01)
    held = Held()
    traces = traces_into(held)
    before = {result: counted(result) for result in ("dropped", "lost")}
    some(traces, 8)
    assert held.asked.wait(DEADLINE_S)
    some(traces, 8 + 5)
    assert counted("dropped") - before["dropped"] == 5
    traces.close()
    held.gate.set()
    eventually(lambda: counted("lost") - before["lost"] == 16, "every other span to be counted as lost")


def test_an_endpoint_that_is_away_is_a_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real exporter against a port nobody listens on."""
    monkeypatch.setattr(tracing, "EXPORT_TIMEOUT_S", 0.2)
    before = counted("lost")
    traces = traces_into(None, f"http://127.0.0.1:{free_port()}")
    some(traces, 3)
    traces.close()
    eventually(lambda: counted("lost") - before == 3, "the spans to be counted as lost")


# --- settings


def test_a_process_that_cannot_trace_says_so_at_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that is none; packages that are not installed."""
    with pytest.raises(ValidationError, match="expected http"):
        Settings(tracing_url="collector:4318")
    no_packages: Callable[[str], None] = lambda _name: None  # noqa: E731 (a type beside it)
    monkeypatch.setattr("importlib.util.find_spec", no_packages)
    with pytest.raises(ValidationError, match=r"axonpush-ingest\[tracing\]"):
        ReceiverSettings(tracing_url=URL)
    assert Settings().tracing_url == ""


@pytest.mark.parametrize("module", ["receiver", "workers"])
def test_a_wrong_setting_ends_a_process_with_2_and_tells_no_password(module: str) -> None:
    """One line that names the setting, no traceback; an address may hold a password."""
    told = environment(AXONPUSH_TRACING_URL="me:hush@collector", AXONPUSH_NATS_PASSWORD="hush")
    command = [sys.executable, "-m", module, *(["event"] if module == "workers" else [])]
    done = subprocess.run(command, cwd=ROOT, env=told, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "AXONPUSH_TRACING_URL" in done.stderr
    assert "Traceback" not in done.stderr
    assert "hush" not in done.stderr


def test_settings_do_not_show_what_is_secret() -> None:
    """Neither the headers nor a user in the address."""
    text = repr(Settings(tracing_url="http://me:hush@collector", tracing_headers="X-API-Key=ak_hush"))
    assert "hush" not in text
    assert "collector" in text
