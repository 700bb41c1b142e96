"""A release, a deploy and a commit as tools of Sentry read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from console.api.answers import iso_time

if TYPE_CHECKING:
    from console.access.registry import KnownEntries
    from console.storage.clickhouse import Row
    from schemas.registry import Channel


def release_shape(
    row: Row, organisation: str, entries: KnownEntries, deploys: Sequence[Row], numbers: Mapping[tuple[str, int], Row]
) -> dict[str, Any]:
    """`deploys` are those of this release, the newest first; `numbers` those of its projects (`by_project`)."""
    commits, refs = json_list(row["commits"]), json_list(row["refs"])
    channels = [channel for channel in entries.projects(organisation) if channel.id in row["channels"]]
    return {
        "id": row["version"],
        "version": row["version"],
        "shortVersion": row["version"].rpartition("@")[2][:64],
        "versionInfo": {"description": row["version"].rpartition("@")[2]},
        "status": row["status"],
        "ref": row["ref"] or None,
        "url": row["url"] or None,
        "refs": refs,
        "dateCreated": iso_time(row["created_at"]),
        "dateStarted": iso_time(row["started_at"]),
        "dateReleased": iso_time(row["released_at"]),
        "firstEvent": iso_time(row["first_event"]),
        "lastEvent": iso_time(row["last_event"]),
        "newGroups": row["new_issues"],
        "eventCount": row["errors"],
        # Of ours: of all projects together; tools read those of each project below.
        "healthData": _health(row),
        "commitCount": len(commits),
        "lastCommit": commit_shape(commits[0]) if commits else None,
        "deployCount": len(deploys),
        "lastDeploy": deploy_shape(deploys[0]) if deploys else None,
        "authors": [],
        "owner": None,
        "data": {},
        "projects": [_project(channel, numbers[row["version"], channel.id]) for channel in channels],
    }


def _project(channel: Channel, numbers: Row) -> dict[str, Any]:
    return {
        "id": channel.id,
        "slug": channel.project_slug,
        "name": channel.name or channel.project_slug,
        "platform": None,
        "platforms": [],
        "newGroups": numbers["new_issues"],
        "hasHealthData": numbers["sessions"] > 0,
        "healthData": _health(numbers),
    }


def deploy_shape(row: Row) -> dict[str, Any]:
    """A deploy; times that nobody named are null."""
    return {
        "id": str(row["deploy_id"]),
        "environment": row["environment"],
        "name": row["name"] or None,
        "url": row["url"] or None,
        "dateStarted": iso_time(_with_blank(row["started_at"])),
        "dateFinished": iso_time(_with_blank(row["finished_at"])),
    }


def commit_shape(commit: dict[str, Any]) -> dict[str, Any]:
    """A commit as it was sent."""
    return {
        "id": commit.get("id"),
        "message": commit.get("message") or None,
        "dateCreated": commit.get("timestamp") or None,
        "author": {"name": commit.get("author_name") or None, "email": commit.get("author_email") or None},
        "repository": {"name": commit.get("repository") or None},
    }


def json_list(text: str) -> list[dict[str, Any]]:
    """A list that read_body.py wrote."""
    value = orjson.loads(text or "[]")
    return value if isinstance(value, list) else []


def _health(row: Row) -> dict[str, Any]:
    return {
        "totalSessions": row["sessions"],
        "totalUsers": row["users"],
        "sessionsCrashed": row["crashed_sessions"],
        "usersCrashed": row["crashed_users"],
        "crashFreeSessions": _percent(row["crash_free_sessions"]),
        "crashFreeUsers": _percent(row["crash_free_users"]),
        "hasHealthData": row["sessions"] > 0,
    }


def _percent(share: float | None) -> float | None:
    return None if share is None else round(share * 100, 4)


def _with_blank(moment: str) -> str:
    return moment if " " in moment else ""
