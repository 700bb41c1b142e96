"""What a later processing of a message has made untrue: rows it no longer makes, dead letters that became rows.

A row that is made again replaces itself. One that a changed normaliser places elsewhere, or makes no more, would stay
beside the new ones: it is recognised by its generation, and removed here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ops.runtime.stream_reader import StoredMessage, delete, read
from ops.runtime.stream_state import stream_state
from schemas import headers, subjects
from schemas.rows import EVENTS_TABLE
from schemas.subjects import DEAD, REFUSED

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client as ClickHouseClient
    from nats.aio.client import Client

# Bodies whose messages are compared with the rows at once: bounds the set the server builds for IN.
BODIES_AT_ONCE: Final = 200_000
_GENERATION_MASK: Final = headers.MAX_GENERATION

# (channel, stage, sequence of the body, index of the item): which message of which worker.
Message = tuple[int, str, int, int]

# On replicated tables a DELETE with a subquery is refused unless the asker says that it may run anywhere. This one may:
# every server finds the same messages, for the replay that it asks about has ended.
_DELETING: Final = {"allow_nondeterministic_mutations": 1}

_LEFT: Final = """
bitAnd(version, {mask:UInt64}) < {generation:UInt32}
AND source_seq >= {first:UInt64} AND source_seq < {end:UInt64}
AND (channel_id, source_seq, source_item) IN (
    SELECT channel_id, origin_seq, item_index FROM {database:Identifier}.taken_rows FINAL
    WHERE generation = {generation:UInt32} AND stage != {unpack:String}
      AND origin_seq >= {first:UInt64} AND origin_seq < {end:UInt64}
)"""


def remove_rows(client: ClickHouseClient, generation: int, bodies: range, *, stored_in: str = EVENTS_TABLE) -> int:
    """Deletes rows of replayed messages which the replay did not make again; returns how many readers saw.

    They may lie in any partition, so `bodies` alone bounds the search. `stored_in` is the table to delete from, on a
    cluster not the one to read. Raises what the client raises.
    """
    removed = 0
    for first in range(bodies.start, bodies.stop, BODIES_AT_ONCE):
        wanted = {
            "generation": generation,
            "mask": _GENERATION_MASK,
            "first": first,
            "end": min(bodies.stop, first + BODIES_AT_ONCE),
            "unpack": subjects.UNPACK,
            "database": client.database,
        }
        globally = _LEFT.replace(" IN (", " GLOBAL IN (")
        found = client.query(f"SELECT count() FROM event_rows FINAL WHERE {globally}", parameters=wanted)
        left = found.result_rows[0][0]
        if left:
            client.command(f"DELETE FROM {stored_in} WHERE {_LEFT}", parameters=wanted, settings=_DELETING)
            removed += left
    return removed


def message_of(told: StoredMessage) -> Message:
    """Which message a dead letter is, from its subject and headers."""
    _, stage, *_, channel = told.subject.split(".")
    return (
        _number(channel),
        told.headers.get(headers.DEAD_STAGE, stage),
        _number(told.headers.get(headers.ORIGIN_SEQ, "")),
        _number(told.headers.get(headers.ITEM_INDEX, "")),
    )


def generation_of(told: StoredMessage) -> int:
    """Which processing of it has died."""
    return _number(told.headers.get(headers.REPLAY_GENERATION, ""))


async def remove_letters(nats: Client, client: ClickHouseClient) -> int:
    """Deletes dead letters whose messages were processed again since, whatever came of that; returns how many.

    If a message died again, it left a newer letter, which stays.
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
        async for letter in read(js, stream, range(state.first_seq, state.last_seq + 1), headers_only=True):
            if newest.get(message_of(letter), 0) > generation_of(letter):
                await delete(js, stream, letter.seq)
                removed += 1
    return removed


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
