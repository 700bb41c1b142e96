"""What people do with issues: read from a request, stored as rows, and shown as activity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from console.api.answers import iso_time
from console.api.errors import ApiError
from console.api.request import text_field
from console.storage.times import NEVER, time_text

if TYPE_CHECKING:
    from console.access.bearer import Caller
    from console.services import Services
    from console.storage.clickhouse import ClickHouse, Row

TABLE: Final = "issue_changes"
MAX_RELEASE: Final = 250
# What tools send beside the status, and which changes nothing here.
_IGNORED: Final = ("hasSeen", "isBookmarked", "isSubscribed", "isPublic", "substatus", "discard", "integration")
FIELDS: Final = frozenset(
    {"status", "statusDetails", "assignedTo", "assignedBy", "ignoreDuration", "snoozeDuration", *_IGNORED}
)
_STATUSES: Final = {
    "unresolved": "unresolved",
    "resolved": "resolved",
    "resolvedInNextRelease": "resolved",
    "ignored": "archived",
    "archived": "archived",
    "muted": "archived",
}
_ACTIVITY: Final = """
SELECT toString(change_id) AS change_id, changed_at, status, resolved_in, release_after, changed_by, changed_by_name
FROM issue_changes FINAL
WHERE organisation = {organisation:String} AND channel_id = {channel:UInt64} AND issue_id = {issue:UInt64}
ORDER BY changed_at DESC, change_id DESC LIMIT 100"""
_RELEASE_DATE: Final = """
SELECT release, made_at FROM release_dates
WHERE organisation = {organisation:String} AND ({release:String} = '' OR release = {release:String})
ORDER BY made_at DESC LIMIT 1"""
_CAME_BACK: Final = """
SELECT min(received_at) AS came_back FROM error_rows FINAL
WHERE organisation = {organisation:String} AND channel_id = {channel:UInt64} AND issue_id = {issue:UInt64}
  AND received_at > toDateTime64({changed_at:String}, 9, 'UTC')"""


@dataclass(frozen=True, slots=True)
class IssueChange:
    """The new state of issues. `release_after` is set where a release resolves them."""

    status: str
    resolved_in: str = ""
    in_next_release: bool = False
    release_after: str = NEVER

    @property
    def by_release(self) -> bool:
        """Whether a release resolves the issues, not the moment."""
        return bool(self.resolved_in) or self.in_next_release


def read_change(document: Mapping[str, Any]) -> IssueChange | None:
    """The change that a body asks for; None if it asks for nothing that is stored here. Raises ApiError 400."""
    status = document.get("status")
    if status is None:
        if document.get("statusDetails"):
            raise ApiError(400, "statusDetails: expected it beside a status, found it alone")
        return None
    if not isinstance(status, str) or status not in _STATUSES:
        raise ApiError(400, f"status: expected one of {', '.join(_STATUSES)}, found {str(status)[:40]!r}")
    details = document.get("statusDetails")
    details = {} if details is None else details
    if not isinstance(details, dict):
        raise ApiError(400, "statusDetails: expected an object, found another value")
    if unknown := sorted(set(details) - {"inRelease", "inNextRelease"}):
        raise ApiError(
            400, f"statusDetails: expected inRelease or inNextRelease, found {unknown[0][:40]!r}: leave it out"
        )
    release = text_field(details, "inRelease", MAX_RELEASE)
    in_next = status == "resolvedInNextRelease" or details.get("inNextRelease") is True
    if (release or in_next) and _STATUSES[status] != "resolved":
        raise ApiError(400, "statusDetails: expected a release beside status resolved, found another status")
    return IssueChange(_STATUSES[status], release, in_next and not release)


class IssueChanges:
    """Stores changes of issues of one caller, and reads them."""

    def __init__(self, services: Services, caller: Caller) -> None:
        self._clickhouse: ClickHouse = services.clickhouse
        self._services = services
        self._caller = caller

    async def store(self, change: IssueChange, issues: Sequence[Row]) -> IssueChange:
        """Stores the change for each of the issues; returns it with its release as it is known here."""
        if change.by_release:
            change = await self._with_release_date(change)
        changed_at = time_text(self._services.now_ns())
        rows = [self._row(change, changed_at, issue) for issue in issues]
        if rows:
            await self._clickhouse.insert(TABLE, rows)
        return change

    async def activity(self, issue: Row) -> list[dict[str, Any]]:
        """Who did what and when, the newest first; the first error is the last entry."""
        of_issue: dict[str, Any] = {
            "organisation": self._caller.organisation,
            "channel": issue["channel_id"],
            "issue": issue["issue_id"],
        }
        rows = await self._clickhouse.query(_ACTIVITY, **of_issue)
        entries = [_activity(row) for row in rows]
        if issue["is_regressed"]:
            (regression,) = await self._clickhouse.query(_CAME_BACK, **of_issue, changed_at=issue["changed_at"])
            entries.insert(0, _of_system("regression", "set_regression", regression["came_back"]))
        return [*entries, _of_system("first", "first_seen", issue["first_seen"])]

    async def _with_release_date(self, change: IssueChange) -> IssueChange:
        """`latest` becomes the newest release; `release_after` is when the release was made, now if it is not yet."""
        wanted = "" if change.in_next_release or change.resolved_in == "latest" else change.resolved_in
        rows = await self._clickhouse.query(_RELEASE_DATE, organisation=self._caller.organisation, release=wanted)
        if change.resolved_in == "latest":
            if not rows:
                raise ApiError(400, "inRelease: expected a release, found latest, and there is no release yet")
            change = replace(change, resolved_in=str(rows[0]["release"]))
        made_at = rows[0]["made_at"] if rows else time_text(self._services.now_ns())
        return replace(change, release_after=str(made_at))

    def _row(self, change: IssueChange, changed_at: str, issue: Row) -> dict[str, Any]:
        return {
            "organisation": self._caller.organisation,
            "channel_id": issue["channel_id"],
            "issue_id": issue["issue_id"],
            "changed_at": changed_at,
            "change_id": str(self._services.new_id()),
            "status": change.status,
            "resolved_in": change.resolved_in,
            "release_after": change.release_after,
            "changed_by": self._caller.token.id,
            "changed_by_name": self._caller.token.name,
        }


def status_details(resolved_in: str, *, in_next_release: bool) -> dict[str, Any]:
    """As Sentry shows it."""
    if resolved_in:
        return {"inRelease": resolved_in}
    return {"inNextRelease": True} if in_next_release else {}


def _activity(row: Row) -> dict[str, Any]:
    by_release = row["release_after"] != NEVER
    kind = {"resolved": "set_resolved", "archived": "set_ignored"}.get(row["status"], "set_unresolved")
    if by_release:
        kind = "set_resolved_in_release"
    data = {"version": row["resolved_in"]} if by_release else {}
    user = {"id": row["changed_by"], "name": row["changed_by_name"] or row["changed_by"]}
    return {
        "id": row["change_id"],
        "type": kind,
        "user": user,
        "data": data,
        "dateCreated": iso_time(row["changed_at"]),
    }


def _of_system(name: str, kind: str, moment: str) -> dict[str, Any]:
    return {"id": name, "type": kind, "user": None, "data": {}, "dateCreated": iso_time(moment)}
