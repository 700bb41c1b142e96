"""Alerts of all kinds: their state, what they found, whom they told, tests. Making rules is in console/api/rules.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson
from starlette.responses import Response

from console.api.answers import Page, json_answer
from console.api.errors import ApiError
from console.api.routes import ApiRoute
from console.api.rules import delete_rule
from console.rules.actions import Action, ActionReader, actions_of, stored_action
from console.rules.overview import Overview
from console.rules.parsed import KINDS
from console.rules.store import Rules

if TYPE_CHECKING:
    from console.api.request import ApiRequest
    from console.storage.clickhouse import Row

_DELIVERY_STATUSES: Final = {"": "", "pending": "pending", "delivered": "delivered", "failed": "failed"}
_FIRING_STATUSES: Final = {"": "", "firing": "firing", "resolved": "resolved"}
_KINDS: Final = {"": "", **{kind: kind for kind in KINDS}}
MAX_TESTED: Final = 20


async def list_alerts(request: ApiRequest) -> Response:
    """The rules of projects, the newest first."""
    page, kind = Page(request), request.choice("kind", _KINDS, "")
    rows = await Rules(request.services, request.caller).all([kind] if kind else KINDS, request.projects())
    shown = page.of(rows)
    return page.answer(await _overview(request).rules(shown[: page.limit]), has_more=len(shown) > page.limit)


async def one_alert(request: ApiRequest) -> Response:
    """One rule of any kind, with the rule as its own route answers it."""
    row = await _row(request)
    (shown,) = await _overview(request).rules([row])
    (rule,) = await Rules(request.services, request.caller).shapes([row])
    return json_answer(shown | {"rule": rule})


async def delete_alert(request: ApiRequest) -> Response:
    """204."""
    await delete_rule(request, await _row(request))
    return Response(status_code=204)


async def list_firings(request: ApiRequest) -> Response:
    """What rules found, the newest first."""
    page, status = Page(request), request.choice("status", _FIRING_STATUSES, "")
    firings = await _overview(request).firings(rule=_rule_number(request), status=status, page=page.parameters)
    return page.answer(firings[: page.limit], has_more=len(firings) > page.limit)


async def list_deliveries(request: ApiRequest) -> Response:
    """Messages, the newest first."""
    page, status = Page(request), request.choice("status", _DELIVERY_STATUSES, "")
    deliveries = await _overview(request).deliveries(
        rule=_rule_number(request), firing=request.text("firing")[:64], status=status, page=page.parameters
    )
    return page.answer(deliveries[: page.limit], has_more=len(deliveries) > page.limit)


async def send_again(request: ApiRequest) -> Response:
    """202: a message that was given up is tried once more, with the same id."""
    delivery = request.path("delivery")
    rows = await request.services.clickhouse.query(
        "SELECT rule_id FROM alert_deliveries "
        "WHERE organisation = {organisation:String} AND delivery_id = {delivery:String} LIMIT 1",
        organisation=request.organisation,
        delivery=delivery,
    )
    if not rows:
        raise ApiError(404, f"delivery: expected the id of a message, found {delivery[:64]!r}")
    question = {"do": "again", "organisation": request.organisation, "rule": int(rows[0]["rule_id"])}
    await _ask(request, question | {"delivery": delivery})
    return Response(status_code=202)


async def test_alert(request: ApiRequest) -> Response:
    """Sends a test by the actions of a rule, or by one of them, and answers how it went."""
    document = await request.fields(frozenset({"action"}))
    row = await _row(request)
    actions = [stored_action(part) for part in actions_of(orjson.loads(row["body"]))]
    chosen = [action for action in actions if document.get("action") in (None, "", action.uuid)]
    if not chosen:
        raise ApiError(400, "action: expected the uuid of an action of this rule, found another one")
    named = {"rule": int(row["rule_id"]), "kind": str(row["kind"]), "name": str(row["name"])}
    channels = {int(channel) for channel in row["channels"]}
    projects = request.services.registry_entries.projects(request.organisation)
    slugs = [project.project_slug for project in projects if project.id in channels]
    return await _tested(request, chosen, named | {"project": slugs[0] if slugs else ""}, {})


async def test_actions(request: ApiRequest) -> Response:
    """The same for actions of a rule that is not stored yet."""
    document = await request.fields(frozenset({"actions", "name"}))
    parts = document.get("actions")
    if (
        not isinstance(parts, list)
        or not 1 <= len(parts) <= MAX_TESTED
        or not all(isinstance(part, dict) for part in parts)
    ):
        raise ApiError(400, f"actions: expected 1 to {MAX_TESTED} objects, found another value")
    reader = ActionReader(request.services.new_id)
    actions = [stored_action(part) for part in reader.read(parts, "actions")]
    named = {"rule": 0, "kind": "", "name": str(document.get("name") or "New rule")[:200]}
    return await _tested(request, actions, named, reader.stored)


async def _tested(
    request: ApiRequest, actions: Sequence[Action], named: Mapping[str, Any], secrets: Mapping[str, str]
) -> Response:
    named_actions = [
        {"uuid": action.uuid, "kind": action.kind, "target": action.target, "to": action.to} for action in actions
    ]
    question = {"do": "test", "organisation": request.organisation, "secrets": secrets, **named}
    question["actions"] = named_actions
    return json_answer({"results": (await _ask(request, question))["results"]})


async def _ask(request: ApiRequest, question: Mapping[str, Any]) -> dict[str, Any]:
    if request.services.alerts is None:
        raise ApiError(503, "alerts: expected a process `axonpush alerts` that answers, found no broker")
    answer = await request.services.alerts.ask(question)
    if "error" in answer:
        raise ApiError(400, f"alerts: {answer['error']}")
    return answer


async def _row(request: ApiRequest) -> Row:
    return await Rules(request.services, request.caller).one(KINDS, request.projects(), request.path("rule"))


def _rule_number(request: ApiRequest) -> int:
    """The number of `rule=`; 0 for all."""
    return request.number("rule", 0, 2**63 - 1, least=0)


def _overview(request: ApiRequest) -> Overview:
    return Overview(request.services.clickhouse, request.organisation, request.projects(), request.services.url)


_PATH: Final = "/organizations/{organisation}/alerts/"
ROUTES: Final = (
    ApiRoute("GET", _PATH, "alerts:read", list_alerts),
    ApiRoute("GET", f"{_PATH}firings/", "alerts:read", list_firings),
    ApiRoute("GET", f"{_PATH}deliveries/", "alerts:read", list_deliveries),
    ApiRoute("POST", f"{_PATH}deliveries/{{delivery}}/again/", "alerts:write", send_again),
    ApiRoute("POST", f"{_PATH}test/", "alerts:write", test_actions),
    ApiRoute("GET", f"{_PATH}{{rule}}/", "alerts:read", one_alert),
    ApiRoute("DELETE", f"{_PATH}{{rule}}/", "alerts:write", delete_alert),
    ApiRoute("POST", f"{_PATH}{{rule}}/test/", "alerts:write", test_alert),
)
