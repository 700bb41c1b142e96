"""Tags of the errors of an issue, and how often each value of one came."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from console.api.answers import iso_time
from console.query.fields import FIELDS, ISSUE_ID_OF, LEVEL_OF, USER_OF
from console.query.parameters import Parameters

if TYPE_CHECKING:
    from console.storage.clickhouse import ClickHouse, Row

MAX_TAGS: Final = 200
MAX_VALUES: Final = 100
# Of an issue with more errors, a part of them is counted.
MAX_ERRORS: Final = 100_000
_ERRORS: Final = f"""
FROM events
WHERE organisation = {{organisation:String}} AND channel_id = {{channel:UInt64}} AND is_error
  AND timestamp >= toDateTime64({{first:String}}, 9, 'UTC') AND timestamp <= toDateTime64({{last:String}}, 9, 'UTC')
  AND {ISSUE_ID_OF} = {{issue:UInt64}}
LIMIT {MAX_ERRORS}"""
# What events have as tags (event_shape.py), though it lies in columns of its own.
_OF_COLUMNS: Final = (
    f"map('environment', toString(environment), 'level', {LEVEL_OF}, 'release', toString(release), "
    f"'server_name', toString(host_name), 'service', toString(service_name), 'user', {USER_OF})"
)
_TAGS: Final = f"""
SELECT tag, count() AS times, uniqExact(value) AS different
FROM
(
    SELECT arrayJoin(mapKeys(tags)) AS tag, tags[tag] AS value
    FROM (SELECT mapUpdate(attributes, mapFilter((name, text) -> text != '', {_OF_COLUMNS})) AS tags {_ERRORS})
)
GROUP BY tag ORDER BY times DESC, tag LIMIT {MAX_TAGS}"""


def _of_issue(organisation: str, issue: Row) -> dict[str, Any]:
    return {
        "organisation": organisation,
        "channel": issue["channel_id"],
        "issue": issue["issue_id"],
        "first": issue["first_seen"],
        "last": issue["last_seen"],
    }


async def issue_tags(clickhouse: ClickHouse, organisation: str, issue: Row) -> list[dict[str, Any]]:
    """The tags of most errors first."""
    rows = await clickhouse.query(_TAGS, **_of_issue(organisation, issue))
    return [
        {"key": row["tag"], "name": row["tag"], "totalValues": row["times"], "uniqueValues": row["different"]}
        for row in rows
    ]


async def tag_values(clickhouse: ClickHouse, organisation: str, issue: Row, name: str) -> dict[str, Any]:
    """The most frequent values of a tag, an attribute or a field."""
    parameters = Parameters()
    known = FIELDS.get(name)
    has_column = known is not None and not known.of_issue and name != "issue"
    value = f"toString({known.answered or known.column})" if known and has_column else parameters.attribute(name)
    rows = await clickhouse.query(
        f"SELECT value, count() AS times, min(timestamp) AS first_at, max(timestamp) AS last_at, "
        f"sum(times) OVER () AS total, count() OVER () AS different "
        f"FROM (SELECT {value} AS value, timestamp {_ERRORS}) WHERE value != '' "
        f"GROUP BY value ORDER BY times DESC, value LIMIT {MAX_VALUES}",
        **{**parameters.values, **_of_issue(organisation, issue)},
    )
    values = [
        {
            "key": name,
            "name": row["value"],
            "value": row["value"],
            "count": row["times"],
            "firstSeen": iso_time(row["first_at"]),
            "lastSeen": iso_time(row["last_at"]),
        }
        for row in rows
    ]
    total, different = (rows[0]["total"], rows[0]["different"]) if rows else (0, 0)
    return {"key": name, "name": name, "totalValues": total, "uniqueValues": different, "topValues": values}
