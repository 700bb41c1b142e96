"""Blocks of spans to rows: which column of a row is which part of a block. `_span_blocks.c` makes the parts.

The rows are those of plain_spans. LAYOUT has every column of a span's row: a new one is added to it, and to the C code
if it is not the same for all rows of a scope.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import orjson

from schemas.blocks.columns import DATE_TIME, DICTIONARY, TEXT, Column, Ids, Numbers, Ordinals, Texts
from schemas.blocks.rows import RowBlock
from schemas.blocks.word_columns import Words
from schemas.compiled import readers as compiled
from schemas.headers import Origin
from schemas.otlp.record_blocks import SPANS, BlockParts, RecordBlock, RecordReader
from workers.normalise.otlp.block_columns import MAP_PARTS, layout, maps, needs_care
from workers.normalise.otlp.span import COLUMNS, KINDS, STATUSES
from workers.normalise.otlp.values import Shared, TimeRange, hashed_bytes

KIND: Final = "otlp_span"
# What the C code makes, in its order.
PARTS: Final = (
    *("index", "event_id", "timestamp", "trace_id", "span_id", "parent_span_id", "trace_state", "trace_flags"),
    *("span_kind", "status", "status_message", "duration_ns", "name"),
    *MAP_PARTS,
    "payload",
)
_EMPTY: Final = {
    **dict.fromkeys(("span_events", "span_links", "group_hash"), TEXT),
    **dict.fromkeys(("exception_type", "exception_message", "exception_stacktrace"), TEXT),
    **dict.fromkeys(("dropped_attributes_count", "dropped_events_count", "dropped_links_count"), "UInt32"),
    "original_timestamp_ns": "UInt64",
    "repairs": f"Array({DICTIONARY})",
}
_MADE: Final[list[Column]] = [
    Ids("event_id", PARTS.index("event_id")),
    Numbers("timestamp", DATE_TIME, PARTS.index("timestamp")),
    Ordinals("source_ordinal", PARTS.index("index")),
    *(Texts(name, PARTS.index(name)) for name in ("trace_id", "span_id", "parent_span_id", "trace_state")),
    *(Texts(name, PARTS.index(name)) for name in ("status_message", "name", "payload")),
    Numbers("trace_flags", "UInt32", PARTS.index("trace_flags")),
    Words("span_kind", PARTS.index("span_kind"), tuple(KINDS[kind] for kind in range(len(KINDS)))),
    Words("status", PARTS.index("status"), tuple(STATUSES[code] for code in range(len(STATUSES)))),
    Numbers("duration_ns", "UInt64", PARTS.index("duration_ns")),
    *maps(PARTS),
]
LAYOUT: Final = layout(KIND, COLUMNS, _MADE, _EMPTY)


def reader(origin: Origin, times: TimeRange) -> RecordReader:
    """Reads the spans of one message."""
    make = compiled.span_block
    if make is None:
        return SPANS
    rules = (hashed_bytes("otlp.span", origin.channel_id), times.earliest_ns, times.latest_ns, needs_care, orjson.dumps)

    def make_block(chunks: list[bytes], most_odd: int) -> BlockParts | None:
        return make(chunks, *rules, most_odd)

    return replace(SPANS, make=make_block)


def row_block(spans: RecordBlock, first: int, shared: Shared) -> RowBlock:
    """The rows of the usual spans of a block; `first` is the ordinal of its first span. Those of others are missing."""
    count = len(spans) - len(spans.odd)
    return RowBlock(LAYOUT, spans.parts, spans.keys, shared.head + shared.tail, first, count)
