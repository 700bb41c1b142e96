"""What a rule would have told in the last hours or days: of a stored rule, or of one that is being made."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson
from starlette.responses import Response

from console.access.bearer import project_of
from console.alerts.rules.preview import RulePreview
from console.api.answers import iso_time, json_answer
from console.api.errors import ApiError
from console.api.request import text_field
from console.api.routes import ApiRoute
from console.api.rules import read_rule
from console.rules.actions import EMAIL, ActionReader
from console.rules.parsed import ISSUE, KINDS, METRIC, parsed
from console.rules.read_rule import ISSUE_FIELDS, METRIC_FIELDS, MONITOR_FIELDS
from console.rules.store import Rules
from console.storage.times import time_text

if TYPE_CHECKING:
    from console.alerts.rules.preview import PreviewResult
    from console.alerts.state import Firing
    from console.api.request import ApiRequest
    from console.storage.clickhouse import Row

DEFAULT_PERIOD: Final = dt.timedelta(days=1)
LONGEST_PERIOD: Final = dt.timedelta(days=14)
SHORTEST_PERIOD: Final = dt.timedelta(hours=1)
# Of all organisations together: each may ask ClickHouse for ten seconds.
AT_ONCE: Final = 2
MOST_SHOWN: Final = 100
_FIELDS: Final[Mapping[str, frozenset[str]]] = dict(
    zip(KINDS, (ISSUE_FIELDS, METRIC_FIELDS, MONITOR_FIELDS), strict=True)
)


async def preview_stored(request: ApiRequest) -> Response:
    """Of a stored rule."""
    row = await Rules(request.services, request.caller).one(KINDS, request.projects(), request.path("rule"))
    return await _preview(request, row)


async def preview_new(request: ApiRequest) -> Response:
    """Of a rule of the body: `kind`, `project`, and `rule` as it would be stored. Whom it tells does not matter."""
    document = await request.fields(frozenset({"kind", "project", "rule"}))
    kind, rule = document.get("kind"), document.get("rule")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ApiError(400, f"kind: expected one of {', '.join(KINDS)}, found another value")
    if not isinstance(rule, dict):
        raise ApiError(400, "rule: expected an object, found another value")
    if unknown := sorted(set(rule) - _FIELDS[kind]):
        raise ApiError(400, f"rule: expected fields of {', '.join(sorted(_FIELDS[kind]))}, found {unknown[0][:60]!r}")
    slug = text_field(document, "project", 100)
    project = project_of(request.services.registry_entries, request.caller, slug)
    body = read_rule(request, kind, _without_actions(kind, rule), ActionReader(request.services.new_id))
    now = time_text(request.services.now_ns())
    row = {"rule_id": 0, "kind": kind, "channels": [project.id], "name": body["name"], "created_at": now}
    return await _preview(request, row | {"organisation": request.organisation, "body": orjson.dumps(body).decode()})


def _without_actions(kind: str, rule: Mapping[str, Any]) -> dict[str, Any]:
    """Addresses may be missing while a rule is made; a rule of issues or monitors needs one."""
    if kind != METRIC:
        return {**rule, "name": rule.get("name") or "New rule", "actions": [{"type": EMAIL}]}
    triggers = rule.get("triggers")
    if isinstance(triggers, list):
        triggers = [{**entry, "actions": []} if isinstance(entry, dict) else entry for entry in triggers]
    return {**rule, "name": rule.get("name") or "New rule", "triggers": triggers}


async def _preview(request: ApiRequest, row: Row) -> Response:
    running, organisation = request.services.previews, request.organisation
    if organisation in running or len(running) >= AT_ONCE:
        raise ApiError(
            429, "preview: expected one at a time, found one that is not ready: try again", {"Retry-After": "5"}
        )
    begin_ns, end_ns = _period_ns(request)
    preview = RulePreview(request.services.clickhouse, request.services.registry_entries, request.services.url)
    running.add(organisation)
    try:
        result = await preview.run(parsed(row), begin_ns, end_ns)
    finally:
        running.discard(organisation)
    return json_answer(_shape(request, row, result))


def _period_ns(request: ApiRequest) -> tuple[int, int]:
    """The time that `statsPeriod` or `start` and `end` name, not beyond now; a day without them."""
    period, now = request.period(), request.services.now()
    begin, end = (period.begin, min(period.end, now)) if period else (now - DEFAULT_PERIOD, now)
    if not SHORTEST_PERIOD <= end - begin <= LONGEST_PERIOD:
        raise ApiError(400, "statsPeriod: expected a time from 1h to 14d, found another one")
    return int(begin.timestamp()) * 1_000_000_000, int(end.timestamp()) * 1_000_000_000


def _shape(request: ApiRequest, row: Row, result: PreviewResult) -> dict[str, Any]:
    url, projects = request.services.url, request.services.registry_entries.projects(request.organisation)
    slugs = {project.id: project.project_slug for project in projects}
    return {
        "from": iso_time(time_text(result.begin_ns)),
        "to": iso_time(time_text(result.end_ns)),
        "isCut": result.is_cut,
        "number": len(result.firings),
        "firings": [_firing(firing, slugs, url) for firing in result.firings[: -MOST_SHOWN - 1 : -1]],
        "values": [[iso_time(time_text(at_ns)), value] for at_ns, value in result.values],
        "when": parsed(row).words,
    }


def _firing(firing: Firing, slugs: Mapping[int, str], url: str) -> dict[str, Any]:
    """The newest first, as lists of firings have them."""
    return {
        "at": iso_time(time_text(firing.at_ns)),
        "status": firing.status,
        "severity": firing.severity,
        "about": firing.about,
        "title": firing.title,
        "message": firing.message,
        "project": slugs.get(firing.channel, ""),
        "value": firing.value,
        "url": f"{url}{firing.path}" if firing.about.startswith((ISSUE, "monitor")) else None,
    }


_PATH: Final = "/organizations/{organisation}/alerts/"
ROUTES: Final = (
    # A rule that is not stored can ask about texts of events, so it needs what a rule needs that tells them.
    ApiRoute("POST", f"{_PATH}preview/", "alerts:write", preview_new),
    ApiRoute("POST", f"{_PATH}{{rule}}/preview/", "alerts:read", preview_stored),
)
