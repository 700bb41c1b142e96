"""Alert rules: of issues in a project, of numbers over time, of monitors. `axonpush alerts` evaluates them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

import orjson
import structlog
from starlette.responses import Response

from console.access.bearer import project_of
from console.api.answers import Page, json_answer
from console.api.errors import ApiError
from console.api.routes import ApiRoute
from console.rules.actions import ActionReader, actions_of
from console.rules.parsed import ISSUE, METRIC, MONITOR
from console.rules.read_rule import (
    ISSUE_FIELDS,
    METRIC_FIELDS,
    MONITOR_FIELDS,
    read_issue_rule,
    read_metric_rule,
    read_monitor_rule,
)
from console.rules.store import Rules, rule_shape, workflow_shape

if TYPE_CHECKING:
    from console.api.request import ApiRequest
    from console.storage.clickhouse import Row
    from schemas.registry import Channel

MAX_PROJECTS: Final = 100

log = structlog.get_logger()


async def list_issue_rules(request: ApiRequest) -> Response:
    """The issue alerts of a project."""
    return await _page(request, [ISSUE])


async def list_metric_rules(request: ApiRequest) -> Response:
    """The metric alerts of projects."""
    return await _page(request, [METRIC])


async def list_all_rules(request: ApiRequest) -> Response:
    """Both kinds; `alertType` and `name` choose."""
    chosen = {"rule": [ISSUE], "alert_rule": [METRIC], "monitor_rule": [MONITOR]}
    kinds = chosen.get(request.text("alertType"), [ISSUE, METRIC])
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
    last_fired = await _rules(request).last_fired(shown[: page.limit])
    shapes = [workflow_shape(row, last_fired.get(int(row["rule_id"]))) for row in shown[: page.limit]]
    return page.answer(shapes, has_more=len(shown) > page.limit)


async def list_monitor_rules(request: ApiRequest) -> Response:
    """The monitor alerts of a project."""
    return await _page(request, [MONITOR])


async def create_issue_rule(request: ApiRequest) -> Response:
    """201 with the rule."""
    return await _create(request, ISSUE, await request.fields(ISSUE_FIELDS), [request.project])


async def create_metric_rule(request: ApiRequest) -> Response:
    """201 with the rule."""
    document = await request.fields(METRIC_FIELDS)
    projects = _named(request, document) or _in_path(request)
    if not projects:
        raise ApiError(400, "projects: expected the slug of at least one project, found none")
    return await _create(request, METRIC, document, projects)


async def create_monitor_rule(request: ApiRequest) -> Response:
    """201 with the rule."""
    return await _create(request, MONITOR, await request.fields(MONITOR_FIELDS), [request.project])


async def one_issue_rule(request: ApiRequest) -> Response:
    """One issue alert."""
    return await _rule_response(request, await _one(request, ISSUE))


async def one_metric_rule(request: ApiRequest) -> Response:
    """One metric alert."""
    return await _rule_response(request, await _one(request, METRIC))


async def one_monitor_rule(request: ApiRequest) -> Response:
    """One monitor alert."""
    return await _rule_response(request, await _one(request, MONITOR))


async def change_issue_rule(request: ApiRequest) -> Response:
    """Replaces an issue alert."""
    return await _change(request, ISSUE, await request.fields(ISSUE_FIELDS), [request.project])


async def change_metric_rule(request: ApiRequest) -> Response:
    """Replaces a metric alert; without `projects` it keeps its own."""
    document = await request.fields(METRIC_FIELDS)
    return await _change(request, METRIC, document, _named(request, document))


async def change_monitor_rule(request: ApiRequest) -> Response:
    """Replaces a monitor alert."""
    return await _change(request, MONITOR, await request.fields(MONITOR_FIELDS), [request.project])


async def delete_issue_rule(request: ApiRequest) -> Response:
    """202, as at Sentry."""
    await delete_rule(request, await _one(request, ISSUE))
    return Response(status_code=202)


async def delete_metric_rule(request: ApiRequest) -> Response:
    """204, as at Sentry."""
    await delete_rule(request, await _one(request, METRIC))
    return Response(status_code=204)


async def delete_monitor_rule(request: ApiRequest) -> Response:
    """204."""
    await delete_rule(request, await _one(request, MONITOR))
    return Response(status_code=204)


async def delete_rule(request: ApiRequest, row: Row) -> None:
    """A rule of any kind, and the secrets of its actions."""
    await _rules(request).delete(row)
    await _remove_secrets(request, _uuids(orjson.loads(row["body"])))


async def _create(request: ApiRequest, kind: str, document: dict[str, Any], projects: Sequence[Channel]) -> Response:
    actions = ActionReader(request.services.new_id)
    rule = read_rule(request, kind, document, actions)
    await _rules(request).check_room(rule)
    await _store_secrets(request, actions)
    row = await _rules(request).create(kind, projects, rule)
    return json_answer(_with_secrets(rule_shape(row, projects), actions), 201)


async def _change(request: ApiRequest, kind: str, document: dict[str, Any], projects: Sequence[Channel]) -> Response:
    row = await _one(request, kind)
    stored = actions_of(orjson.loads(row["body"]))
    actions = ActionReader(
        request.services.new_id, {str(part.get("uuid")): part for part in stored if part.get("uuid")}
    )
    rule = read_rule(request, kind, document, actions)
    await _rules(request).check_room(rule, int(row["rule_id"]))
    await _store_secrets(request, actions)
    channels = {int(channel) for channel in row["channels"]}
    kept = [project for project in _of_organisation(request) if project.id in channels]
    changed = await _rules(request).change(row, projects or kept, rule)
    await _remove_secrets(request, _uuids(orjson.loads(row["body"])) - _uuids(rule))
    (shape,) = await _rules(request).shapes([changed])
    return json_answer(_with_secrets(shape, actions))


def read_rule(request: ApiRequest, kind: str, document: dict[str, Any], actions: ActionReader) -> dict[str, Any]:
    """The rule of a body with every field. Raises ApiError 400."""

    def number(text: str) -> int | None:
        channel = request.services.registry_entries.project(request.organisation, text)
        return channel.id if channel else None

    if kind == MONITOR:
        return read_monitor_rule(document, actions)
    read = read_issue_rule if kind == ISSUE else read_metric_rule
    return read(document, actions, number, request.services.now)


def _uuids(rule: Mapping[str, Any]) -> set[str]:
    return {str(part.get("uuid") or "") for part in actions_of(rule)} - {""}


async def _remove_secrets(request: ApiRequest, uuids: Collection[str]) -> None:
    """Of actions that no rule has any more. What is not removed now is removed by `axonpush alerts`."""
    if not uuids or request.services.alerts is None:
        return
    try:
        await request.services.alerts.remove(f"{uuid}.{part}" for uuid in uuids for part in ("url", "key"))
    except ApiError:
        log.warning("alert_secrets_not_removed", actions=len(uuids))


async def _store_secrets(request: ApiRequest, actions: ActionReader) -> None:
    """Before the rule: one without its addresses could tell nobody. Their uuids are new, so no stored rule has them."""
    if not actions.stored:
        return
    if request.services.alerts is None:
        raise ApiError(503, "broker: expected it to store the addresses of the actions, found none")
    await request.services.alerts.store(actions.stored)


def _with_secrets(shape: dict[str, Any], actions: ActionReader) -> dict[str, Any]:
    """The rule with the secrets of new webhooks, which are shown this once."""
    for action in actions_of(shape):
        if secret := actions.shown_once.get(str(action["uuid"])):
            cast("dict[str, Any]", action)["secret"] = secret
    return shape


async def _page(request: ApiRequest, kinds: Sequence[str]) -> Response:
    page, wanted = Page(request), request.text("name").lower()
    rows = await _rules(request).all(kinds, request.projects())
    shown = page.of([row for row in rows if wanted in str(row["name"]).lower()])
    shapes = await _rules(request).shapes(shown[: page.limit])
    return page.answer(shapes, has_more=len(shown) > page.limit)


async def _one(request: ApiRequest, kind: str) -> Row:
    return await _rules(request).one([kind], request.projects(), request.path("rule"))


def _named(request: ApiRequest, document: dict[str, Any]) -> list[Channel]:
    """The projects of the body. Raises ApiError 400 or 404."""
    value = document.get("projects") or []
    if not isinstance(value, list) or len(value) > MAX_PROJECTS:
        raise ApiError(400, f"projects: expected a list of at most {MAX_PROJECTS} slugs, found another value")
    names = list(dict.fromkeys(str(name)[:100] for name in value))
    return [project_of(request.services.registry_entries, request.caller, name) for name in names]


def _in_path(request: ApiRequest) -> list[Channel]:
    return [request.project] if "project" in request.http.path_params else []


def _of_organisation(request: ApiRequest) -> list[Channel]:
    return request.services.registry_entries.projects(request.organisation)


async def _rule_response(request: ApiRequest, row: Row) -> Response:
    (shape,) = await _rules(request).shapes([row])
    return json_answer(shape)


def _rules(request: ApiRequest) -> Rules:
    return Rules(request.services, request.caller)


_ISSUE_RULES: Final = "/projects/{organisation}/{project}/rules/"
_METRIC_RULES: Final = "/organizations/{organisation}/alert-rules/"
_OF_PROJECT: Final = "/projects/{organisation}/{project}/alert-rules/"
_MONITOR_RULES: Final = "/projects/{organisation}/{project}/monitor-rules/"
ROUTES: Final = (
    ApiRoute("GET", _ISSUE_RULES, "alerts:read", list_issue_rules),
    ApiRoute("POST", _ISSUE_RULES, "alerts:write", create_issue_rule),
    ApiRoute("GET", f"{_ISSUE_RULES}{{rule}}/", "alerts:read", one_issue_rule),
    ApiRoute("PUT", f"{_ISSUE_RULES}{{rule}}/", "alerts:write", change_issue_rule),
    ApiRoute("DELETE", f"{_ISSUE_RULES}{{rule}}/", "alerts:write", delete_issue_rule),
    ApiRoute("GET", _MONITOR_RULES, "alerts:read", list_monitor_rules),
    ApiRoute("POST", _MONITOR_RULES, "alerts:write", create_monitor_rule),
    ApiRoute("GET", f"{_MONITOR_RULES}{{rule}}/", "alerts:read", one_monitor_rule),
    ApiRoute("PUT", f"{_MONITOR_RULES}{{rule}}/", "alerts:write", change_monitor_rule),
    ApiRoute("DELETE", f"{_MONITOR_RULES}{{rule}}/", "alerts:write", delete_monitor_rule),
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
