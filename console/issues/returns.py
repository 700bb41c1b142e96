"""Issues that are back after a release resolved them: as the view `issue_returns`, with the days that are counted."""

from __future__ import annotations

from typing import Final

from console.issues.counted_days import OF_COUNTINGS, UNCOUNTED, CountedDays
from schemas.issues.day_counts import COUNTS_TABLE

_BY_RELEASE: Final = "release_after != toDateTime64(0, 9, 'UTC')"
_OF_ORGANISATION: Final = "organisation = {organisation:String}"
_NOT_ONE: Final = "SELECT toUInt64(0) AS issue_id, true AS is_back WHERE false"


def issues_that_are_back(counted: CountedDays, of_projects: str, of_errors: str) -> str:
    """SQL of `issue_id` and `is_back`: true for those with an error of the release, or of one made after it."""
    if not counted.has_returns:
        return _NOT_ONE
    return f"""
SELECT issue_id, true AS is_back
FROM
(
    SELECT issue_id, release, max(received) AS received_at FROM ({_errors(counted, of_projects, of_errors)})
    GROUP BY issue_id, release
) AS errors
GLOBAL INNER JOIN
(
    SELECT issue_id, resolved_in, release_after, changed_at FROM issue_states WHERE {of_projects} AND {_BY_RELEASE}
) AS states USING (issue_id)
GLOBAL LEFT ANY JOIN ({_dates(counted)}) AS dates USING (release)
WHERE errors.received_at > states.changed_at
  AND errors.release != '' AND (errors.release = states.resolved_in OR dates.made_at > states.release_after)
GROUP BY issue_id"""


def _errors(counted: CountedDays, of_projects: str, of_errors: str) -> str:
    """When errors of each release came last, of the issues that a release resolved. Nothing is read without any."""
    resolved = f"""(organisation, channel_id, issue_id) GLOBAL IN
(SELECT organisation, channel_id, issue_id FROM issue_states WHERE {of_projects} AND {_BY_RELEASE})"""
    read = "SELECT issue_id, toString(release) AS release, received_at AS received FROM error_rows FINAL"
    if not counted.countings:
        return f"{read} WHERE {of_errors} AND {resolved}"
    return f"""{read} WHERE {of_errors} AND {UNCOUNTED} AND {resolved}
UNION ALL
SELECT issue_id, toString(release) AS release, last_received_at AS received FROM {COUNTS_TABLE}
WHERE {of_errors} AND {OF_COUNTINGS} AND {resolved}"""


def _dates(counted: CountedDays) -> str:
    """When each release was made, as in the view `release_dates`: as a tool said, or its first error."""
    has_any = (
        f"organisation GLOBAL IN (SELECT organisation FROM issue_states WHERE {_OF_ORGANISATION} AND {_BY_RELEASE})"
    )
    of_errors = f"{_OF_ORGANISATION} AND {has_any} AND release != ''"
    read = "SELECT toString(release) AS release, min(timestamp) AS began_at FROM error_rows"
    errors = f"{read} WHERE {of_errors} GROUP BY release"
    if counted.countings:
        errors = f"""{read} WHERE {of_errors} AND {UNCOUNTED} GROUP BY release
    UNION ALL
    SELECT toString(release) AS release, min(first_seen) AS began_at FROM {COUNTS_TABLE}
    WHERE {of_errors} AND {OF_COUNTINGS} GROUP BY release"""
    return f"""
SELECT release, min(began_at) AS made_at
FROM
(
    SELECT release, created_at AS began_at FROM release_rows FINAL
    WHERE {_OF_ORGANISATION} AND {has_any} AND NOT is_deleted
    UNION ALL
    {errors}
)
GROUP BY release"""
