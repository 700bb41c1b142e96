"""The same shop's services watched by OpenTelemetry: a browser, an API, a database, an assistant. Times are made up.

Arguments: the receiver's address, the API key and the channel. Prints the ids that questions are asked about.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanContext, SpanKind, StatusCode, TraceFlags

ADDRESS, API_KEY, CHANNEL = sys.argv[1:4]
HEADERS = {"X-API-Key": API_KEY, "X-Axonpush-Channel": CHANNEL}
MS = 1_000_000
MINUTE_NS = 60_000 * MS
YEAR_NS = 365 * 24 * 60 * MINUTE_NS
# The middle of a minute a while ago: what is made up within half a minute from here is in one minute.
START_NS = time.time_ns() // MINUTE_NS * MINUTE_NS - 5 * MINUTE_NS + MINUTE_NS // 2
SEARCHES, ITEMS = 100, 12
facts: dict[str, Any] = {}


class Service:
    """One service with exporters of its own."""

    def __init__(self, name: str) -> None:
        resource = Resource.create({"service.name": name, "service.version": f"{name}@7"})
        self.spans = TracerProvider(resource=resource)
        self.spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{ADDRESS}/v1/traces", headers=HEADERS)))
        self.logs = LoggerProvider(resource=resource)
        self.logs.add_log_record_processor(
            BatchLogRecordProcessor(OTLPLogExporter(f"{ADDRESS}/v1/logs", headers=HEADERS))
        )
        self.tracer, self.logger = self.spans.get_tracer("shop"), self.logs.get_logger("shop")

    @contextmanager
    def span(self, name: str, at_ms: float, lasts_ms: float, kind: SpanKind, **options: Any) -> Iterator[Span]:
        """A span from START_NS + at_ms on; spans made within the block are its children."""
        start_ns = START_NS + int(at_ms * MS)
        span: Any = self.tracer.start_span(name, kind=kind, start_time=start_ns, **options)
        with trace.use_span(span):
            yield span
        span.end(start_ns + int(lasts_ms * MS))

    def log(self, body: str, at_ms: float, severity: SeverityNumber = SeverityNumber.INFO) -> None:
        """A log within whatever span is open."""
        at_ns = START_NS + int(at_ms * MS)
        self.logger.emit(LogRecord(timestamp=at_ns, severity_number=severity, severity_text=severity.name, body=body))

    def close(self) -> None:
        self.spans.shutdown()
        self.logs.shutdown()


def cart(web: Service, api: Service) -> None:
    """A click that goes from the browser through the API to the database, which is asked once for each item."""
    with web.span("click cart", 0, 900, SpanKind.CLIENT, attributes={"session.id": "s-1"}) as click:
        facts["cart"] = f"{click.get_span_context().trace_id:032x}"
        attributes = {"http.request.method": "GET", "http.route": "/cart", "http.response.status_code": 200}
        with api.span("GET /cart", 50, 800, SpanKind.SERVER, attributes={**attributes, "cart.value": 129.5}):
            api.log("cart has twelve items", 60)
            for item in range(ITEMS):
                query = {"db.system.name": "postgresql", "db.query.text": "SELECT * FROM item WHERE id = $1"}
                with api.span("SELECT item", 70 + 50 * item, 40, SpanKind.CLIENT, attributes=query):
                    pass
            api.log("a price is missing", 780, SeverityNumber.WARN)


def payments(api: Service) -> None:
    """Ten requests in one minute; the last two fail, the slower one with an exception."""
    for number in range(10):
        failed = number >= 8
        attributes = {"http.request.method": "POST", "http.route": "/pay"}
        attributes["http.response.status_code"] = 502 if failed else 200
        with api.span("POST /pay", 1000 + number, 20 + number, SpanKind.SERVER, attributes=attributes) as span:
            with api.span("redis GET", 1001 + number, 2, SpanKind.CLIENT, attributes={"db.system.name": "redis"}):
                pass
            if failed:
                span.set_status(StatusCode.ERROR, "bank is away")
        if number == 9:
            facts["failed_payment"] = f"{span.get_span_context().trace_id:032x}"
            bank(api, span)


def bank(api: Service, parent: Any) -> None:
    """The call that failed, with the exception it recorded."""
    with trace.use_span(parent), api.span("call bank", 1010, 5, SpanKind.CLIENT) as span:
        span.record_exception(ConnectionError("bank is away"), timestamp=START_NS + 1012 * MS)
        span.set_status(StatusCode.ERROR, "bank is away")


def searches(api: Service) -> None:
    """A hundred requests that take 1 to 100 ms."""
    attributes = {"http.request.method": "GET", "http.route": "/search", "http.response.status_code": 200}
    for lasts_ms in range(1, SEARCHES + 1):
        with api.span("GET /search", 2000, lasts_ms, SpanKind.SERVER, attributes=attributes):
            pass


def conversation(assistant: Service) -> None:
    """An agent that asks a model, uses a tool and asks again: the attributes of the gen_ai conventions."""
    shared = {"gen_ai.conversation.id": "talk-1", "gen_ai.agent.name": "clerk"}
    agent = {**shared, "gen_ai.operation.name": "invoke_agent"}
    with assistant.span("invoke_agent clerk", 3000, 5000, SpanKind.INTERNAL, attributes=agent):
        chat(assistant, 3000, shared, ["user: How many apples are left?", "assistant: I will look."], (1000, 200))
        for name, lasts_ms in (("stock", 1500), ("price", 300)):
            tool = {**shared, "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name}
            with assistant.span(f"execute_tool {name}", 4000, lasts_ms, SpanKind.INTERNAL, attributes=tool):
                pass
        chat(assistant, 6000, shared, ["tool: 3", "assistant: Three."], (1500, 300))


def chat(service: Service, at_ms: float, shared: dict[str, str], said: list[str], tokens: tuple[int, int]) -> None:
    """One call of a model: what it was asked and what it answered, and the tokens of both."""
    attributes = {
        **shared,
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.input.messages": messages(said[0]),
        "gen_ai.output.messages": messages(said[1]),
        "gen_ai.usage.input_tokens": tokens[0],
        "gen_ai.usage.output_tokens": tokens[1],
    }
    with service.span("chat gpt-4o-mini", at_ms, 700, SpanKind.CLIENT, attributes=attributes):
        pass


def messages(said: str) -> str:
    """ "role: text" as the gen_ai conventions write it."""
    role, text = said.split(": ")
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}])


def wrong_clock(api: Service) -> None:
    """A span of a machine whose clock is a year ahead: it is moved, and the row says so."""
    with api.span("wrong clock", YEAR_NS / MS, 1, SpanKind.INTERNAL):
        pass


def without_id() -> None:
    """A span that cannot be stored: it has no id. The exporter does not try again."""
    context = SpanContext(int(facts["cart"], 16), 0, False, TraceFlags(1))
    span = ReadableSpan("nobody", context, start_time=START_NS, end_time=START_NS + MS)
    OTLPSpanExporter(f"{ADDRESS}/v1/traces", headers=HEADERS).export([span])


def main() -> None:
    web, api, assistant = Service("web"), Service("api"), Service("assistant")
    cart(web, api)
    payments(api)
    searches(api)
    conversation(assistant)
    wrong_clock(api)
    without_id()
    for service in (web, api, assistant):
        service.close()
    print(json.dumps(facts))


main()
