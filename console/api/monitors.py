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
       argMax(status, opened_at) AS last_status,
       argMax(monitor_config, (notEmpty(monitor_config), opened_at)) AS config,
       groupArraySorted(30)((-toUnixTimestamp64Milli(opened_at), status, duration_ns)) AS runs
FROM check_ins
WHERE organisation = {organisation:String} AND channel_id IN {channels:Array(UInt64)}
GROUP BY channel_id, monitor ORDER BY monitor, channel_id LIMIT {limit:UInt32} OFFSET {offset:UInt32}"""
_RUNS: Final = """
SELECT check_in_id, status, opened_at, closed_at, duration_ns, environment, release, trace_id
FROM check_ins
WHERE organisation = {organisation:String} AND channel_id IN {channels:Array(UInt64)} AND monitor = {monitor:String}
ORDER BY opened_at DESC, check_in_id LIMIT {limit:UInt32} OFFSET {offset:UInt32}"""
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


async def list_check_ins(request: ApiRequest) -> Response:
    """The runs of a monitor, the newest first."""
    page, projects = Page(request), request.projects()
    rows = await request.services.clickhouse.query(
        _RUNS,
        organisation=request.organisation,
        channels=[project.id for project in projects],
        monitor=request.path("monitor"),
        **page.parameters,
    ) if projects else []  # fmt: skip
    shown = [
        {
            "id": str(row["check_in_id"]),
            "status": _STATUSES.get(row["status"], row["status"]),
            "dateCreated": iso_time(row["opened_at"]),
            "duration": int(row["duration_ns"]) // 1_000_000,
            "environment": row["environment"],
            "release": row["release"],
            "traceId": row["trace_id"],
        }
        for row in rows[: page.limit]
    ]
    return page.answer(shown, has_more=len(rows) > page.limit)


def _monitor(row: Row, project: Channel) -> dict[str, Any]:
    return {
        "id": f"{project.id}-{row['monitor']}",
        "name": row["monitor"],
        "slug": row["monitor"],
        "status": "active",
        "type": "cron_job",
        "dateCreated": iso_time(row["first_at"]),
        "config": _config(row["config"]),
        # Of ours: the last runs, the newest first, for the strip of a list.
        "runs": [
            {"at": -int(at) / 1000, "status": _STATUSES.get(status, status), "duration": int(took_ns) // 1_000_000}
            for at, status, took_ns in row["runs"]
        ],
        "project": {"id": str(project.id), "slug": project.project_slug, "name": project.name or project.project_slug},
        "environments": [
            {
                "name": "all",
                "status": _STATUSES.get(row["last_status"], "error"),
                "lastCheckIn": iso_time(row["last_at"]),
            }
        ],
    }


def _config(flat: dict[str, str]) -> dict[str, Any]:
    """The configuration as it was sent: the view has `schedule.type` and the like as names of one map."""
    config: dict[str, Any] = {}
    for name, content in flat.items():
        first, dot, rest = name.partition(".")
        if not dot:
            config.setdefault(first, content)
        elif isinstance(inner := config.setdefault(first, {}), dict):
            inner[rest] = content
    return config


_MONITORS_PATH: Final = "/organizations/{organisation}/monitors/"
ROUTES = (
    ApiRoute("GET", _MONITORS_PATH, "project:read", list_monitors),
    ApiRoute("GET", f"{_MONITORS_PATH}{{monitor}}/checkins/", "project:read", list_check_ins),
)
