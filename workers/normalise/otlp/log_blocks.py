"""Blocks of log records to rows: which column of a row is which part of a block. `_log_blocks.c` makes the parts.

The rows are those of log.py. LAYOUT has every column of a log's row: a new one is added to it, and to the C code if it
is not the same for all rows of a scope.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Final

import orjson

from schemas.blocks.columns import DATE_TIME, DICTIONARY, TEXT, Column, Ids, Numbers, Ordinals, Texts
from schemas.blocks.rows import RowBlock
from schemas.blocks.word_columns import BlockWords, WordLists
from schemas.compiled import readers as compiled
from schemas.headers import Origin
from schemas.otlp.record_blocks import LOGS, BlockParts, RecordBlock, RecordReader
from workers.normalise.otlp import block_columns
from workers.normalise.otlp.log import COLUMNS, REPAIRS_IN_BLOCKS, severity_of
from workers.normalise.otlp.values import Shared, TimeRange, hashed_bytes

KIND: Final = "otlp_log"
# What the C code makes, in its order; the ids are made when the place of a block in its body is known.
PARTS: Final = (
    *("index", "timestamp", "observed_at", "trace_id", "span_id", "trace_flags", "severity_number", "severity_text"),
    *("name", "body"),
    *block_columns.MAP_PARTS,
    *("repairs", "payload", "event_id"),
)
# The longest text that ids may begin with: BLAKE2b takes 128 bytes at once, 24 of them are the record's number.
MAX_PREFIX_BYTES: Final = 104
_EMPTY: Final = {"original_timestamp_ns": "UInt64", "dropped_attributes_count": "UInt32", "group_hash": TEXT}
_LISTS: Final = tuple(
    tuple(repair for bit, repair in enumerate(REPAIRS_IN_BLOCKS) if bits >> bit & 1)
    for bits in range(1 << len(REPAIRS_IN_BLOCKS))
)
_MADE: Final[list[Column]] = [
    Ids("event_id", PARTS.index("event_id")),
    Numbers("timestamp", DATE_TIME, PARTS.index("timestamp")),
    Numbers("observed_at", DATE_TIME, PARTS.index("observed_at")),
    Ordinals("source_ordinal", PARTS.index("index")),
    *(Texts(name, PARTS.index(name)) for name in ("trace_id", "span_id", "name", "body", "payload")),
    Numbers("trace_flags", "UInt32", PARTS.index("trace_flags")),
    Numbers("severity_number", "UInt8", PARTS.index("severity_number")),
    BlockWords("severity_text", PARTS.index("severity_text")),
    WordLists("repairs", PARTS.index("repairs"), _LISTS, f"Array({DICTIONARY})"),
    *block_columns.maps(PARTS),
]
LAYOUT: Final = block_columns.layout(KIND, COLUMNS, _MADE, _EMPTY)


def reader(times: TimeRange, prefix: bytes) -> RecordReader:
    """Reads the log records of one message; `prefix` is what their ids begin with."""
    make = compiled.log_block
    if make is None or len(prefix) > MAX_PREFIX_BYTES:
        return LOGS
    rules = (*times, needs_care, severity_of, orjson.dumps)

    def make_block(chunks: list[bytes], most_odd: int) -> BlockParts | None:
        return make(chunks, *rules, most_odd)

    return replace(LOGS, make=make_block)


def prefix_of(origin: Origin) -> bytes:
    """What the ids of its records begin with."""
    return hashed_bytes("otlp.log", origin.channel_id, origin.origin_id)


@lru_cache(4096)
def needs_care(key: str) -> int:
    """As of a span; and the older name of an event is the row's name."""
    return block_columns.ALWAYS if key == "event.name" else block_columns.needs_care(key)


def row_block(logs: RecordBlock, first: int, shared: Shared, prefix: bytes) -> RowBlock:
    """The rows of the usual records of a block; `first` is the ordinal of its first. Those of others are missing."""
    assert compiled.record_ids is not None
    ids = compiled.record_ids(logs.parts[0], prefix, first)
    count = len(logs) - len(logs.odd)
    return RowBlock(LAYOUT, (*logs.parts, ids), logs.keys, shared.head + shared.tail, first, count, words=logs.words)
