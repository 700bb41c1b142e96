"""Issues as groups of errors: the SQL of lists, with the rules of the view `issues`.

Days that are counted already give their counts, all others their errors: console/issues/counted_days.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from console.issues.counted_days import NOTHING_COUNTED, OF_COUNTINGS, UNCOUNTED, CountedDays
from console.issues.returns import issues_that_are_back
from console.query.conditions import Conditions
from console.query.fields import ISSUE_ID_OF
from schemas.issues.day_counts import COUNTS_TABLE, ORDER_KEY

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
_MOMENT: Final = "toDateTime64({%s:String}, 9, 'UTC')"


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


def matching(
    search: Search,
    conditions: Conditions,
    columns: str,
    counted: CountedDays = NOTHING_COUNTED,
    of_errors: str = OF_PROJECTS,
) -> str:
    """These columns of the issues that a search asks for. `of_errors` limits the errors that are looked at.

    Of a limited search, times and users are those of its period and environments. `counted` has no day of which the
    period has a part only.
    """
    where = ["true"]
    if conditions.of_issue:
        where.append(conditions.of_issue)
    if conditions.of_event:
        where.append(f"issue_id GLOBAL IN ({_with_matching_errors(search, conditions, counted, of_errors)})")
    groups = f"{_groups(search, counted, of_errors)} AS issue WHERE {' AND '.join(where)}"
    if not search.is_limited:
        return f"SELECT {columns} FROM {groups}"
    return (
        f"SELECT {columns} FROM (SELECT * EXCEPT (times, users, times_within, users_within), times_within AS times, "
        f"users_within AS users FROM (SELECT * FROM {groups} AND times_within > 0))"
    )


# Issues with an error since a time that may be unresolved, those with the newest error first. An archived issue stays
# archived; a resolved one with new errors has mostly come back.
NEWEST: Final = f"""
SELECT issue_id, max(timestamp) AS newest FROM error_rows FINAL
WHERE {OF_PROJECTS} AND timestamp >= toDateTime64({{since:String}}, 9, 'UTC')
  AND issue_id GLOBAL NOT IN (SELECT issue_id FROM issue_states WHERE {OF_PROJECTS} AND last_status = 'archived')
GROUP BY issue_id ORDER BY newest DESC, issue_id LIMIT {{limit:UInt32}}{FAST_FINAL}"""


def first_and_last(counted: CountedDays) -> str:
    """What the first and last error of issues say whose times are known: few rows have these times."""
    errors = f"""
SELECT issue_id, release, event_id, {ORDER_KEY} AS first_key, first_key AS last_key
FROM error_rows FINAL WHERE {_read(OF_NUMBERS, counted)} AND timestamp IN {{moments:Array(DateTime64(9, 'UTC'))}}"""
    if counted.countings:
        errors += f"""
UNION ALL
SELECT issue_id, release, last_event_id AS event_id, first_key, last_key
FROM {COUNTS_TABLE} WHERE {OF_NUMBERS} AND {OF_COUNTINGS}"""
    return f"""
SELECT issue_id, argMin(release, first_key) AS first_release, argMax(release, last_key) AS last_release,
       argMax(event_id, last_key) AS last_event_id
FROM ({errors}
)
GROUP BY issue_id{FAST_FINAL}"""


def _groups(search: Search, counted: CountedDays, of_errors: str) -> str:
    """As the view `issues` has it, with one key to group by and conditions on errors before everything else.

    ClickHouse computes only what conditions and order need.
    """
    back = issues_that_are_back(counted, OF_PROJECTS, of_errors)
    return f"""
