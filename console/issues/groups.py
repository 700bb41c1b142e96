"""Issues as groups of errors: the SQL of lists, with the rules of the view `issues`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from console.query.conditions import Conditions
from console.query.fields import ISSUE_ID_OF

if TYPE_CHECKING:
    from console.api.request import Period
    from schemas.registry import Channel

OF_PROJECTS: Final = "organisation = {organisation:String} AND channel_id IN {channels:Array(UInt64)}"
OF_NUMBERS: Final = f"{OF_PROJECTS} AND issue_id IN {{numbers:Array(UInt64)}}"
# Parts of different days never have rows that replace each other.
FAST_FINAL: Final = " SETTINGS do_not_merge_across_partitions_select_final = 1"
COLUMNS: Final = (
    "channel_id, issue_id, status, is_regressed, resolved_in, release_after, changed_at, first_seen, last_seen, "
    "times, users"
)
_IN_PERIOD: Final = (
    "timestamp >= toDateTime64({begin:String}, 9, 'UTC') AND timestamp < toDateTime64({end:String}, 9, 'UTC')"
)
_COUNTED: Final = (
    "SELECT issue_id, count() AS times, uniqExactIf(user_hash, user_hash != 0) AS users FROM error_rows FINAL"
)
# One number is compared six times as fast as the pair of time and id.
_ORDER_KEY: Final = (
    "bitOr(bitShiftLeft(toUInt128(toUnixTimestamp64Nano(timestamp)), 64), toUInt128(cityHash64(event_id)))"
)


@dataclass(frozen=True, slots=True)
class Search:
    """What a list of issues asks for."""

    organisation: str
    projects: Sequence[Channel]
    query: str = ""
    environments: Sequence[str] = ()
    period: Period | None = None
    order: str = "last_seen DESC"

    @property
    def is_limited(self) -> bool:
        """Whether only errors of some time or environment count."""
        return self.period is not None or bool(self.environments)


def matching(search: Search, conditions: Conditions, columns: str, of_errors: str = OF_PROJECTS) -> str:
    """These columns of the issues that a search asks for. `of_errors` limits the errors that are looked at.

    Of a limited search, times and users are those of its period and environments.
    """
    where = ["true"]
    if conditions.of_issue:
        where.append(conditions.of_issue)
    if conditions.of_event:
        where.append(f"issue_id GLOBAL IN ({_with_matching_errors(search, conditions, of_errors)})")
    groups = f"{_groups(of_errors)} AS issue WHERE {' AND '.join(where)}"
    if not search.is_limited:
        return f"SELECT {columns} FROM {groups}"
    counted = f"{_COUNTED} WHERE {_within(search, of_errors)} GROUP BY issue_id"
    return (
        f"SELECT {columns} FROM (SELECT * EXCEPT (times, users) FROM {groups}) AS issue "
        f"GLOBAL INNER JOIN ({counted}) AS counted USING (issue_id)"
    )


# Issues with an error since a time that may be unresolved, those with the newest error first. An archived issue stays
# archived; a resolved one with new errors has mostly come back.
NEWEST: Final = f"""
SELECT issue_id, max(timestamp) AS newest FROM error_rows FINAL
WHERE {OF_PROJECTS} AND timestamp >= toDateTime64({{since:String}}, 9, 'UTC')
  AND issue_id GLOBAL NOT IN (SELECT issue_id FROM issue_states WHERE {OF_PROJECTS} AND last_status = 'archived')
GROUP BY issue_id ORDER BY newest DESC, issue_id LIMIT {{limit:UInt32}}{FAST_FINAL}"""

# Of issues whose first and last times are known: what their first and last error say. Few rows have these times.
FIRST_AND_LAST: Final = f"""
SELECT issue_id, argMin(release, order_key) AS first_release, argMax(release, order_key) AS last_release,
       argMax(event_id, order_key) AS last_event_id
FROM
(
    SELECT issue_id, release, event_id, {_ORDER_KEY} AS order_key
    FROM error_rows FINAL WHERE {OF_NUMBERS} AND timestamp IN {{moments:Array(DateTime64(9, 'UTC'))}}
)
GROUP BY issue_id{FAST_FINAL}"""


def _groups(of_errors: str) -> str:
    """As the view `issues` has it, with one key to group by and conditions on errors before everything else.

    ClickHouse computes only what conditions and order need.
    """
    return f"""
(
    SELECT channel_id, issue_id, times, users, first_seen, last_seen, first_release,
           resolved_in, release_after, changed_at,
           last_status = 'resolved' AND if(release_after = toDateTime64(0, 9, 'UTC'),
                                           last_received_at > changed_at, is_back) AS is_regressed,
           if(last_status = '' OR is_regressed, 'unresolved', last_status) AS status
    FROM
    (
        SELECT any(channel) AS channel_id, issue_id, count() AS times,
               uniqExactIf(user_hash, user_hash != 0) AS users, min(timestamp) AS first_seen,
               max(timestamp) AS last_seen, max(received_at) AS last_received_at,
               argMin(release, order_key) AS first_release
        FROM
        (
            SELECT channel_id AS channel, issue_id, user_hash, timestamp, received_at, release,
                   {_ORDER_KEY} AS order_key
            FROM error_rows FINAL WHERE {of_errors}
        )
        GROUP BY issue_id
    ) AS groups
    GLOBAL LEFT ANY JOIN
    (
        SELECT issue_id, last_status, resolved_in, release_after, changed_at FROM issue_states WHERE {OF_PROJECTS}
    ) AS states USING (issue_id)
    GLOBAL LEFT ANY JOIN (SELECT issue_id, is_back FROM issue_returns WHERE {OF_PROJECTS}) AS back USING (issue_id)
)"""


def _within(search: Search, of_errors: str) -> str:
    parts = [of_errors]
    if search.period:
        parts.append(_IN_PERIOD)
    if search.environments:
        parts.append("environment IN {environments:Array(String)}")
    return " AND ".join(parts)


def _with_matching_errors(search: Search, conditions: Conditions, of_errors: str) -> str:
    """The issues of errors for which the conditions hold: from the small table where it has all columns."""
    if not conditions.needs_events:
        return f"SELECT issue_id FROM error_rows FINAL WHERE {_within(search, of_errors)} AND ({conditions.of_event})"
    # The view `events` has no number of an issue; its own are all of the projects.
    within = _within(search, OF_PROJECTS)
    return f"SELECT {ISSUE_ID_OF} FROM events WHERE {within} AND is_error AND ({conditions.of_event})"
