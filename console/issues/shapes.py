"""An issue as tools of Sentry read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from console.api.answers import iso_time
from console.issues.assignments import assignee_shape
from console.issues.changes import status_details
from console.issues.ids import short_id
from console.storage.times import NEVER

if TYPE_CHECKING:
    from console.storage.clickhouse import Row
    from schemas.registry import Channel

SHOWN_STATUS: Final = {"unresolved": "unresolved", "resolved": "resolved", "archived": "ignored"}
_LEVELS: Final = ((21, "fatal"), (17, "error"), (13, "warning"), (9, "info"), (1, "debug"))
MAX_TITLE: Final = 256


def issue_shape(row: Row, project: Channel, last_event: Row, url: str) -> dict[str, Any]:
    """`last_event` has title, culprit and level; an empty one (the row is gone) leaves them empty."""
    title = str(last_event.get("title") or "")[:MAX_TITLE] or "(no title)"
    return {
        "id": str(row["issue_id"]),
        "shortId": short_id(project, int(row["issue_id"])),
        "title": title,
        "culprit": last_event.get("culprit") or last_event.get("transaction") or "",
        "permalink": f"{url}/organizations/{project.organisation}/issues/{row['issue_id']}/",
        "level": level_of(int(last_event.get("severity_number") or 0)),
        "status": SHOWN_STATUS[row["status"]],
        "statusDetails": _status_details(row),
        "substatus": _substatus(row),
        "isPublic": False,
        "platform": last_event.get("platform") or "other",
        "project": {
            "id": str(project.id),
            "slug": project.project_slug,
            "name": project.name or project.project_slug,
            "platform": last_event.get("platform") or "other",
        },
        "type": "error" if last_event.get("exception_type") or last_event.get("exception_message") else "default",
        "issueType": "error",
        "issueCategory": "error",
        "metadata": _metadata(last_event, title),
        "count": str(row["times"]),
        "userCount": row["users"],
        "firstSeen": iso_time(row["first_seen"]),
        "lastSeen": iso_time(row["last_seen"]),
        "assignedTo": assignee_shape(str(row.get("assigned_to") or "")),
        "logger": None,
        "numComments": 0,
        "hasSeen": True,
        "isBookmarked": False,
        "isSubscribed": False,
        "annotations": [],
        "isUnhandled": bool(last_event.get("is_unhandled")),
    }


def level_of(number: int) -> str:
    """The level of a severity number of OpenTelemetry; an error without one is an error."""
    return next((name for least, name in _LEVELS if number >= least), "error")


def _status_details(row: Row) -> dict[str, Any]:
    if row["status"] != "resolved":
        return {}
    return status_details(row["resolved_in"], in_next_release=row["release_after"] != NEVER)


def _metadata(last_event: Row, title: str) -> dict[str, Any]:
    kind, value = last_event.get("exception_type") or "", last_event.get("exception_message") or ""
    if not kind and not value:
        return {"title": title}
    location = {"filename": last_event.get("filename"), "function": last_event.get("function")}
    return {"type": kind, "value": value, "title": title, **{name: text for name, text in location.items() if text}}


def _substatus(row: Row) -> str | None:
    if row["status"] == "archived":
        return "archived_forever"
    if row["status"] == "unresolved":
        return "regressed" if row["is_regressed"] else "ongoing"
    return None
