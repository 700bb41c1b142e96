"""Alert rules: of issues in a project, and of numbers over time. They are kept here and evaluated elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import Response

from console.access.bearer import project_of
from console.api.answers import Page, json_answer
from console.api.errors import ApiError
from console.api.routes import ApiRoute
from console.rules.read_rule import ISSUE_FIELDS, METRIC_FIELDS, read_issue_rule, read_metric_rule
from console.rules.store import Rules, rule_shape, workflow_shape

if TYPE_CHECKING:
    from console.api.request import ApiRequest
    from console.storage.clickhouse import Row
    from schemas.registry import Channel

ISSUE, METRIC = "issue", "metric"
MAX_PROJECTS: Final = 100


async def list_issue_rules(request: ApiRequest) -> Response:
    """The issue alerts of a project."""
    return await _page(request, [ISSUE])


async def list_metric_rules(request: ApiRequest) -> Response:
    """The metric alerts of projects."""
    return await _page(request, [METRIC])


async def list_all_rules(request: ApiRequest) -> Response:
    """Both kinds; `alertType` and `name` choose."""
    kinds = {"rule": [ISSUE], "alert_rule": [METRIC]}.get(request.text("alertType"), [ISSUE, METRIC])
    return await _page(request, kinds)


async def list_workflows(request: ApiRequest) -> Response:
    """The issue alerts of projects in the form of newer tools; `id` chooses."""
    page, wanted = Page(request), set(request.texts("id"))
    name = request.text("query").strip('*"').removeprefix("name:").strip('*"').lower()
    rows = [
        row
        for row in await _rules(request).all([ISSUE], request.projects())
        if (not wanted or str(row["rule_id"]) in wanted) and name in str(row["name"]).lower()
    ]
    shown = page.of(rows)
    return page.answer([workflow_shape(row) for row in shown[: page.limit]], has_more=len(shown) > page.limit)


async def create_issue_rule(request: ApiRequest) -> Response:
    """201 with the rule."""
    rule = read_issue_rule(await request.fields(ISSUE_FIELDS))
    row = await _rules(request).create(ISSUE, [request.project], rule)
    return json_answer(rule_shape(row, [request.project]), 201)


async def create_metric_rule(request: ApiRequest) -> Response:
    """201 with the rule."""
    document = await request.fields(METRIC_FIELDS)
    projects = _named(request, document) or _in_path(request)
    if not projects:
        raise ApiError(400, "projects: expected the slug of at least one project, found none")
    row = await _rules(request).create(METRIC, projects, _metric_rule(request, document))
    return json_answer(rule_shape(row, projects), 201)


async def one_issue_rule(request: ApiRequest) -> Response:
    """One issue alert."""
    return _rule_response(request, await _one(request, ISSUE))


async def one_metric_rule(request: ApiRequest) -> Response:
    """One metric alert."""
    return _rule_response(request, await _one(request, METRIC))


async def change_issue_rule(request: ApiRequest) -> Response:
    """Replaces an issue alert."""
    rule = read_issue_rule(await request.fields(ISSUE_FIELDS))
    row = await _one(request, ISSUE)
    return _rule_response(request, await _rules(request).change(row, [request.project], rule))


async def change_metric_rule(request: ApiRequest) -> Response:
    """Replaces a metric alert; without `projects` it keeps its own."""
    document = await request.fields(METRIC_FIELDS)
    rule = _metric_rule(request, document)
    row = await _one(request, METRIC)
    kept = [one for one in _of_organisation(request) if one.id in {int(number) for number in row["channels"]}]
    return _rule_response(request, await _rules(request).change(row, _named(request, document) or kept, rule))


async def delete_issue_rule(request: ApiRequest) -> Response:
    """202, as at Sentry."""
    await _rules(request).delete(await _one(request, ISSUE))
    return Response(status_code=202)


async def delete_metric_rule(request: ApiRequest) -> Response:
    """204, as at Sentry."""
    await _rules(request).delete(await _one(request, METRIC))
    return Response(status_code=204)


async def _page(request: ApiRequest, kinds: Sequence[str]) -> Response:
    page, wanted = Page(request), request.text("name").lower()
    rows = await _rules(request).all(kinds, request.projects())
    shown = page.of([row for row in rows if wanted in str(row["name"]).lower()])
    shapes = [rule_shape(row, _of_organisation(request)) for row in shown[: page.limit]]
    return page.answer(shapes, has_more=len(shown) > page.limit)


async def _one(request: ApiRequest, kind: str) -> Row:
    return await _rules(request).one(kind, request.projects(), request.path("rule"))


def _metric_rule(request: ApiRequest, document: dict[str, Any]) -> dict[str, Any]:
    def number(text: str) -> int | None:
        channel = request.services.registry_entries.project(request.organisation, text)
        return channel.id if channel else None

    return read_metric_rule(document, number, request.services.now)


def _named(request: ApiRequest, document: dict[str, Any]) -> list[Channel]:
    """The projects of the body. Raises ApiError 400 or 404."""
    value = document.get("projects") or []
    if not isinstance(value, list) or len(value) > MAX_PROJECTS:
        raise ApiError(400, f"projects: expected a list of at most {MAX_PROJECTS} slugs, found another value")
    names = list(dict.fromkeys(str(one)[:100] for one in value))
    return [project_of(request.services.registry_entries, request.caller, name) for name in names]


def _in_path(request: ApiRequest) -> list[Channel]:
    return [request.project] if "project" in request.http.path_params else []


def _of_organisation(request: ApiRequest) -> list[Channel]:
    return request.services.registry_entries.projects(request.organisation)


def _rule_response(request: ApiRequest, row: Row) -> Response:
    return json_answer(rule_shape(row, _of_organisation(request)))


def _rules(request: ApiRequest) -> Rules:
    return Rules(request.services, request.caller)


_ISSUE_RULES: Final = "/projects/{organisation}/{project}/rules/"
_METRIC_RULES: Final = "/organizations/{organisation}/alert-rules/"
_OF_PROJECT: Final = "/projects/{organisation}/{project}/alert-rules/"
ROUTES: Final = (
    ApiRoute("GET", _ISSUE_RULES, "alerts:read", list_issue_rules),
    ApiRoute("POST", _ISSUE_RULES, "alerts:write", create_issue_rule),
    ApiRoute("GET", f"{_ISSUE_RULES}{{rule}}/", "alerts:read", one_issue_rule),
    ApiRoute("PUT", f"{_ISSUE_RULES}{{rule}}/", "alerts:write", change_issue_rule),
    ApiRoute("DELETE", f"{_ISSUE_RULES}{{rule}}/", "alerts:write", delete_issue_rule),
    ApiRoute("GET", "/organizations/{organisation}/workflows/", "alerts:read", list_workflows),
    ApiRoute("GET", "/organizations/{organisation}/combined-rules/", "alerts:read", list_all_rules),
    *(
        route
        for path in (_METRIC_RULES, _OF_PROJECT)
        for route in (
            ApiRoute("GET", path, "alerts:read", list_metric_rules),
            ApiRoute("POST", path, "alerts:write", create_metric_rule),
            ApiRoute("GET", f"{path}{{rule}}/", "alerts:read", one_metric_rule),
            ApiRoute("PUT", f"{path}{{rule}}/", "alerts:write", change_metric_rule),
            ApiRoute("DELETE", f"{path}{{rule}}/", "alerts:write", delete_metric_rule),
        )
    ),
)
