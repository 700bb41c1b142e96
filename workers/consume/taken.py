"""Lines of the reconciliation: how much a message counts that was taken out of a stream. What became of it is counted
elsewhere.

The unit is a row to be. A message counts as many as it makes rows, passes on items, or names outcomes; a transaction
with three child spans counts four. ops/status/reconciliation.py adds the lines up and compares them with what is
stored.
"""

from __future__ import annotations

from typing import Final

from schemas.headers import Origin
from schemas.rows import Row
from schemas.subjects import ITEMS, RAW, SOURCES
from workers.consume import counts
from workers.consume.message import Entry

TAKEN_COLUMNS: Final = (
    "minute", "organisation", "channel_id", "stage", "origin_seq", "item_index", "generation", "units",
)  # fmt: skip
# Outcomes that are the end of something we took. Others (a refusal at the receiver, a sender's own report) are not
# ours.
_ENDS: Final = frozenset({counts.REJECTED, counts.DROPPED, counts.INVALID, counts.DEAD})
_OUTCOME: Final = counts.OUTCOME_COLUMNS.index("outcome")
_QUANTITY: Final = counts.OUTCOME_COLUMNS.index("quantity")


def taken_row(origin: Origin, worker: str, entry: Entry, *, makes_events: bool = True) -> Row | None:
    """The line of one message in TAKEN_COLUMNS, None where it needs none. Rows that are not events count as nothing.

    A body always has one: it is what unpack counted. An item counts one without a line, which is the usual case and
    costs nothing; one that was replayed has a line, so that what its earlier processing said no longer holds.
    """
    stream = SOURCES[worker].stream
    if stream not in {RAW, ITEMS}:
        return None
    units = entry.passed_on + sum(int(str(row[_QUANTITY])) for row in entry.outcomes if row[_OUTCOME] in _ENDS)
    if makes_events:
        units += len(entry.rows)
    if stream != RAW and units == 1 and not origin.replay_generation:
        return None
    return (
        counts.minute(origin),
        origin.organisation,
        origin.channel_id,
        worker,
        origin.origin_seq,
        origin.item_index,
        origin.replay_generation,
        units,
    )
