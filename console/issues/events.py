"""Errors of an issue or a project, one by its id, and the latest, oldest and those beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from console.api.errors import ApiError
from console.issues.find import bucket_of
from console.query.fields import ISSUE_ID_OF

if TYPE_CHECKING:
    from console.storage.clickhouse import ClickHouse, Row

EVENT_COLUMNS: Final = """event_id, channel_id, item_type, event_type, timestamp, received_at, title, name, body,
       platform, severity_number, release, environment, trace_id, span_id, parent_span_id, service_name, host_name,
       scope_name, exception_type, exception_message, exception_stacktrace, user_id, user_email, user_name, group_hash,
       attributes, resource, fingerprint, repairs, sdk_name, sdk_version, is_error"""
_OF_PROJECTS: Final = "organisation = {organisation:String} AND channel_id IN {channels:Array(UInt64)}"
_IN_PERIOD: Final = (
    " AND timestamp >= toDateTime64({begin:String}, 9, 'UTC') AND timestamp < toDateTime64({end:String}, 9, 'UTC')"
)
_KEYS: Final = f"SELECT event_id, timestamp, channel_id FROM error_rows FINAL WHERE {_OF_PROJECTS}"
_OF_ISSUE: Final = " AND issue_id = {issue:UInt64}"
_LIMITS: Final = " LIMIT {limit:UInt32} OFFSET {offset:UInt32}"
_NEWEST: Final = " ORDER BY timestamp DESC, event_id DESC"
_OLDEST: Final = " ORDER BY timestamp, event_id"
_BY_KEYS: Final = f"""
SELECT {EVENT_COLUMNS}, PAYLOAD, {ISSUE_ID_OF} AS issue_id
FROM events
WHERE {_OF_PROJECTS}
  AND toStartOfFiveMinutes(timestamp) IN {{buckets:Array(DateTime('UTC'))}} AND event_id IN {{ids:Array(UUID)}}
ORDER BY timestamp DESC, event_id DESC"""
_KEY: Final = f"""
SELECT event_id, timestamp, channel_id FROM event_rows
WHERE {_OF_PROJECTS} AND event_id = {{event:UUID}} LIMIT 1"""
_SPAN_KEY: Final = f"""
SELECT event_id, timestamp, channel_id FROM event_rows
WHERE {_OF_PROJECTS} AND trace_id = {{trace:String}} AND span_id = {{span:String}} AND event_type = 'app.span'
LIMIT 1"""
_EDGES: Final = {"latest": _NEWEST, "recommended": _NEWEST, "helpful": _NEWEST, "oldest": _OLDEST}
_BESIDE: Final = """
SELECT
    (SELECT toString(argMax(event_id, (timestamp, event_id))) FROM error_rows
     WHERE organisation = {organisation:String} AND channel_id = {channel:UInt64} AND issue_id = {issue:UInt64}
       AND (timestamp, event_id) < (toDateTime64({at:String}, 9, 'UTC'), {event:UUID})) AS previous,
    (SELECT toString(argMin(event_id, (timestamp, event_id))) FROM error_rows
     WHERE organisation = {organisation:String} AND channel_id = {channel:UInt64} AND issue_id = {issue:UInt64}
       AND (timestamp, event_id) > (toDateTime64({at:String}, 9, 'UTC'), {event:UUID})) AS next"""
_NO_ID: Final = "00000000-0000-0000-0000-000000000000"


class EventReader:
    """Reads events of one organisation."""

    def __init__(self, clickhouse: ClickHouse, organisation: str) -> None:
        self._clickhouse = clickhouse
        self._organisation = organisation

    async def page(  # noqa: PLR0913 (one for each part of the question)
        self,
        channels: Sequence[int],
        *,
        limit: int,
        offset: int,
        issue_id: int | None = None,
        period: dict[str, str] | None = None,
        full: bool = False,
    ) -> list[Row]:
        """Errors of projects or of one issue, the newest first; with `full`, with what was sent."""
        if not channels:
            return []
        of_issue = _OF_ISSUE if issue_id is not None else ""
        event_keys = await self._clickhouse.query(
            _KEYS + of_issue + (_IN_PERIOD if period else "") + _NEWEST + _LIMITS,
            organisation=self._organisation,
            channels=list(channels),
            limit=limit,
            offset=offset,
            **({"issue": issue_id} if issue_id is not None else {}),
            **(period or {}),
        )
        return await self.read(event_keys, full=full)

    async def one(self, channels: Sequence[int], text: str) -> Row:
        """The event of this id, whatever it is. Raises ApiError 404."""
        event_id = uuid_of(text)
        event_keys = await self._clickhouse.query(
            _KEY, organisation=self._organisation, channels=list(channels), event=event_id
        ) if event_id and channels else []  # fmt: skip
        return _the_event(await self.read(event_keys, full=True), text)

    async def span(self, channel: int, trace_id: str, span_id: str) -> Row:
        """The span of these ids. Raises ApiError 404."""
        event_keys = await self._clickhouse.query(
            _SPAN_KEY, organisation=self._organisation, channels=[channel], trace=trace_id, span=span_id.lower()
        )
        return _the_event(await self.read(event_keys, full=True), span_id)

    async def of_issue(self, channel: int, issue_id: int, text: str) -> Row:
        """The event of this id, or `latest` or `oldest`, if it is one of the issue. Raises ApiError 404."""
        order = _EDGES.get(text)
        if order is None:
            event = await self.one([channel], text)
            return _the_event([event] if event["issue_id"] == issue_id else [], text)
        event_keys = await self._clickhouse.query(
            _KEYS + _OF_ISSUE + order + _LIMITS,
            organisation=self._organisation,
            channels=[channel],
            issue=issue_id,
            limit=1,
            offset=0,
        )
        return _the_event(await self.read(event_keys, full=True), text)

    async def beside(self, event: Row) -> tuple[str | None, str | None]:
        """The ids of the error before and after this one in its issue."""
        (row,) = await self._clickhouse.query(
            _BESIDE,
            organisation=self._organisation,
            channel=event["channel_id"],
            issue=event["issue_id"],
            at=event["timestamp"],
            event=event["event_id"],
        )
        return _id_or_none(row["previous"]), _id_or_none(row["next"])

    async def read(self, event_keys: Sequence[Row], *, full: bool) -> list[Row]:
        """The events of these ids and times, the newest first."""
        if not event_keys:
            return []
        return await self._clickhouse.query(
            _BY_KEYS.replace("PAYLOAD", "payload" if full else "'' AS payload"),
            organisation=self._organisation,
            channels=sorted({int(key["channel_id"]) for key in event_keys}),
            buckets=sorted({bucket_of(key["timestamp"]) for key in event_keys}),
            ids=sorted({str(key["event_id"]) for key in event_keys}),
        )


def _the_event(rows: Sequence[Row], text: str) -> Row:
    if not rows:
        raise ApiError(404, f"event: expected the id of a stored event, latest or oldest, found {text[:60]!r}")
    return rows[0]


def uuid_of(text: str) -> str | None:
    """The UUID of 32 hexadecimal digits, with or without dashes; None for another text."""
    digits = text.replace("-", "").lower()
    if len(digits) != 32 or any(digit not in "0123456789abcdef" for digit in digits):
        return None
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _id_or_none(text: str) -> str | None:
    return None if text in ("", _NO_ID) else text.replace("-", "")
