"""Blocks of spans to rows: which column of a row is which part of a block. `_span_blocks.c` makes the parts.

The rows are those of plain_spans. LAYOUT has every column of a span's row: a new one is added to it, and to the C code
if it is not the same for all rows of a scope.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from schemas.blocks.columns import (
    DATE_TIME,
    DICTIONARY,
    TEXT,
    Column,
    Constant,
    Empty,
    Ids,
    Maps,
    Numbers,
    Ordinals,
    Texts,
    Words,
)
from schemas.blocks.rows import Layout, RowBlock
from schemas.headers import Origin
from schemas.otlp.span_blocks import BlockRules, SpanBlock
from workers.normalise import gen_ai
from workers.normalise.otlp.span import COLUMNS, KINDS, STATUSES
from workers.normalise.otlp.values import ORIGIN_COLUMNS, SCOPE_COLUMNS, Shared, TimeRange, hashed_bytes
from workers.normalise.secret_headers import ADDRESS_KEYS, has_secrets, may_name_secrets

KIND: Final = "otlp_span"
# What the C code makes, in its order. A map has three parts.
PARTS: Final = (
    *("index", "event_id", "timestamp", "trace_id", "span_id", "parent_span_id", "trace_state", "trace_flags"),
    *("span_kind", "status", "status_message", "duration_ns", "name"),
    *("attributes_string", "", "", "attributes_int", "", "", "attributes_double", "", "", "attributes_bool", "", ""),
    "payload",
)
_TEXT_MAP: Final = f"Map({DICTIONARY}, {TEXT})"
_SHARED: Final = {
    "organisation": DICTIONARY,
    "channel_id": "UInt64",
    "key_id": DICTIONARY,
    "environment": DICTIONARY,
    "version": "UInt64",
    "event_type": DICTIONARY,
    "item_type": DICTIONARY,
    "received_at": DATE_TIME,
    "source_seq": "UInt64",
    "resource": _TEXT_MAP,
    "service_name": DICTIONARY,
    "scope_name": DICTIONARY,
    "scope_version": DICTIONARY,
    "scope_attributes": _TEXT_MAP,
    "schema_url": DICTIONARY,
}
_EMPTY: Final = {
    **dict.fromkeys(("span_events", "span_links", "group_hash"), TEXT),
    **dict.fromkeys(("exception_type", "exception_message", "exception_stacktrace"), TEXT),
    **dict.fromkeys(("dropped_attributes_count", "dropped_events_count", "dropped_links_count"), "UInt32"),
    "original_timestamp_ns": "UInt64",
    "repairs": f"Array({DICTIONARY})",
}
_MADE: Final[tuple[Column, ...]] = (
    Ids("event_id", PARTS.index("event_id")),
    Numbers("timestamp", DATE_TIME, PARTS.index("timestamp")),
    Ordinals("source_ordinal", PARTS.index("index")),
    *(Texts(name, PARTS.index(name)) for name in ("trace_id", "span_id", "parent_span_id", "trace_state")),
    *(Texts(name, PARTS.index(name)) for name in ("status_message", "name")),
    Numbers("trace_flags", "UInt32", PARTS.index("trace_flags")),
    Words("span_kind", PARTS.index("span_kind"), tuple(KINDS[kind] for kind in range(len(KINDS)))),
    Words("status", PARTS.index("status"), tuple(STATUSES[code] for code in range(len(STATUSES)))),
    Numbers("duration_ns", "UInt64", PARTS.index("duration_ns")),
    *(
        Maps(f"attributes_{suffix}", PARTS.index(f"attributes_{suffix}"), value_type)
        for suffix, value_type in (("string", TEXT), ("int", "Int64"), ("double", "Float64"), ("bool", "Bool"))
    ),
    Texts("payload", PARTS.index("payload")),
)


def _layout() -> Layout:
    shared = [*ORIGIN_COLUMNS, *SCOPE_COLUMNS]
    known: dict[str, Column] = {column.name: column for column in _MADE}
    known |= {name: Constant(name, type_, shared.index(name)) for name, type_ in _SHARED.items()}
    known |= {name: Empty(name, type_) for name, type_ in _EMPTY.items()}
    columns = tuple(known[name] for name in (*ORIGIN_COLUMNS, *COLUMNS, *SCOPE_COLUMNS))
    return Layout(KIND, columns, [column.name for column in columns].index("source_ordinal"))


LAYOUT: Final = _layout()


def rules(origin: Origin, times: TimeRange) -> BlockRules:
    """What the spans of one message are read with."""
    prefix = hashed_bytes("otlp.span", origin.channel_id)
    return BlockRules(prefix, times.earliest_ns, times.latest_ns, needs_care)


@lru_cache(4096)  # the same few keys come again and again
def needs_care(key: str) -> int:
    """What a span with such an attribute is: 0 a usual one; 1 none (an exception, a call of a model, what may hold
    secrets); 2 none if the text has an @, because it is an address and a password may stand in it.
    """
    # A look for a few words first: a body may have thousands of keys that nobody has seen.
    if key in gen_ai.MARKS or key.startswith("exception.") or (may_name_secrets((key,)) and has_secrets(key)):
        return 1
    return 2 if key in ADDRESS_KEYS else 0


def row_block(spans: SpanBlock, first: int, shared: Shared) -> RowBlock:
    """The rows of the usual spans of a block; `first` is the ordinal of its first span. Those of others are missing."""
    count = len(spans) - len(spans.odd)
    return RowBlock(LAYOUT, spans.parts, spans.keys, shared.head + shared.tail, first, count)
