"""Discover: events and groups of events by `field=`, time series, which fields there are, and checks of a question."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from console.api.answers import Page, json_answer
from console.api.errors import ApiError
from console.api.request import CLOCKS_AHEAD, Period
from console.api.routes import ApiRoute
from console.explore import attributes
from console.explore.question import Question, QuestionReader, Scope
from console.explore.rows import Explorer
from console.explore.series import as_stats, as_timeseries, read_interval, read_points
from console.issues.events import EventReader
from console.query.datasets import DATASETS, Dataset
from console.query.fields import Kind

if TYPE_CHECKING:
    from starlette.responses import Response

    from console.api.request import ApiRequest
    from console.query.functions import AnswerColumn

MAX_ROWS: Final = 1_000
DEFAULT_ROWS: Final = 50
# Of a question without a time.
DEFAULT_PERIOD: Final = dt.timedelta(days=90)
_ITEM_TYPES: Final = {"spans": "spans", "logs": "logs", "errors": "errors"}


async def events(request: ApiRequest) -> Response:
    """Events with the fields that were asked for, or groups of events with functions."""
    page = Page(request, MAX_ROWS, DEFAULT_ROWS)
    question = _reader(request).read(request.texts("field"), _query(request), _sorts(request))
    explorer = Explorer(request.services.clickhouse, question.scope.projects)
    rows = await explorer.page(question, **page.parameters)
    document = {"data": rows[: page.limit], "meta": _meta(question)}
    return page.answer(document, has_more=len(rows) > page.limit)


async def events_stats(request: ApiRequest) -> Response:
    """Functions over time, `[[seconds, [{"count": 5}]], …]`."""
    question, interval_s = _series(request)
    points = await read_points(request.services.clickhouse, question, interval_s)
    return json_answer(as_stats(points, [column.name for column in question.columns]))


async def events_timeseries(request: ApiRequest) -> Response:
    """The same in the form of newer tools."""
    question, interval_s = _series(request)
    points = await read_points(request.services.clickhouse, question, interval_s)
    return json_answer(as_timeseries(points, question, interval_s))


async def validate(request: ApiRequest) -> Response:
    """Whether a question would be answered, and what is wrong with each part of it."""
    dataset_error = _error_of(lambda: _dataset(request))
    scope_error = _error_of(lambda: _scope(request))
    parts: dict[str, Any] = {"field": [], "orderby": [], "query": {"valid": True, "error": None, "fields": []}}
    if not (dataset_error or scope_error):
        parts = _checked(request)
    checks = [*parts["field"], *parts["orderby"], parts["query"]]
    is_valid = not (dataset_error or scope_error) and all(one["valid"] for one in checks)
    named = {"name": request.text("dataset", "errors"), "valid": not dataset_error, "error": dataset_error}
    scope = {"valid": not scope_error, "error": scope_error}
    return json_answer({"valid": is_valid, "projects": [scope], "dataset": [named], "environment": [], **parts})


async def attribute_names(request: ApiRequest) -> Response:
    """Fields, tags and attributes that a question about spans or logs can name."""
    name = request.text("itemType") or request.text("dataset") or "spans"
    if name not in _ITEM_TYPES:
        raise ApiError(400, f"itemType: expected one of {', '.join(_ITEM_TYPES)}, found {name[:40]!r}")
    dataset, part, page = DATASETS[_ITEM_TYPES[name]], request.text("substringMatch"), Page(request, MAX_ROWS, 200)
    question = _reader(request, dataset).read(["timestamp"], _query(request), [])
    found = [(str(row["name"]), str(row["type"])) for row in await _named(request, question, part)]
    own = attributes.built_in(dataset, part)
    known = {name for name, _ in own}
    shapes = [
        *(attributes.attribute_shape(name, type_, is_built_in=True) for name, type_ in own),
        *(attributes.attribute_shape(name, type_, is_built_in=False) for name, type_ in found if name not in known),
    ]
    wanted = set(request.texts("attributeType")) - {""}
    shapes = [shape for shape in shapes if not wanted or shape["attributeType"] in wanted]
    return page.answer(page.of(shapes)[: page.limit], has_more=len(page.of(shapes)) > page.limit)


async def tags(request: ApiRequest) -> Response:
    """The tags and attributes of events, those of most events first."""
    question = _reader(request).read(["timestamp"], "", [])
    rows = await _named(request, question, "")
    return json_answer([{"key": row["name"], "name": row["name"], "totalValues": row["times"]} for row in rows])


async def trace_item(request: ApiRequest) -> Response:
    """All of one span or log of a project."""
    project, item = request.project, request.path("item")
    reader = EventReader(request.services.clickhouse, project.organisation)
    row = await (reader.span(project.id, request.text("trace_id"), item) if len(item) == 16 else _one(request, item))
    return json_answer(attributes.item_shape(row, item))


async def _one(request: ApiRequest, item: str) -> dict[str, Any]:
    project = request.project
    return await EventReader(request.services.clickhouse, project.organisation).one([project.id], item)


async def _named(request: ApiRequest, question: Question, part: str) -> list[dict[str, Any]]:
    if len(part) > 200:
        raise ApiError(400, f"substringMatch: expected at most 200 characters, found {len(part)}")
    return await attributes.named(request.services.clickhouse, question, part)


def read_question(
    request: ApiRequest, dataset: Dataset, names: Sequence[str], query: str, period: Period | None = None
) -> Question:
    """A question of ours, with the order of the request, and its time or this one. Raises ApiError 400."""
    return _reader(request, dataset, period).read(names, query, _sorts(request))


def _series(request: ApiRequest) -> tuple[Question, int]:
    if request.text("topEvents") or request.texts("groupBy"):
        raise ApiError(400, "topEvents: expected series of all events, found a request for one of each group")
    names = [name for name in request.texts("yAxis") if name] or ["count()"]
    question = _reader(request).read(names, _query(request), [])
    period = question.scope.period
    length_s = (period.end - period.begin).total_seconds()
    return question, read_interval(request.text("interval"), length_s)


def _reader(request: ApiRequest, dataset: Dataset | None = None, period: Period | None = None) -> QuestionReader:
    def number(text: str) -> int | None:
        channel = request.services.registry_entries.project(request.organisation, text)
        return channel.id if channel else None

    return QuestionReader(dataset or _dataset(request), _scope(request, period), number)


def _dataset(request: ApiRequest) -> Dataset:
    name = request.text("dataset") or "errors"
    if name not in DATASETS:
        raise ApiError(400, f"dataset: expected one of {', '.join(DATASETS)}, found {name[:40]!r}")
    return DATASETS[name]


def _scope(request: ApiRequest, period: Period | None = None) -> Scope:
    now = request.services.now()
    period = period or request.period() or Period(now - DEFAULT_PERIOD, now + CLOCKS_AHEAD)
    environments = [value for value in request.texts("environment") if value]
    return Scope(request.organisation, request.projects(), period, now, environments)


def _query(request: ApiRequest) -> str:
    return request.text("query")


def _sorts(request: ApiRequest) -> list[str]:
    values = [*request.texts("sort"), *request.texts("orderby")]
    return [name for value in values for name in _split(value) if name]


def _split(value: str) -> Sequence[str]:
    """Several orders in one parameter; commas inside brackets are of a function."""
    return [value] if "(" in value else value.split(",")


def _meta(question: Question) -> dict[str, Any]:
    durations = {column.name: "millisecond" for column in question.columns if column.kind is Kind.DURATION}
    return {
        "fields": {column.name: column.type for column in question.columns},
        "units": {column.name: durations.get(column.name) for column in question.columns},
        "dataset": question.dataset.name,
        "isMetricsData": False,
        "dataScanned": "full",
    }


def _checked(request: ApiRequest) -> dict[str, Any]:
    reader, columns, fields = _reader(request), list[Any](), []
    for name in request.texts("field"):
        error = _error_of(lambda name=name: columns.append(reader.column(name)))  # type: ignore[misc]
        fields.append(_named_check(name, error, columns[-1] if not error else None))
    orders = [
        _named_check(name, _error_of(lambda name=name: reader.order([name], columns)), None)  # type: ignore[misc]
        for name in _sorts(request)
    ]
    error = _error_of(lambda: reader.conditions(_query(request)))
    return {"field": fields, "orderby": orders, "query": {"valid": not error, "error": error, "fields": []}}


def _named_check(name: str, error: str | None, column: AnswerColumn | None) -> dict[str, Any]:
    types = {"date": "string", "duration": "number", "integer": "number", "percentage": "number"}
    type_ = types.get(column.type, column.type) if column else None
    return {"name": name, "valid": not error, "attrType": type_, "error": error}


def _error_of(read: Callable[[], object]) -> str | None:
    try:
        read()
    except ApiError as error:
        return error.detail
    return None


_OF_ORGANISATION: Final = "/organizations/{organisation}"
ROUTES: Final = (
    ApiRoute("GET", f"{_OF_ORGANISATION}/events/", "event:read", events),
    ApiRoute("GET", f"{_OF_ORGANISATION}/eventsv2/", "event:read", events),
    ApiRoute("GET", f"{_OF_ORGANISATION}/events/validate/", "event:read", validate),
    ApiRoute("GET", f"{_OF_ORGANISATION}/events-stats/", "event:read", events_stats),
    ApiRoute("GET", f"{_OF_ORGANISATION}/events-timeseries/", "event:read", events_timeseries),
    ApiRoute("GET", f"{_OF_ORGANISATION}/trace-items/attributes/", "event:read", attribute_names),
    ApiRoute("GET", f"{_OF_ORGANISATION}/tags/", "event:read", tags),
    ApiRoute("GET", "/projects/{organisation}/{project}/trace-items/{item}/", "event:read", trace_item),
)
