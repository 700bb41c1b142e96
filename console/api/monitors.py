"""Monitors: jobs that have checked in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from console.api.answers import Page, iso_time
from console.api.routes import ApiRoute

if TYPE_CHECKING:
    from starlette.responses import Response

    from console.api.request import ApiRequest
    from console.storage.clickhouse import Row
    from schemas.registry import Channel

_MONITORS: Final = """
SELECT channel_id, monitor, min(opened_at) AS first_at, max(opened_at) AS last_at,
       argMax(status, opened_at) AS last_status
FROM check_ins
WHERE organisation = {organisation:String} AND channel_id IN {channels:Array(UInt64)}
GROUP BY channel_id, monitor ORDER BY monitor, channel_id LIMIT {limit:UInt32} OFFSET {offset:UInt32}"""
_STATUSES: Final = {
    "ok": "ok",
    "error": "error",
    "in_progress": "active",
    "timeout": "timeout",
    "missed": "missed_checkin",
}


async def list_monitors(request: ApiRequest) -> Response:
    """Monitors by name, with the result of their last run."""
    projects, page = request.projects(), Page(request)
    rows: list[Row] = []
    if projects:
        rows = await request.services.clickhouse.query(
            _MONITORS,
            organisation=request.organisation,
            channels=[project.id for project in projects],
            **page.parameters,
        )
    by_id = {project.id: project for project in projects}
    shown = [_monitor(row, by_id[int(row["channel_id"])]) for row in rows[: page.limit]]
    return page.answer(shown, has_more=len(rows) > page.limit)


def _monitor(row: Row, project: Channel) -> dict[str, Any]:
    return {
        "id": f"{project.id}-{row['monitor']}",
        "name": row["monitor"],
        "slug": row["monitor"],
        "status": "active",
        "type": "cron_job",
        "dateCreated": iso_time(row["first_at"]),
        "project": {"id": str(project.id), "slug": project.project_slug, "name": project.name or project.project_slug},
        "environments": [
            {
                "name": "all",
                "status": _STATUSES.get(row["last_status"], "error"),
                "lastCheckIn": iso_time(row["last_at"]),
            }
        ],
    }


ROUTES = (ApiRoute("GET", "/organizations/{organisation}/monitors/", "project:read", list_monitors),)
