"""One trace: its tree of spans, what it has in numbers, and its logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from console.api.answers import Page, json_answer
from console.api.explore import DEFAULT_ROWS, MAX_ROWS, read_question
from console.api.request import CLOCKS_AHEAD, EARLIEST, Period
from console.api.routes import ApiRoute
from console.explore.ai_runs import AiRunReader
from console.explore.rows import Explorer
from console.explore.trace import TraceReader, read_trace_id
from console.query.datasets import LOGS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.responses import Response

    from console.api.request import ApiRequest
    from schemas.registry import Channel

_LOG_FIELDS: Final = (
    *("id", "sentry.item_id", "project.id", "project", "trace", "severity", "severity_number", "timestamp"),
    *("timestamp_precise", "message", "span_id"),
)


async def trace(request: ApiRequest) -> Response:
    """Roots of the trace with their children, errors at their spans."""
    return json_answer(await _reader(request).tree(read_trace_id(request.path("trace"))))


async def trace_bars(request: ApiRequest) -> Response:
    """The trace as a waterfall draws it: a flat list, a fifth of the size of the tree."""
    return json_answer(await _reader(request).bars(read_trace_id(request.path("trace"))))


async def events_trace(request: ApiRequest) -> Response:
    """The same as older tools read it: spans, and errors without one."""
    nodes = await _reader(request).tree(read_trace_id(request.path("trace")))
    spans = [node for node in nodes if node["event_type"] == "span"]
    return json_answer({"transactions": spans, "orphan_errors": [node for node in nodes if node not in spans]})


async def trace_meta(request: ApiRequest) -> Response:
    """How many spans, errors and logs a trace has."""
    return json_answer(await _reader(request).meta(read_trace_id(request.path("trace"))))


async def trace_logs(request: ApiRequest) -> Response:
    """The logs of the traces that `traceId=` names."""
    page = Page(request, MAX_ROWS, DEFAULT_ROWS)
    traces = [read_trace_id(text) for text in request.texts("traceId")] or [read_trace_id("")]
    query = f"trace:[{','.join(traces[:100])}] {request.text('query')}"
    question = read_question(request, LOGS, _LOG_FIELDS, query)
    rows = await Explorer(request.services.clickhouse, question.scope.projects).page(question, **page.parameters)
    document: dict[str, Any] = {"data": rows[: page.limit], "meta": {"fields": {}, "units": {}}}
    return page.answer(document, has_more=len(rows) > page.limit)


async def ai_runs(request: ApiRequest) -> Response:
    """Traces in which models, tools or agents were called, the newest first, with tokens and cost."""
    page = Page(request)
    period = request.period() or Period(EARLIEST, request.services.now() + CLOCKS_AHEAD)
    runs = await _runs(request, request.projects()).page(period.parameters(), page.parameters)
    return page.answer({"data": runs[: page.limit]}, has_more=len(runs) > page.limit)


async def ai_run(request: ApiRequest) -> Response:
    """One of them as a conversation."""
    projects = request.services.registry_entries.projects(request.organisation)
    return json_answer(await _runs(request, projects).one(read_trace_id(request.path("trace"))))


def _runs(request: ApiRequest, projects: Sequence[Channel]) -> AiRunReader:
    clickhouse = request.services.clickhouse
    return AiRunReader(clickhouse, TraceReader(clickhouse, request.organisation, projects))


def _reader(request: ApiRequest) -> TraceReader:
    projects = request.services.registry_entries.projects(request.organisation)
    return TraceReader(request.services.clickhouse, request.organisation, projects)


_OF_ORGANISATION: Final = "/organizations/{organisation}"
ROUTES: Final = (
    ApiRoute("GET", f"{_OF_ORGANISATION}/trace/{{trace}}/", "event:read", trace),
    ApiRoute("GET", f"{_OF_ORGANISATION}/trace-bars/{{trace}}/", "event:read", trace_bars),
    ApiRoute("GET", f"{_OF_ORGANISATION}/events-trace/{{trace}}/", "event:read", events_trace),
    ApiRoute("GET", f"{_OF_ORGANISATION}/trace-meta/{{trace}}/", "event:read", trace_meta),
    ApiRoute("GET", f"{_OF_ORGANISATION}/events-trace-meta/{{trace}}/", "event:read", trace_meta),
    ApiRoute("GET", f"{_OF_ORGANISATION}/trace-logs/", "event:read", trace_logs),
    ApiRoute("GET", f"{_OF_ORGANISATION}/ai-runs/", "event:read", ai_runs),
    ApiRoute("GET", f"{_OF_ORGANISATION}/ai-runs/{{trace}}/", "event:read", ai_run),
)
