"""The handler of every worker but unpack: calls its pure function, and makes the counts for the sender."""

from __future__ import annotations

import marshal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from schemas.blocks.rows import MixedRows, RowBlock, Rows
from schemas.headers import Origin
from schemas.rows import Row
from workers.consume import counts
from workers.consume.large_messages import LargeMessageExecutor
from workers.consume.message import Entry, Message
from workers.consume.sized_work import Work, inflated_bytes, run_work
from workers.consume.work_process import NORMALISE, WorkJob, verdict_of
from workers.normalise.registry import Normaliser
from workers.normalise.verdict import Verdict

# What a row takes in memory at least, beside its texts.
ROW_BYTES: Final = 200
# Of the bytes of a block so many count as one: rows that are objects take several times what is counted for them.
BLOCK_SHARE: Final = 4
# The same of a row whose payload is held once, and not in the message's body too (Entry.share_body).
ONCE_SHARE: Final = 2
# Below, other things weigh more than the body.
SHARED_BYTES: Final = 4_096


class NormaliseHandler:
    """Makes an entry with rows of a message. `resolve` changes the message that is normalised, not the one that is kept
    for a dead letter.
    """

    def __init__(
        self,
        normaliser: Normaliser,
        executor: LargeMessageExecutor | None = None,
        resolve: Callable[[Message, Origin], Awaitable[Message]] | None = None,
    ) -> None:
        self._resolve = resolve
        self._normaliser = normaliser
        self._executor = executor
        self._payload = normaliser.columns.index("payload") if "payload" in normaliser.columns else -1

    async def __call__(self, message: Message, origin: Origin) -> Entry:
        """The reply is sent before the insert, because the broker stores the data; for `sync` senders after it."""
        worker = self._normaliser.worker
        received = message
        if self._resolve is not None:
            message = await self._resolve(message, origin)
        message_bytes = inflated_bytes(message) if self._normaliser.inflates else len(message.body)
        work = Work(
            run=lambda: self._with_size(message, origin, self._normaliser.normalise(origin, message)),
            job=partial(WorkJob.of, NORMALISE, worker, origin, message),
            read=lambda plain, pieces: self._with_size(message, origin, verdict_of(plain, pieces)),
        )
        verdict, rows_bytes = await run_work(self._executor, work, message, message_bytes, origin.channel_id)
        entry = Entry(received, origin if self._normaliser.has_outcomes else None, verdict.rows)
        entry.outcomes = counts.rejected_rows(origin, worker, verdict)
        entry.size_bytes = self._waiting_bytes(entry, rows_bytes)
        if origin.counts_to and origin.wants_sync:
            entry.reply_after_insert = counts.of_verdict(worker, verdict)
        elif origin.counts_to:
            entry.reply = counts.of_verdict(worker, verdict)
        return entry

    def _waiting_bytes(self, entry: Entry, rows_bytes: int) -> int:
        """The memory of an entry that waits, less where its row has at least half of the body: that is let go of."""
        if self._payload < 0 or len(entry.message.body) < SHARED_BYTES or isinstance(entry.rows, MixedRows):
            return rows_bytes
        if len(entry.rows) != 1:
            return rows_bytes
        text = entry.rows[0][self._payload]
        # A sender could end a large file with a small text that is the row's payload.
        if text.__class__ is not str or 2 * len(text) < len(entry.message.body) or not entry.share_body(text):
            return rows_bytes
        return sys.getsizeof(text) // ONCE_SHARE + ROW_BYTES

    def _with_size(self, message: Message, origin: Origin, verdict: Verdict) -> tuple[Verdict, int]:
        return verdict, _rows_bytes(message, origin, verdict.rows, self._payload)


def _rows_bytes(message: Message, origin: Origin, rows: Rows, payload: int) -> int:
    """The memory of the rows: a part of what blocks take, and what is told of the others."""
    if not isinstance(rows, MixedRows):
        return _list_bytes(message, origin, rows, payload)
    blocks = sum(piece.size_bytes() for piece in rows.pieces if isinstance(piece, RowBlock))
    return blocks // BLOCK_SHARE + sum(2 * len(str(row[payload])) + ROW_BYTES for row in rows.loose())


def _list_bytes(message: Message, origin: Origin, rows: list[Row], payload: int) -> int:
    """The memory of the rows. A compressed body says nothing about it: one of 6 kB may inflate to 6 MB.

    A payload is about as long as all other columns together. Rows without one are measured by marshal, which walks
    them in C and is never read back, but costs ten times as much (docs/decisions/0027-tricks.md).
    """
    if not origin.content_encoding or origin.content_encoding == "identity":
        return len(message.body)
    if payload >= 0:
        return sum(2 * len(str(row[payload])) + ROW_BYTES for row in rows)
    try:
        return len(marshal.dumps([tuple(row) for row in rows]))
    except ValueError:
        return len(message.body)
