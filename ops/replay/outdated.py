"""Removes what a replay made outdated: rows that are no longer made, and dead letters processed again.

A row that is made again replaces the old one. If a changed normaliser gives a row another sort key, or makes it no
more, the old row would stay. It has a lower generation and is removed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ops.runtime.stream_reader import StoredMessage, delete, read_messages
from ops.runtime.stream_state import stream_state
from schemas import headers, subjects
from schemas.outcomes import DROPPED
from schemas.rows import EVENTS_TABLE
from schemas.subjects import DEAD, REFUSED

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client as ClickHouseClient
    from nats.aio.client import Client

# Reason of the outcome of a dropped dead letter, before the reason of the dead letter.
GIVEN_UP: Final = "dead_dropped"
# Bodies per DELETE; limits the size of the set that ClickHouse builds for IN.
BODIES_AT_ONCE: Final = 200_000
_GENERATION_MASK: Final = headers.MAX_GENERATION

# (channel, stage, sequence of the body, index of the item): identifies one message of one worker.
Message = tuple[int, str, int, int]

# Replicated tables refuse a DELETE with a subquery unless it is marked as safe. It is safe here: the replay has ended,
# so every server finds the same messages.
_DELETING: Final = {"allow_nondeterministic_mutations": 1}

_LEFT: Final = """
bitAnd(version, {mask:UInt64}) < {generation:UInt32}
AND source_seq >= {first:UInt64} AND source_seq < {end:UInt64}
AND (channel_id, source_seq, source_item) IN (
    SELECT channel_id, origin_seq, item_index FROM {database:Identifier}.taken_rows FINAL
    WHERE generation = {generation:UInt32} AND stage != {unpack:String}
      AND origin_seq >= {first:UInt64} AND origin_seq < {end:UInt64}
)"""


def remove_outdated_rows(
    client: ClickHouseClient, generation: int, bodies: range, *, table: str = EVENTS_TABLE, stored_in: str = ""
) -> int:
    """Deletes rows of replayed messages that the replay did not make again; returns their number.

    They may be in any partition, so only `bodies` limits the search. `stored_in` is where to delete from if it is not
    `table`: on a cluster, the local one. Of `error_rows`, an outdated row may also be one that is no error any more.
    Raises what the client raises.
    """
    removed = 0
    for first in range(bodies.start, bodies.stop, BODIES_AT_ONCE):
        parameters = {
            "generation": generation,
            "mask": _GENERATION_MASK,
            "first": first,
            "end": min(bodies.stop, first + BODIES_AT_ONCE),
            "unpack": subjects.UNPACK,
            "database": client.database,
        }
        globally = _LEFT.replace(" IN (", " GLOBAL IN (")
        result = client.query(f"SELECT count() FROM {table} FINAL WHERE {globally}", parameters=parameters)
        outdated = result.result_rows[0][0]
        if outdated:
            client.command(f"DELETE FROM {stored_in or table} WHERE {_LEFT}", parameters=parameters, settings=_DELETING)
            removed += outdated
    return removed


# Dead letters of these bodies that still count as dropped: a replay replaces that.
_DROPPED: Final = """
SELECT uniqExact(channel_id, stage, origin_seq, item_index)
FROM outcome_rows FINAL
LEFT ANY JOIN
(
    SELECT channel_id, minute, stage, origin_seq, item_index, generation AS newest FROM taken_rows FINAL
    WHERE generation > 0
) AS replayed USING (channel_id, minute, stage, origin_seq, item_index)
WHERE generation >= newest AND outcome = {dropped:String} AND startsWith(reason, {reason:String})
  AND origin_seq >= {first:UInt64} AND origin_seq < {end:UInt64}
  AND (empty({channels:Array(UInt64)}) OR has({channels:Array(UInt64)}, channel_id))"""


def count_dropped(client: ClickHouseClient, bodies: range, channels: Sequence[int]) -> int:
    """How many dead letters of these bodies were dropped and not processed since. Raises what the client raises."""
    parameters = {
        "dropped": DROPPED,
        "reason": f"{GIVEN_UP}:",
        "first": bodies.start,
        "end": bodies.stop,
        "channels": list(channels),
    }
    return int(client.query(_DROPPED, parameters=parameters).result_rows[0][0])


def message_of(stored: StoredMessage) -> Message:
    """The message of a dead letter, from its subject and headers."""
    _, stage, *_, channel = stored.subject.split(".")
    return (
        _number(channel),
        stored.headers.get(headers.DEAD_STAGE, stage),
        _number(stored.headers.get(headers.ORIGIN_SEQ, "")),
        _number(stored.headers.get(headers.ITEM_INDEX, "")),
    )


def generation_of(stored: StoredMessage) -> int:
    """The generation in which the message failed."""
    return _number(stored.headers.get(headers.REPLAY_GENERATION, ""))


async def remove_outdated_dead_letters(nats: Client, client: ClickHouseClient) -> int:
    """Deletes dead letters whose messages were processed again later; returns their number.

    If a message failed again, it has a newer dead letter, which stays.
    """
    newest = {
        (channel, stage, seq, item): generation
        for channel, stage, seq, item, generation in client.query(
            "SELECT channel_id, stage, origin_seq, item_index, max(generation) FROM taken_rows "
            "WHERE generation > 0 GROUP BY ALL"
        ).result_rows
    }
    if not newest:
        return 0
    js, removed = nats.jetstream(timeout=10), 0
    for stream in (DEAD, REFUSED):
        state = await stream_state(nats, stream)
        async for dead_letter in read_messages(
            js, stream, range(state.first_seq, state.last_seq + 1), headers_only=True
        ):
            if newest.get(message_of(dead_letter), 0) > generation_of(dead_letter):
                await delete(js, stream, dead_letter.seq)
                removed += 1
    return removed


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
