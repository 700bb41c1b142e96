"""Dead letters: found in DEAD, processed again, or given up for good. Where letters come from is
workers/store/dead_letters.py.

The stream keeps each with the bytes and headers it died with, and is what is worked on here; the table of the same
name is for queries, and follows.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from nats.js.errors import NotFoundError

from ops.cli.servers import insert_rows
from ops.replay import reprocess
from ops.replay.superseded import Message, message_of
from ops.runtime.failures import Failed
from ops.runtime.stream_reader import StoredMessage, delete, read
from ops.runtime.stream_state import stream_state
from schemas import headers
from schemas.outcomes import DEAD as DEAD_OUTCOME
from schemas.outcomes import DROPPED, INVALID, LEDGER_COLUMNS, OUTCOME_COLUMNS, LedgerRow, OutcomeRow
from schemas.rows import LEDGER_TABLE, OUTCOMES_TABLE
from schemas.subjects import DEAD, REFUSED, UNPACK, dead_stream

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client as ClickHouseClient
    from nats.aio.client import Client
    from nats.js import JetStreamContext

    from ops.replay.control import Control

GIVEN_UP: Final = "dead_dropped"
# Letters that are looked up and written at once.
AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter. `seqs` are its numbers, the newest first: a message that died again has several."""

    seqs: tuple[int, ...]
    message: Message
    organisation: str
    item_type: str
    reason: str
    error: str
    origin_subject: str
    received_at: dt.datetime
    deliveries: int
    size_bytes: int

    @property
    def seq(self) -> int:
        """What a person calls it by."""
        return self.seqs[0]

    @property
    def channel(self) -> int:
        return self.message[0]

    @property
    def stage(self) -> str:
        """The worker that gave up on it."""
        return self.message[1]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which letters are meant; what is empty means all. Times are those of the body's arrival."""

    seqs: Sequence[int] = ()
    reasons: Sequence[str] = ()
    stages: Sequence[str] = ()
    types: Sequence[str] = ()
    channels: Sequence[int] = ()
    since: dt.datetime | None = None
    until: dt.datetime | None = None

    def wants(self, letter: DeadLetter) -> bool:
        """Whether `letter` is meant."""
        return (
            (not self.seqs or any(seq in self.seqs for seq in letter.seqs))
            and (not self.reasons or letter.reason in self.reasons)
            and (not self.stages or letter.stage in self.stages)
            and (not self.types or letter.item_type in self.types)
            and (not self.channels or letter.channel in self.channels)
            and (self.since is None or letter.received_at >= self.since)
            and (self.until is None or letter.received_at < self.until)
        )


class DeadStream:
    """The streams DEAD and REFUSED, for one command. Methods raise NatsError."""

    def __init__(self, client: Client, control: Control) -> None:
        self._client = client
        self._js: JetStreamContext = client.jetstream(timeout=10)
        self._control = control

    async def find(self, wanted: Filter) -> list[DeadLetter]:
        """Letters that `wanted` means, oldest first; a message that died more than once in one stage is one letter."""
        found: dict[Message, DeadLetter] = {}
        async for stored in self._headers():
            letter = describe(stored)
            before = found.pop(letter.message, None)
            if before is not None:
                letter = _merged(letter, before)
            found[letter.message] = letter
        return sorted(filter(wanted.wants, found.values()), key=lambda letter: letter.received_at)

    async def whole(self, seq: int) -> StoredMessage:
        """A letter with its bytes. Raises Failed when there is none."""
        try:
            found = await self._js.get_msg(dead_stream(seq), seq=seq)
        except NotFoundError as error:
            raise Failed(f"expected dead letter {seq}, found none: `axonpush dead list` shows what there is") from error
        body = found.data or b""
        stored_at_ns = int(found.time.timestamp() * 1e9) if found.time else 0
        return StoredMessage(seq, found.subject or "", found.headers or {}, body, len(body), stored_at_ns)

    async def retry(self, letters: Sequence[DeadLetter]) -> tuple[int, list[DeadLetter]]:
        """Has every letter processed again as the message it was; returns the generation, and those that cannot be.

        A letter leaves DEAD once the broker has the message in REPLAY. If this is cut short between the two, the letter
        is still there, and a second retry makes the same rows.
        """
        generation = await self._control.next_generation()
        left: list[DeadLetter] = []
        for letter in letters:
            if not letter.origin_subject.startswith(("raw.", "item.")):
                left.append(letter)
                continue
            stored = await self.whole(letter.seq)
            await reprocess.publish(self._js, reprocess.again(stored, generation, subject=letter.origin_subject))
            await self._delete(letter)
        return generation, left

    async def drop(self, letters: Sequence[DeadLetter], clickhouse: ClickHouseClient) -> int:
        """Gives letters up for good: from now on they count as dropped. Returns the generation."""
        generation = await self._control.next_generation()
        for start in range(0, len(letters), AT_ONCE):
            some = letters[start : start + AT_ONCE]
            book_as_dropped(clickhouse, some, generation)
            for letter in some:
                await self._delete(letter)
        return generation

    async def _headers(self) -> AsyncIterator[StoredMessage]:
        for stream in (REFUSED, DEAD):
            state = await stream_state(self._client, stream)
            async for stored in read(self._js, stream, range(state.first_seq, state.last_seq + 1), headers_only=True):
                yield stored

    async def _delete(self, letter: DeadLetter) -> None:
        for seq in letter.seqs:
            await delete(self._js, dead_stream(seq), seq)


