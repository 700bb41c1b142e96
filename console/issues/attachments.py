"""Files that were sent with an event, or after it."""

from __future__ import annotations

import base64
import datetime as dt
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from console.api.answers import iso_time
from console.api.errors import ApiError
from console.storage.times import time_text_of

if TYPE_CHECKING:
    from console.storage.clickhouse import ClickHouse, Row, Value

MAX_FILES: Final = 100
# A crash reporter sends files when the program runs again.
BEFORE: Final = dt.timedelta(hours=1)
AFTER: Final = dt.timedelta(days=7)
_PLAIN_NAME: Final = re.compile(r"[^A-Za-z0-9._ -]")
_OF_EVENT: Final = """
FROM event_rows FINAL
WHERE organisation = {organisation:String} AND channel_id = {channel:UInt64} AND item_type = 'attachment'
  AND timestamp >= toDateTime64({begin:String}, 9, 'UTC') AND timestamp <= toDateTime64({end:String}, 9, 'UTC')
  AND attributes_string['sentry.event_id'] = {event:String}"""
_LIST: Final = f"""
SELECT toString(event_id) AS id, name, timestamp, attributes_string['attachment.content_type'] AS media_type,
       attributes_string['attachment.type'] AS kind, attributes_int['attachment.size_bytes'] AS size,
       has(repairs, 'payload_cut') AS is_cut
{_OF_EVENT} ORDER BY timestamp, event_id LIMIT {MAX_FILES}"""
_ONE: Final = f"SELECT name, body {_OF_EVENT} AND event_id = {{id:UUID}} LIMIT 1"


def _around(event: Row) -> dict[str, str]:
    received = dt.datetime.fromisoformat(str(event["received_at"])[:26]).replace(tzinfo=dt.UTC)
    return {"begin": time_text_of(received - BEFORE), "end": time_text_of(received + AFTER)}


class AttachmentReader:
    """Files of the events of one project."""

    def __init__(self, clickhouse: ClickHouse, organisation: str, channel: int) -> None:
        self._clickhouse = clickhouse
        self._own: dict[str, Value] = {"organisation": organisation, "channel": channel}

    async def of_event(self, event: Row) -> list[dict[str, Any]]:
        """Names, types and sizes, the first that came first."""
        event_id = str(event["event_id"]).replace("-", "")
        rows = await self._clickhouse.query(_LIST, **self._own, **_around(event), event=event_id)
        return [attachment_shape(row, event_id) for row in rows]

    async def one(self, event: Row, attachment_id: str) -> tuple[str, bytes]:
        """Name and bytes; larger files than 1 MiB were cut. Raises ApiError 404."""
        event_id = str(event["event_id"]).replace("-", "")
        rows = await self._clickhouse.query(_ONE, **self._own, **_around(event), event=event_id, id=attachment_id)
        if not rows:
            raise ApiError(404, f"attachment: expected one of this event, found {attachment_id[:60]!r}")
        return str(rows[0]["name"]), base64.b64decode(rows[0]["body"])


def attachment_shape(row: Row, event_id: str) -> dict[str, Any]:
    """A file as Sentry's API describes it."""
    return {
        "id": str(row["id"]).replace("-", ""),
        "event_id": event_id,
        "name": row["name"],
        "type": row["kind"],
        "mimetype": row["media_type"] or "application/octet-stream",
        "size": row["size"],
        "dateCreated": iso_time(row["timestamp"]),
        "isCut": bool(row["is_cut"]),
    }


def disposition(name: str) -> str:
    """The header of a download. A name is a sender's: nothing of it can end the header or leave the folder."""
    plain = _PLAIN_NAME.sub("_", name)[:100].lstrip(".") or "file"
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name[:200].replace('/', '_'), safe='')}"
