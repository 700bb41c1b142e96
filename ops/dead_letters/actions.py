"""Finds, retries and drops dead letters. workers/store/dead_letters.py writes them.

The streams DEAD and REFUSED keep each dead letter with its bytes and headers; these functions work on the streams. The
table `dead_letters` is a copy for queries.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from nats.js.errors import NotFoundError

from ops.cli.servers import insert_rows
from ops.provisioning.system.same_system import check_same_system
from ops.registry.channel_check import check_channels
from ops.replay import reprocess
from ops.replay.outdated import GIVEN_UP, Message, message_of
from ops.runtime.failures import Failed
from ops.runtime.stream_reader import StoredMessage, delete, read_messages
from ops.runtime.stream_state import stream_state
from schemas import headers
from schemas.outcomes import DEAD as DEAD_OUTCOME
from schemas.outcomes import DROPPED, INVALID, LEDGER_COLUMNS, OUTCOME_COLUMNS, LedgerRow, OutcomeRow
from schemas.rows import LEDGER_TABLE, OUTCOMES_TABLE
from schemas.subjects import DEAD, REFUSED, SOURCES, UNPACK, dead_stream

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client as ClickHouseClient
    from nats.aio.client import Client
    from nats.js import JetStreamContext

    from ops.replay.control import Control
    from ops.runtime.settings import Settings

# Dead letters looked up and written per query.
AT_ONCE: Final = 500
# More channels than this are not asked one by one.
MAX_SUBJECTS: Final = 50
_SUBJECTS: Final = {DEAD: "dead.*.*", REFUSED: "refused.*.*.*"}


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter. `seqs` are its sequences, newest first: a message that failed again has several."""

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
        """The number shown to users."""
        return self.seqs[0]

    @property
    def channel(self) -> int:
        return self.message[0]

    @property
    def stage(self) -> str:
        """The worker that gave up."""
        return self.message[1]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which dead letters are chosen; an empty field means all. Times are when the body was received."""

    seqs: Sequence[int] = ()
    reasons: Sequence[str] = ()
    stages: Sequence[str] = ()
    types: Sequence[str] = ()
    channels: Sequence[int] = ()
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    organisations: Sequence[str] = ()

    def owns(self, dead_letter: DeadLetter) -> bool:
        """Whether `dead_letter` is of a chosen organisation and channel. Equal for all that a message became."""
        return (not self.channels or dead_letter.channel in self.channels) and (
            not self.organisations or dead_letter.organisation in self.organisations
        )

    def subjects(self, stream: str) -> tuple[str, ...]:
        """Subjects that all chosen dead letters of the stream have; none means all."""
        if len(self.channels) > MAX_SUBJECTS:
            return ()
        return tuple(f"{_SUBJECTS[stream]}.{channel}" for channel in self.channels)

    def wants(self, dead_letter: DeadLetter) -> bool:
        """Whether `dead_letter` is chosen."""
        return (
            (not self.seqs or any(seq in self.seqs for seq in dead_letter.seqs))
            and (not self.reasons or any(is_of_reason(dead_letter.reason, reason) for reason in self.reasons))
            and (not self.stages or dead_letter.stage in self.stages)
            # A worker's name too, as `replay --type` takes it: native events have the type `event`.
            and (not self.types or not {dead_letter.item_type, dead_letter.stage}.isdisjoint(self.types))
            and self.owns(dead_letter)
            and (self.since is None or dead_letter.received_at >= self.since)
            and (self.until is None or dead_letter.received_at < self.until)
        )


def is_of_reason(reason: str, asked: str) -> bool:
    """Whether a dead letter has this reason; `row_refused` means every code of ClickHouse."""
    return reason == asked or (asked == ROW_REFUSED and reason.startswith(f"{ROW_REFUSED}_"))


ROW_REFUSED: Final = "row_refused"
# Reasons that workers give, besides `row_refused_…` with ClickHouse's code.
REASONS: Final = (
    "invalid", "normaliser_error", "too_costly", "poison", "unknown_route", "unreadable_headers", ROW_REFUSED,
)  # fmt: skip


def unknown_words(wanted: Filter, present: Sequence[DeadLetter]) -> str:
    """What of a filter is no reason, worker or item type at all, and what there is; empty if all is known."""
    workers = tuple(SOURCES)
    known = {
        "--reason": (wanted.reasons, {*REASONS, *(dead_letter.reason for dead_letter in present)}),
        "--stage": (wanted.stages, {*workers, *(dead_letter.stage for dead_letter in present)}),
        "--type": (wanted.types, {*workers, *(dead_letter.item_type for dead_letter in present)}),
    }
    texts = [
        f"{option}: expected {', '.join(sorted(words))}, found {word!r}"
        for option, (asked, words) in known.items()
        for word in asked
        if word not in words and not (option == "--reason" and word.startswith("row_refused_"))
    ]
    return "; ".join(texts)


class DeadStream:
    """Access to the streams DEAD and REFUSED for one command. Methods raise NatsError."""

    def __init__(self, client: Client, control: Control) -> None:
        self._client = client
        self._js: JetStreamContext = client.jetstream(timeout=10)
        self._control = control

    async def check_tables(
        self, settings: Settings, *, needs_clickhouse: bool = True, needs_tables: bool = True
    ) -> None:
        """Refuses to work on the tables of another system, or without them. Raises Failed."""
        await check_same_system(self._client, settings, needs_clickhouse=needs_clickhouse, needs_tables=needs_tables)

    async def check_channels(self, wanted: Filter, present: Sequence[DeadLetter]) -> None:
        """Raises Failed for a channel that does not exist and has no dead letter."""
        await check_channels(
            self._client, wanted.channels, {dead_letter.channel for dead_letter in present}, "dead letter"
        )

    async def find(self, wanted: Filter) -> list[DeadLetter]:
        """The chosen dead letters, oldest first. A message that failed twice in one stage is one dead letter."""
        by_message: dict[Message, DeadLetter] = {}
        async for stored in self._headers(wanted):
            dead_letter = describe(stored)
            if not wanted.owns(dead_letter):
                continue
            older = by_message.pop(dead_letter.message, None)
            if older is not None:
                dead_letter = _merged(dead_letter, older)
            by_message[dead_letter.message] = dead_letter
        return sorted(filter(wanted.wants, by_message.values()), key=lambda dead_letter: dead_letter.received_at)

    async def whole(self, seq: int) -> StoredMessage:
        """A dead letter with its bytes. Raises Failed if there is none."""
        try:
            raw_message = await self._js.get_msg(dead_stream(seq), seq=seq)
        except NotFoundError as error:
            raise Failed(f"expected dead letter {seq}, found none: `axonpush dead list` shows all") from error
        body = raw_message.data or b""
        stored_at_ns = int(raw_message.time.timestamp() * 1e9) if raw_message.time else 0
        return StoredMessage(seq, raw_message.subject or "", raw_message.headers or {}, body, len(body), stored_at_ns)

    async def retry(self, dead_letters: Sequence[DeadLetter]) -> tuple[int, list[DeadLetter]]:
        """Publishes the messages again as they were; returns the generation and the dead letters that cannot be
        retried.

        A dead letter is deleted once the broker has stored the message in REPLAY. If this is interrupted in between,
        the dead letter stays, and a second retry makes the same rows.
        """
        generation = await self._control.next_generation()
        left: list[DeadLetter] = []
        for dead_letter in dead_letters:
            if not dead_letter.origin_subject.startswith(("raw.", "item.")):
                left.append(dead_letter)
                continue
            stored = await self.whole(dead_letter.seq)
            await reprocess.publish(
                self._js, reprocess.reprocessed(stored, generation, subject=dead_letter.origin_subject)
            )
            await self._delete(dead_letter)
        return generation, left

    async def drop(self, dead_letters: Sequence[DeadLetter], clickhouse: ClickHouseClient) -> int:
        """Drops dead letters: they count as dropped, until a replay of their bodies. Returns the generation."""
        generation = await self._control.next_generation()
        for start in range(0, len(dead_letters), AT_ONCE):
            some = dead_letters[start : start + AT_ONCE]
            await asyncio.to_thread(record_as_dropped, clickhouse, some, generation)
            for dead_letter in some:
                await self._delete(dead_letter)
        return generation

    async def _headers(self, wanted: Filter) -> AsyncIterator[StoredMessage]:
        for stream in (REFUSED, DEAD):
            state = await stream_state(self._client, stream)
            seqs, subjects = range(state.first_seq, state.last_seq + 1), wanted.subjects(stream)
            async for stored in read_messages(self._js, stream, seqs, subjects=subjects, headers_only=True):
                yield stored

    async def _delete(self, dead_letter: DeadLetter) -> None:
        for seq in dead_letter.seqs:
            await delete(self._js, dead_stream(seq), seq)


def describe(stored: StoredMessage) -> DeadLetter:
    """The DeadLetter that a stored message's subject and headers describe."""
    stored_headers = stored.headers
    _, _, item_type, *_ = (*stored.subject.split("."), "", "")
    received_at_ns = _number(stored_headers.get(headers.RECEIVED_AT, "")) or stored.stored_at_ns
    return DeadLetter(
        seqs=(stored.seq,),
        message=message_of(stored),
        organisation=stored_headers.get(headers.ORGANISATION, ""),
        item_type=item_type,
        reason=stored_headers.get(headers.DEAD_REASON, "unknown"),
        error=stored_headers.get(headers.DEAD_ERROR, ""),
        origin_subject=stored_headers.get(headers.ORIGIN_SUBJECT, ""),
        received_at=_time(received_at_ns),
        deliveries=_number(stored_headers.get(headers.DELIVERIES, "")),
        size_bytes=stored.size_bytes,
    )


