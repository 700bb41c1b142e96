"""Errors of days that are over, counted by issue: what the janitor, which counts, and those who read the counts share.

Counts are rows of a day, made by one counting. They stand for the errors while `error_rows` has for that day exactly
what was counted: each counting ends with a row that has no organisation and says so.
docs/decisions/0094-counted-days.md
"""

from __future__ import annotations

from typing import Final

COUNTS_TABLE: Final = "issue_day_rows"
# Time and id of an error as one number, which is compared six times as fast as the pair.
ORDER_KEY: Final = (
    "bitOr(bitShiftLeft(toUInt128(toUnixTimestamp64Nano(timestamp)), 64), toUInt128(cityHash64(event_id)))"
)
# Not a name: a merge that changes no row, or a table that was made again, may have the same names for other rows.
PARTS_HASH: Final = "sipHash64(arraySort(groupArray(hash_of_all_files)))"
# On a cluster there are no parts of `error_rows`, so nothing is counted there.
PARTS: Final = "system.parts WHERE database = currentDatabase() AND table = 'error_rows' AND active"
# Days as they are now. The rows of a day that have the same hash equal what was counted.
DAYS_NOW: Final = f"SELECT toDate(partition) AS day, {PARTS_HASH} AS parts_hash FROM {PARTS} GROUP BY partition"
# The newest counting of each day that holds now.
COUNTED_DAYS: Final = f"""
SELECT toString(day) AS counted_day, max(counting_id) AS latest_counting FROM {COUNTS_TABLE}
WHERE organisation = '' AND (day, parts_hash) IN ({DAYS_NOW})
GROUP BY day"""
