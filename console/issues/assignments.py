"""Whose an issue is: read from a request, stored as a row, shown, and searched for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from console.api.answers import iso_time
from console.api.request import text_field
from console.storage.times import time_text

if TYPE_CHECKING:
    from console.access.bearer import Caller
    from console.services import Services
    from console.storage.clickhouse import Row

TABLE: Final = "issue_assignments"
MAX_ASSIGNEE: Final = 200
_OF_ISSUES: Final = """
SELECT issue_id, assigned_to, assigned_at, changed_by, changed_by_name FROM issue_assignments FINAL
WHERE organisation = {organisation:String} AND channel_id IN {channels:Array(UInt64)}
  AND issue_id IN {issues:Array(UInt64)}"""


def read_assignee(document: Mapping[str, Any], caller: Caller) -> str | None:
    """`user:ada`, `team:shop`, an address, `me` (the token), or "" for nobody; None if it is not asked for."""
    if "assignedTo" not in document:
        return None
    text = text_field(document, "assignedTo", MAX_ASSIGNEE).strip()
    return f"user:{caller.token.name or caller.token.id}" if text == "me" else text


async def store(services: Services, caller: Caller, assignee: str, issues: Sequence[Row]) -> None:
    """A row for each of the issues."""
    now_ns = services.now_ns()
    rows = [
        {
            "organisation": caller.organisation,
            "channel_id": issue["channel_id"],
            "issue_id": issue["issue_id"],
            "row_version": now_ns,
            "assigned_at": time_text(now_ns),
            "assigned_to": assignee,
            "changed_by": caller.token.id,
            "changed_by_name": caller.token.name,
        }
        for issue in issues
    ]
    if rows:
        await services.clickhouse.insert(TABLE, rows)


async def assignments(services: Services, organisation: str, issues: Sequence[Row]) -> dict[int, Row]:
    """The last assignment of each issue, by its number."""
    if not issues:
        return {}
    rows = await services.clickhouse.query(
        _OF_ISSUES,
        organisation=organisation,
        channels=sorted({int(issue["channel_id"]) for issue in issues}),
        issues=[int(issue["issue_id"]) for issue in issues],
    )
    return {int(row["issue_id"]): row for row in rows}


def assignee_shape(text: str) -> dict[str, Any] | None:
    """As tools read it; there are no users here, so the name is what was said."""
    if not text:
        return None
    kind, colon, name = text.partition(":")
    if colon and kind == "team":
        return {"type": "team", "id": name, "name": name}
    name = name if colon and kind == "user" else text
    return {"type": "user", "id": name, "name": name, "email": name if "@" in name else ""}


def assignment_activity(row: Row) -> dict[str, Any]:
    """An entry of the activity of an issue."""
    assignee = assignee_shape(row["assigned_to"])
    return {
        "id": f"assignment-{row['issue_id']}",
        "type": "assigned" if assignee else "unassigned",
        "user": {"id": row["changed_by"], "name": row["changed_by_name"] or row["changed_by"]},
        "data": {"assignee": assignee["name"], "assigneeType": assignee["type"]} if assignee else {},
        "dateCreated": iso_time(row["assigned_at"]),
    }
