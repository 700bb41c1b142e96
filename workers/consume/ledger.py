"""The ledger: how many rows, items and outcomes each message must produce, for the reconciliation.

A message counts as many as it makes rows, passes on items, or names outcomes; a transaction with three child spans
counts four. ops/status/reconciliation.py adds the rows up and compares them with what is stored.
"""

from __future__ import annotations

from typing import Final

from schemas.headers import Origin
from schemas.outcomes import DEAD, DROPPED, INVALID, REJECTED, LedgerRow, minute_of
from schemas.subjects import ITEMS, RAW, SOURCES
from workers.consume.message import Entry

# Outcomes of records that reached a worker. Others (a refusal at the receiver, a sender's own report) are about records
# that did not.
_ENDS: Final = frozenset({REJECTED, DROPPED, INVALID, DEAD})


def ledger_row(origin: Origin, worker: str, entry: Entry, *, makes_events: bool = True) -> LedgerRow | None:
    """The row of one message, None if it needs none. Rows that are not events do not count.

    A body always has a row, made by unpack. An item without a row counts one, which is the usual case and costs
    nothing. A replayed item has a row, so that the outcomes of its earlier processing are not valid any more.
    """
    stream = SOURCES[worker].stream
    if stream not in {RAW, ITEMS}:
        return None
    units = entry.passed_on + sum(row.quantity for row in entry.outcomes if row.outcome in _ENDS)
    if makes_events:
        units += len(entry.rows)
    if stream != RAW and units == 1 and not origin.replay_generation:
        return None
    return LedgerRow(
        minute=minute_of(origin.received_at_ns),
        organisation=origin.organisation,
        channel_id=origin.channel_id,
        stage=worker,
        origin_seq=origin.origin_seq,
        item_index=origin.item_index,
        generation=origin.replay_generation,
        units=units,
    )
