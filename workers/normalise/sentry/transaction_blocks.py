"""The spans of a transaction as columns in the format of an insert, where they are usual. `_sentry_spans.c` makes them.

The rows are those of transaction.py, which does whatever this does not take. LAYOUT has every column of a span's row: a
new one is added to it, and to the C code if it is not the same for all spans of a transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from schemas.blocks.columns import DATE_TIME, DICTIONARY, TEXT, Column, Constant, Empty, Ids, Numbers, Ordinals, Texts
from schemas.blocks.rows import Layout, RowBlock
from schemas.blocks.word_columns import BlockWords, Words
from schemas.compiled import readers as compiled
from schemas.otlp import record_blocks
from schemas.rows import APP_SPAN, Row
from workers.normalise import gen_ai
from workers.normalise.attributes import MAX_KEY_LENGTH
from workers.normalise.durations import MAX_DURATION_NS
from workers.normalise.envelope_item import ORIGIN_COLUMNS
from workers.normalise.otlp.block_columns import MAP_PARTS, maps
from workers.normalise.otlp.values import hashed_bytes
from workers.normalise.sentry.payload.user import ADDRESS_KEYS
from workers.normalise.sentry.span_row import MODEL_OPS, SPAN_COLUMNS, UNSET, UNSPECIFIED
from workers.normalise.timestamps import SenderClock
from workers.normalise.trace_context import operation

KIND: Final = "transaction"
# What the C code makes, in its order.
PARTS: Final = (
    *("index", "event_id", "timestamp", "trace_id", "span_id", "parent_span_id", "span_kind", "span_op", "status"),
    *("status_message", "duration_ns", "name"),
    *MAP_PARTS,
    "payload",
)
KINDS: Final = (UNSPECIFIED, "internal", "server", "client", "producer", "consumer")
CODES: Final = (UNSET, "ok", "error")
# What all spans of a transaction share, in the order of a block's constants.
_SHARED: Final = {
    "organisation": DICTIONARY,
    "channel_id": "UInt64",
    "key_id": DICTIONARY,
    "received_at": DATE_TIME,
    "version": "UInt64",
    "source_seq": "UInt64",
    "source_item": "UInt32",
    "environment": DICTIONARY,
    "event_type": DICTIONARY,
    "item_type": DICTIONARY,
    "severity_text": DICTIONARY,
    "resource": f"Map({DICTIONARY}, {TEXT})",
    "user_id": TEXT,
}
assert tuple(_SHARED)[: len(ORIGIN_COLUMNS)] == ORIGIN_COLUMNS
_EMPTY: Final = {
    "original_timestamp_ns": "UInt64",
    "severity_number": "UInt8",
    "span_links": TEXT,
    "dropped_attributes_count": "UInt32",
    "repairs": f"Array({DICTIONARY})",
}
_MADE: Final[list[Column]] = [
    Ids("event_id", PARTS.index("event_id")),
    Numbers("timestamp", DATE_TIME, PARTS.index("timestamp")),
    Ordinals("source_ordinal", PARTS.index("index")),
    *(Texts(name, PARTS.index(name)) for name in ("trace_id", "span_id", "parent_span_id")),
    *(Texts(name, PARTS.index(name)) for name in ("status_message", "name", "payload")),
    Words("span_kind", PARTS.index("span_kind"), KINDS),
    BlockWords("span_op", PARTS.index("span_op")),
    Words("status", PARTS.index("status"), CODES),
    Numbers("duration_ns", "UInt64", PARTS.index("duration_ns")),
    *maps(PARTS),
    *(Constant(name, type_, place) for place, (name, type_) in enumerate(_SHARED.items())),
    *(Empty(name, type_) for name, type_ in _EMPTY.items()),
]
_BY_NAME: Final = {column.name: column for column in _MADE}
LAYOUT: Final = Layout(KIND, tuple(_BY_NAME[name] for name in SPAN_COLUMNS), SPAN_COLUMNS.index("source_ordinal"))
_ODD, _ODD_WITH_BRACE, _NAMES_KIND = 1, 2, 3


class OfTransaction(NamedTuple):
    """What its spans inherit."""

    prefix: tuple[object, ...]
    channel_id: int
    environment: str
    resource: dict[str, str]
    user_id: str
    segment_id: str
    segment_name: str


class SpanBlock(NamedTuple):
    """A block of some spans, which begin at `start`, and the places of those that are odd."""

    rows: RowBlock
    start: int
    odd: list[int]

    def with_rows(self, others: list[Row]) -> RowBlock:
        """The block with the rows of its odd spans."""
        self.rows.others.extend(others)
        return self.rows


def blocks(spans: list[Any], clock: SenderClock, shared: OfTransaction) -> list[SpanBlock] | None:
    """All spans in blocks; None where they are better read one by one."""
    if compiled.sentry_span_block is None or len(spans) < record_blocks.LEAST_RECORDS or clock.drift_ns:
        return None
    usable: list[SpanBlock] = []
    for block in _made(spans, clock, shared):
        if block is None:
            return None
        usable.append(block)
    return usable


def _made(spans: list[Any], clock: SenderClock, shared: OfTransaction) -> Iterator[SpanBlock | None]:
    make = compiled.sentry_span_block
    assert make is not None
    earliest_ns = max(clock.earliest_ns, clock.latest_ns - MAX_DURATION_NS)  # so no span can be too long
    rules = (hashed_bytes("sentry.span", shared.channel_id), earliest_ns, clock.latest_ns)
    judges = (needs_care, op_needs_care, orjson.dumps, shared.segment_id, shared.segment_name)
    own = (shared.environment, APP_SPAN, "span", "", shared.resource, shared.user_id)
    for start in range(0, len(spans), record_blocks.MAX_BLOCK_RECORDS):
        piece = spans[start : start + record_blocks.MAX_BLOCK_RECORDS]
        columns = make(piece, *rules, *judges, len(piece) // record_blocks.RECORDS_AN_ODD)
        if columns is None:
            yield None
            return
        parts, keys, odd, ops = columns
        count = len(piece) - len(odd)
        rows = RowBlock(LAYOUT, parts, keys, (*shared.prefix, *own), 1 + start, count, words=ops)
        yield SpanBlock(rows, start, [start + index for index in odd])


@lru_cache(4096)  # the same few keys come again and again
def needs_care(key: str) -> int:
    """What a span with such an attribute is: 0 a usual one."""
    if not key or len(key) > MAX_KEY_LENGTH or key in gen_ai.MARKS or key in ("sentry.kind", "span.kind"):
        return _ODD
    if key == "otel.kind":
        return _NAMES_KIND
    return _ODD_WITH_BRACE if key in ADDRESS_KEYS else 0


@lru_cache(4096)
def op_needs_care(op: str) -> int:
    """Whether a span with such an op is odd: it calls a model, or the op is not stored as it is."""
    return int(op in ("", "default") or op.startswith(MODEL_OPS) or operation(op) != op)
