"""Delivery: the reconciliation, dead letters by reason, and requests that were refused."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final

from console.access.state import StateUnavailable
from console.api.answers import iso_time, json_answer
from console.api.errors import ApiError
from console.api.routes import ApiRoute
from console.explore import delivery
from schemas.operator_requests.actions import (
    DELIVERY_WRITE,
)

if TYPE_CHECKING:
    from starlette.responses import Response

    from console.api.request import ApiRequest

DEFAULT_S: Final = 7 * 86_400


async def reconciliation(request: ApiRequest) -> Response:
    """Accepted = rows + merged + …, by project, with the state of workers."""
    entries = request.services.registry_entries
    projects = entries.projects(request.organisation)
    try:
        report = await request.services.reports.read()
    except StateUnavailable:
        text = "broker: expected its answer about the reconciliation, found none; what was accepted is on disk"
        raise ApiError(503, text, {"Retry-After": "5"}) from None
    # Channels that were removed are in the report, and their owners are not in the registry any more.
    known = {project.id for project in projects}
    is_only = entries.organisations() <= {request.organisation} and delivery.channels_of(report) <= known
    now_s = request.services.now().timestamp()
    return json_answer(delivery.of_organisation(report, projects, is_only=is_only, now_s=now_s))


async def problems(request: ApiRequest) -> Response:
    """Dead letters and refusals of a time, each with how often and the last one."""
    organisation, projects = request.organisation, request.projects()
    begin_s = since_s(request)
    by_id = {project.id: project.project_slug for project in projects}
    clickhouse = request.services.clickhouse
    refused = await delivery.refusals(clickhouse, organisation, projects, begin_s)
    dead = await delivery.dead_letters(clickhouse, organisation, projects, begin_s)
    return json_answer(
        {
            "since": dt.datetime.fromtimestamp(begin_s, dt.UTC).isoformat(),
            "asOf": request.services.now().isoformat(),
            "refusals": [
                {
                    "reason": row["why"],
                    "key": row["key_id"],
                    "sender": row["sender"],
                    "project": by_id.get(int(row["channel_id"]), ""),
                    "requests": row["requests"],
                    "last": iso_time(f"{row['last']}.0"),
                }
                for row in refused
            ],
            "deadLetters": [_dead(row, by_id, shows_bytes=DELIVERY_WRITE in request.caller.scopes) for row in dead],
        }
    )


def _dead(row: dict[str, Any], by_id: dict[int, str], *, shows_bytes: bool) -> dict[str, Any]:
    return {
        "reason": row["reason"],
        "error": str(row["said"])[:2_000],
        "stage": row["stage"],
        "itemType": row["item_type"],
        "number": row["number"],
        "last": iso_time(row["last"]),
        # They came before secrets in them could be filtered.
        "bytes": row["bytes"] if shows_bytes else "",
        "sequence": row["sequence"],
        "project": by_id.get(int(row["channel"]), ""),
    }


def since_s(request: ApiRequest) -> int:
    """Seconds since 1970 from which `statsPeriod`, or `start` and `end`, ask on; else DEFAULT_S ago."""
    period = request.period()
    now_s = int(request.services.now().timestamp())
    return max(0, int(period.begin.timestamp())) if period else now_s - DEFAULT_S


_PATH: Final = "/organizations/{organisation}/delivery/"
ROUTES: Final = (
    ApiRoute("GET", _PATH, "project:read", reconciliation),
    ApiRoute("GET", f"{_PATH}problems/", "project:read", problems),
)