def describe(stored: StoredMessage) -> DeadLetter:
    """A letter from its subject and headers."""
    told = stored.headers
    _, _, item_type, *_ = (*stored.subject.split("."), "", "")
    received_at_ns = _number(told.get(headers.RECEIVED_AT, "")) or stored.stored_at_ns
    return DeadLetter(
        seqs=(stored.seq,),
        message=message_of(stored),
        organisation=told.get(headers.ORGANISATION, ""),
        item_type=item_type,
        reason=told.get(headers.DEAD_REASON, "unknown"),
        error=told.get(headers.DEAD_ERROR, ""),
        origin_subject=told.get(headers.ORIGIN_SUBJECT, ""),
        received_at=_time(received_at_ns),
        deliveries=_number(told.get(headers.DELIVERIES, "")),
        size_bytes=stored.size_bytes,
    )


def _merged(newer: DeadLetter, older: DeadLetter) -> DeadLetter:
    return DeadLetter(
        **{name: getattr(newer, name) for name in newer.__slots__ if name != "seqs"}, seqs=newer.seqs + older.seqs
    )


# --- the reconciliation


# In the order of OutcomeRow, with the body's sequence in the place of the version.
_OUTCOMES: Final = """
SELECT minute, organisation, channel_id, key_id, item_type, outcome, reason, source_id, quantity, origin_seq, stage,
       item_index
FROM outcome_rows FINAL
LEFT ANY JOIN
(
    SELECT channel_id, minute, stage, origin_seq, item_index, generation AS newest FROM taken_rows FINAL
    WHERE generation > 0
) AS replayed USING (channel_id, minute, stage, origin_seq, item_index)
WHERE generation >= newest
  AND (channel_id, stage, origin_seq, item_index) IN {messages:Array(Tuple(UInt64, String, UInt64, UInt32))}"""

# What is stored of these messages stays stored: it moves into the new generation with them.
_STORED: Final = """
INSERT INTO stored_rows (minute, organisation, channel_id, source_seq, source_item, generation, ordinals)
SELECT minute, organisation, channel_id, source_seq, source_item, {generation:UInt32}, ordinals
FROM stored_messages
WHERE (channel_id, source_seq, source_item) IN {messages:Array(Tuple(UInt64, UInt64, UInt32))}"""

_TAKEN: Final = """
SELECT channel_id, stage, origin_seq, item_index, argMax(units, generation) FROM taken_rows
WHERE (channel_id, stage, origin_seq, item_index) IN {messages:Array(Tuple(UInt64, String, UInt64, UInt32))}
GROUP BY channel_id, stage, origin_seq, item_index"""


def book_as_dropped(client: ClickHouseClient, letters: Sequence[DeadLetter], generation: int) -> None:
    """Writes that what was dead of these messages is dropped, and that the rest of them is as it was.

    The line in taken_rows comes last: it is what makes the earlier outcomes invalid. Raises what the client raises.
    """
    wanted = {"messages": [letter.message for letter in letters]}
    outcomes = client.query(_OUTCOMES, parameters=wanted).result_rows
    if outcomes:
        rows = [_dropped(row, generation) for row in outcomes]
        insert_rows(client, OUTCOMES_TABLE, rows, OUTCOME_COLUMNS)
    events = [(letter.channel, *letter.message[2:]) for letter in letters if letter.stage != UNPACK]
    if events:
        client.command(_STORED, parameters={"generation": generation, "messages": events})
    units = {tuple(row[:4]): row[4] for row in client.query(_TAKEN, parameters=wanted).result_rows}
    stored = [OutcomeRow(*row) for row in outcomes]
    minutes = {(row.channel_id, row.stage, row.version, row.item_index): row.minute for row in stored}
    ledger = [
        LedgerRow(
            minutes.get(letter.message, letter.received_at.replace(second=0, microsecond=0)),
            letter.organisation,
            *letter.message,
            generation=generation,
            units=units.get(letter.message, 1),
        )
        for letter in letters
    ]
    insert_rows(client, LEDGER_TABLE, ledger, LEDGER_COLUMNS)


def _dropped(row: Sequence[Any], generation: int) -> OutcomeRow:
    """A row of _OUTCOMES once more, with what was dead in it dropped."""
    stored = OutcomeRow(*row)
    origin_seq = int(stored.version)
    again = stored._replace(version=headers.row_version(origin_seq, generation))
    if stored.outcome not in {DEAD_OUTCOME, INVALID}:
        return again
    return again._replace(outcome=DROPPED, reason=f"{GIVEN_UP}:{stored.reason}")


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def _time(time_ns: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(time_ns // 1000 / 1e6, dt.UTC)