def _merged(newer: DeadLetter, older: DeadLetter) -> DeadLetter:
    return DeadLetter(
        **{name: getattr(newer, name) for name in newer.__slots__ if name != "seqs"}, seqs=newer.seqs + older.seqs
    )


# --- the ledger: what became of each message


# Columns in the order of OutcomeRow; the body's sequence takes the place of the version.
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

# The stored rows of these messages move into the new generation with them.
_STORED: Final = """
INSERT INTO stored_rows (minute, organisation, channel_id, source_seq, source_item, generation, ordinals)
SELECT minute, organisation, channel_id, source_seq, source_item, {generation:UInt32}, ordinals
FROM stored_messages
WHERE (channel_id, source_seq, source_item) IN {messages:Array(Tuple(UInt64, UInt64, UInt32))}"""

_TAKEN: Final = """
SELECT channel_id, stage, origin_seq, item_index, argMax(units, generation) FROM taken_rows
WHERE (channel_id, stage, origin_seq, item_index) IN {messages:Array(Tuple(UInt64, String, UInt64, UInt32))}
GROUP BY channel_id, stage, origin_seq, item_index"""


def record_as_dropped(client: ClickHouseClient, dead_letters: Sequence[DeadLetter], generation: int) -> None:
    """Records that the failed part of these messages is dropped; their other outcomes stay.

    The row in taken_rows comes last, because it makes the earlier outcomes invalid. Raises what the client raises.
    """
    parameters = {"messages": [dead_letter.message for dead_letter in dead_letters]}
    outcomes = client.query(_OUTCOMES, parameters=parameters).result_rows
    if outcomes:
        rows = [_dropped(row, generation) for row in outcomes]
        insert_rows(client, OUTCOMES_TABLE, rows, OUTCOME_COLUMNS)
    events = [
        (dead_letter.channel, *dead_letter.message[2:]) for dead_letter in dead_letters if dead_letter.stage != UNPACK
    ]
    if events:
        client.command(_STORED, parameters={"generation": generation, "messages": events})
    units = {tuple(row[:4]): row[4] for row in client.query(_TAKEN, parameters=parameters).result_rows}
    stored = [OutcomeRow(*row) for row in outcomes]
    minutes = {(row.channel_id, row.stage, row.version, row.item_index): row.minute for row in stored}
    ledger = [
        LedgerRow(
            minutes.get(dead_letter.message, dead_letter.received_at.replace(second=0, microsecond=0)),
            dead_letter.organisation,
            *dead_letter.message,
            generation=generation,
            units=units.get(dead_letter.message, 1),
        )
        for dead_letter in dead_letters
    ]
    insert_rows(client, LEDGER_TABLE, ledger, LEDGER_COLUMNS)


def _dropped(row: Sequence[Any], generation: int) -> OutcomeRow:
    """A row of _OUTCOMES for the new generation, with `dead` and `invalid` changed to `dropped`."""
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