(
    SELECT channel_id, issue_id, times, users, times_within, users_within, first_seen, last_seen, first_release,
           resolved_in, release_after, changed_at,
           last_status = 'resolved' AND if(release_after = toDateTime64(0, 9, 'UTC'),
                                           last_received_at > changed_at, is_back) AS is_regressed,
           if(last_status = '' OR is_regressed, 'unresolved', last_status) AS status
    FROM
    (
        SELECT any(channel) AS channel_id, issue_id, sum(errors) AS times, uniqExactArray(user_hashes) AS users,
               sum(errors_within) AS times_within, uniqExactArray(user_hashes_within) AS users_within,
               min(began_at) AS first_seen, max(ended_at) AS last_seen, max(received) AS last_received_at,
               argMin(release_of_first, first_key) AS first_release
        FROM ({_errors(search, counted, of_errors)})
        GROUP BY issue_id
    ) AS groups
    GLOBAL LEFT ANY JOIN
    (
        SELECT issue_id, last_status, resolved_in, release_after, changed_at FROM issue_states WHERE {OF_PROJECTS}
    ) AS states USING (issue_id)
    GLOBAL LEFT ANY JOIN ({back}) AS back USING (issue_id)
)"""


def _errors(search: Search, counted: CountedDays, of_errors: str) -> str:
    """Groups of errors: one for each issue of the errors that must be read, and the counts of all other days."""
    within = _within(search, "timestamp")
    read = f"""
SELECT any(channel_id) AS channel, issue_id, count() AS errors, countIf(is_within) AS errors_within,
       groupUniqArrayIf(user_hash, user_hash != 0) AS user_hashes,
       groupUniqArrayIf(user_hash, user_hash != 0 AND is_within) AS user_hashes_within,
       min(timestamp) AS began_at, max(timestamp) AS ended_at, max(received_at) AS received,
       argMin(release, order_key) AS release_of_first, min(order_key) AS first_key
FROM
(
    SELECT channel_id, issue_id, user_hash, timestamp, received_at, release, {within} AS is_within,
           {ORDER_KEY} AS order_key
    FROM error_rows FINAL WHERE {_read(of_errors, counted)}
)
GROUP BY issue_id"""
    if not counted.countings:
        return read
    within = _within(search, "first_seen")
    return f"""{read}
UNION ALL
SELECT channel_id AS channel, issue_id, times AS errors, if({within}, times, 0) AS errors_within, users AS user_hashes,
       if({within}, users, []) AS user_hashes_within, first_seen AS began_at, last_seen AS ended_at,
       last_received_at AS received, release AS release_of_first, first_key
FROM {COUNTS_TABLE} WHERE {of_errors} AND {OF_COUNTINGS}"""


def _read(of_errors: str, counted: CountedDays) -> str:
    """Which errors must be read."""
    return f"{of_errors} AND {UNCOUNTED}" if counted.countings else of_errors


def _within(search: Search, time_column: str) -> str:
    """Whether an error, or all of a counted day, are in the period and environments of a search."""
    parts = []
    if search.period:
        parts.append(f"{time_column} >= {_MOMENT % 'begin'} AND {time_column} < {_MOMENT % 'end'}")
    if search.environments:
        parts.append("environment IN {environments:Array(String)}")
    return " AND ".join(parts) or "true"


def _with_matching_errors(search: Search, conditions: Conditions, counted: CountedDays, of_errors: str) -> str:
    """The issues of errors for which the conditions hold: from the small tables where these have all columns."""
    within = _within(search, "timestamp")
    if conditions.needs_events:
        # The view `events` has no number of an issue; its own are all of the projects.
        return (
            f"SELECT {ISSUE_ID_OF} FROM events "
            f"WHERE {OF_PROJECTS} AND {within} AND is_error AND ({conditions.of_event})"
        )
    if not counted.countings or conditions.needs_times:
        return f"SELECT issue_id FROM error_rows FINAL WHERE {of_errors} AND {within} AND ({conditions.of_event})"
    return (
        f"SELECT issue_id FROM error_rows FINAL "
        f"WHERE {_read(of_errors, counted)} AND {within} AND ({conditions.of_event}) UNION ALL "
        f"SELECT issue_id FROM {COUNTS_TABLE} "
        f"WHERE {of_errors} AND {OF_COUNTINGS} AND {_within(search, 'first_seen')} AND ({conditions.of_event})"
    )
