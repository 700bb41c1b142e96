"""Inserts what the entries of a batch hold: rows, outcomes, lines of the ledger.

batcher.py decides when, and what becomes of the messages.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate

import structlog

from schemas.blocks.rows import join_rows
from schemas.outcomes import CLIENT_PREFIX, DEAD, LEDGER_COLUMNS, OUTCOME_COLUMNS, Outcome, outcome_row
from schemas.rows import LEDGER_TABLE, OUTCOMES_TABLE, Row
from workers import metrics
from workers.consume.message import Dead, Entry
from workers.store.insert import Inserter, RowRefused

log = structlog.get_logger()


class EntryInserter:
    """Inserts into the table of one worker, and into the tables of outcomes and of the ledger."""

    def __init__(self, worker: str, table: str, columns: Sequence[str], inserter: Inserter) -> None:
        self._worker = worker
        self._table = table
        self._columns = columns
        self._inserter = inserter

    async def insert_rows(self, entries: list[Entry], *, retries_our_fault: bool = True) -> None:
        """Inserts the rows of `entries` together. An entry with a row that ClickHouse refuses becomes a dead letter."""
        rows = join_rows([entry.rows for entry in entries])
        refused = await self._inserter.insert(self._table, self._columns, rows, retries_our_fault=retries_our_fault)
        metrics.ROWS.labels(self._worker).inc(len(rows) - len(refused))
        if not refused:
            return
        ends = list(accumulate(len(entry.rows) for entry in entries))
        by_entry: dict[int, list[RowRefused]] = {}
        for row in refused:
            by_entry.setdefault(bisect_right(ends, row.index), []).append(row)
        for index, refused_rows in by_entry.items():
            self._mark_dead(entries[index], refused_rows)

    def _mark_dead(self, entry: Entry, refused_rows: list[RowRefused]) -> None:
        """The whole message becomes a dead letter; its valid rows are stored already and stay."""
        error = refused_rows[0].error
        reason = f"row_refused_{error.code}" if error.code else "row_refused"
        entry.dead = Dead(reason, f"{len(refused_rows)} of {len(entry.rows)} rows: {error}")
        entry.take_back_body()
        if entry.reply_after_insert is not None:
            accepted = max(0, entry.reply_after_insert.accepted - len(refused_rows))
            rejected = entry.reply_after_insert.rejected + len(refused_rows)
            changes = {"accepted": accepted, "rejected": rejected, "reasons": [reason]}
            entry.reply_after_insert = entry.reply_after_insert.model_copy(update=changes)
        if entry.origin is not None:
            outcome = Outcome(DEAD, reason, self._worker, len(refused_rows))
            entry.outcomes.append(outcome_row(entry.origin, self._worker, outcome))

    async def insert_outcomes(self, entries: list[Entry]) -> None:
        """Inserts the outcomes of `entries` and counts them."""
        rows = [row for entry in entries for row in entry.outcomes]
        if not rows:
            return
        for refused in await self._inserter.insert(OUTCOMES_TABLE, OUTCOME_COLUMNS, rows):
            # There is nowhere else to store it. The message itself is stored, or is a dead letter.
            log.error("outcome_refused", worker=self._worker, error=str(refused.error))
        quantities: Counter[tuple[str, str]] = Counter()
        for row in rows:
            quantities[row.outcome, _reason_class(row.outcome, row.reason)] += row.quantity
        for (outcome, reason), quantity in quantities.items():
            metrics.OUTCOMES.labels(self._worker, outcome, reason).inc(quantity)

    async def insert_ledger(self, rows: Sequence[Row]) -> None:
        """Inserts lines of the ledger."""
        if not rows:
            return
        for refused in await self._inserter.insert(LEDGER_TABLE, LEDGER_COLUMNS, rows):
            log.error("ledger_refused", worker=self._worker, error=str(refused.error))


def _reason_class(outcome: str, reason: str) -> str:
    """A reason without the sender's text, because a metric may have only few labels."""
    return "" if outcome.startswith(CLIENT_PREFIX) else reason.partition(":")[0]
