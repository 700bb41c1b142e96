"""The compiled readers beside their twins in Python: the same bytes have to say the same. No mutation here."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from schemas import key_masking
from schemas.blocks.rows import MixedRows
from schemas.compiled import readers as compiled
from schemas.compiled.readers import MakeBlock, PlainMessages, PlainText
from schemas.headers import Origin
from schemas.otlp import record_blocks
from schemas.otlp.http_bodies import MEDIA_TYPES, Encoding
from schemas.otlp.protobuf_records import careful_log, careful_span, plain_spans
from schemas.otlp.protobuf_values import BodyTally
from schemas.otlp.record_blocks import RecordBlock, RecordReader
from schemas.otlp.records import Allowance, Malformed
from schemas.rows import APP_LOG, APP_SPAN
from workers.normalise.otlp import log, log_blocks, span, span_blocks
from workers.normalise.otlp.body import normalise_logs, normalise_spans
from workers.normalise.otlp.values import Shared, hashed, origin_part, window
from workers.normalise.sentry import transaction
from workers.normalise.verdict import Invalid

RECEIVED_AT_NS: Final = 1_763_700_000_000_000_000
# Around the message under test, so that columns would show if one of them got out of step.
NEIGHBOUR: Final = b"\x0a\x10" + b"\x01" * 16 + b"\x12\x08" + b"\x02" * 8 + b"\x2a\x01n"
# The same with a time: without one it is odd to a block.
_TIME: Final = RECEIVED_AT_NS.to_bytes(8, "little")
_TIMED_NEIGHBOUR: Final = NEIGHBOUR + b"\x39" + _TIME + b"\x41" + _TIME
_ORIGIN: Final = Origin(
    "default", 7, "k", "test", False, RECEIVED_AT_NS, MEDIA_TYPES["protobuf"], origin_id="f", origin_seq=5
)
_TAIL: Final = ({"service.name": "till"}, "till", "scope", "", {}, "")
SHARED: Final = Shared(
    origin_part(_ORIGIN, APP_SPAN, "otlp_span"), _TAIL, hashed("otlp.span", _ORIGIN.channel_id), window(_ORIGIN, 30)
)
LOGS_SHARED: Final = Shared(
    origin_part(_ORIGIN, APP_LOG, "otlp_log"),
    _TAIL,
    hashed("otlp.log", _ORIGIN.channel_id, _ORIGIN.origin_id),
    window(_ORIGIN, 30),
)
_LOG_NEIGHBOUR: Final = b"\x09" + _TIME + b"\x1a\x04INFO" + b"\x2a\x03\x0a\x01n"

_SENTRY_NEIGHBOUR: Final = orjson.dumps(
    {
        "trace_id": "01" * 16,
        "span_id": "02" * 8,
        "start_timestamp": RECEIVED_AT_NS / 1e9,
        "timestamp": RECEIVED_AT_NS / 1e9,
        "op": "n",
        "data": {"n": 1},
    }
)
_TRANSACTION: Final = (
    b'{"event_id":"9ec79c33ec9942ab8353589fcb2e04dc"}\n{"type":"transaction"}\n{"transaction":"GET /",'
    b'"start_timestamp":1763699990,"timestamp":1763699999,"contexts":{"trace":{"op":"http.server",'
    b'"trace_id":"0123456789abcdef0123456789abcdef","span_id":"0123456789abcdef"}},"spans":[%b]}\n'
)


class Twins(NamedTuple):
    """What is compiled: the reader of protobuf, the one of JSON, the look for keys, the makers of blocks."""

    messages: PlainMessages
    text: PlainText
    may_hold_key: Callable[[bytes], bool] | None = None
    span_block: MakeBlock | None = None
    log_block: MakeBlock | None = None
    record_ids: Callable[[bytes, bytes, int], bytes] | None = None
    sentry_span_block: MakeBlock | None = None


def load(folder: Path) -> Twins | None:
    """Those that were built into `folder`; None if one of them is missing."""
    names = ("_plain_spans", "_plain_json", "_key_needles", "_span_blocks", "_log_blocks", "_sentry_spans")
    paths = [next(folder.glob(f"{name}.*so"), None) for name in names]
    if not all(paths):
        return None
    messages, text, needles, spans, logs, sentry = (load_module(path) for path in paths if path)
    return Twins(
        *(messages.plain_spans, text.plain_messages, needles.may_hold_key),
        *(spans.span_block, logs.log_block, logs.record_ids, sentry.sentry_span_block),
    )


def installed() -> Twins | None:
    """Those that this process uses; None if it uses none."""
    if not compiled.messages or not compiled.text:
        return None
    return Twins(compiled.messages, compiled.text, *_others())


def _others() -> tuple[Any, ...]:
    blocks = compiled.span_block, compiled.log_block, compiled.record_ids, compiled.sentry_span_block
    return compiled.may_hold_key, *blocks


def load_module(path: Path) -> Any:
    """A compiled module, apart from the one that is installed."""
    spec = importlib.util.spec_from_file_location(f"schemas.compiled.{path.name.partition('.')[0]}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def read_by(twins: Twins | None) -> Iterator[None]:
    """With these compiled readers in use, or with none. Blocks are made of any number of spans, however odd."""
    before = compiled.messages, compiled.text, *_others()
    limits = record_blocks.LEAST_RECORDS, record_blocks.RECORDS_AN_ODD
    _use(twins or (None,) * len(before), (1, 1))
    try:
        yield
    finally:
        _use(before, limits)


def _use(readers: tuple[Any, ...], limits: tuple[int, int]) -> None:
    compiled.messages, compiled.text, compiled.may_hold_key, compiled.span_block = readers[:4]
    compiled.log_block, compiled.record_ids, compiled.sentry_span_block = readers[4:]
    record_blocks.LEAST_RECORDS, record_blocks.RECORDS_AN_ODD = limits  # type: ignore[misc]


def said(encoding: Encoding, body: bytes, signal: str = "traces") -> str:
    """What becomes of an export request: rows, refusals, reasons, every type and digit of them."""
    origin = replace(_ORIGIN, content_type=MEDIA_TYPES[encoding])
    try:
        return repr((normalise_spans if signal == "traces" else normalise_logs)(origin, body))
    except Invalid as error:
        return f"Invalid: {error}"


def same_verdict(twins: Twins, encoding: Encoding, body: bytes, signal: str = "traces") -> bool:
    """Asserts that both read a whole body as the same; True if it was accepted."""
    with read_by(None):
        expected = said(encoding, body, signal)
    with read_by(twins):
        found = said(encoding, body, signal)
    assert found == expected, f"expected {expected[:2000]}\nfound {found[:2000]}"
    return not found.startswith("Invalid")


def same_rows(twins: Twins, message: bytes) -> bool:
    """Asserts that a block has the rows that Python makes of the same spans one by one; True if it is plain."""
    tally = BodyTally(Allowance(0))
    chunks = [_TIMED_NEIGHBOUR, message, _TIMED_NEIGHBOUR]
    with read_by(twins):
        made = _block(span_blocks.reader(_ORIGIN, SHARED.times), chunks, tally)
        found = span_blocks.row_block(made, 7, SHARED).rows()
    places = [index for index in range(len(chunks)) if index not in made.odd]
    expected = [span.row(careful_span(chunks[index], tally), 7 + index, SHARED, ()) for index in places]
    assert repr(found) == repr(expected), f"expected {expected}\nfound {found}"
    return not made.odd


def same_log_rows(twins: Twins, message: bytes) -> bool:
    """The same of log records."""
    tally = BodyTally(Allowance(0))
    chunks = [_LOG_NEIGHBOUR, message, _LOG_NEIGHBOUR]
    prefix = log_blocks.prefix_of(_ORIGIN)
    with read_by(twins):
        made = _block(log_blocks.reader(LOGS_SHARED.times, prefix), chunks, tally)
        found = log_blocks.row_block(made, 7, LOGS_SHARED, prefix).rows()
    places = [index for index in range(len(chunks)) if index not in made.odd]
    expected = [log.row(careful_log(chunks[index], tally), 7 + index, LOGS_SHARED, ()) for index in places]
    assert repr(found) == repr(expected), f"expected {expected}\nfound {found}"
    return not made.odd


def same_transaction(twins: Twins, span: bytes) -> bool:
    """Asserts that a transaction with this span, as JSON, becomes the same rows with blocks; True if all are in one."""
    body = _TRANSACTION % b",".join((_SENTRY_NEIGHBOUR, span, _SENTRY_NEIGHBOUR))
    with read_by(None):
        expected = transaction.normalise(_ORIGIN, body)
    with read_by(twins):
        found = transaction.normalise(_ORIGIN, body)
    assert repr(found) == repr(expected), f"expected {expected}\nfound {found}"
    blocks = found.rows.blocks() if isinstance(found.rows, MixedRows) else []
    return len(blocks) == 1 and len(blocks[0]) == blocks[0].count > 2


def _block(reader: RecordReader, chunks: list[bytes], tally: BodyTally) -> RecordBlock:
    """All of them in one block; what is odd has no record, for it may be none."""
    assert reader.make is not None
    made = reader.make(chunks, len(chunks))
    assert made is not None
    assert made[2] in ([], [1]), made[2]
    return RecordBlock(chunks, made, lambda raw, _seen: Malformed("", ""), tally, {})


def same_look(twins: Twins, data: bytes) -> bool:
    """Asserts that the compiled look for keys finds what Python's searches find; True if there is something."""
    assert twins.may_hold_key is not None
    found = twins.may_hold_key(data)
    assert found == any(needle in data for needle, _ in key_masking._FORMS), data
    return found


def same_columns(twins: Twins, message: bytes) -> bool:
    """Asserts that what is plain to the compiled reader is plain in Python, with the same values; True if it is."""
    chunks = [NEIGHBOUR, message, NEIGHBOUR]
    columns, odd = twins.messages(chunks)
    expected, odd_in_python = plain_spans(chunks, BodyTally(Allowance(0)))
    assert odd in ([], [1]), odd
    assert set(odd_in_python) <= set(odd), "odd in Python alone"
    if odd and not odd_in_python:
        expected = tuple([column[0], column[2]] for column in expected)
    assert repr(columns) == repr(expected), f"expected {expected}\nfound {columns}"
    return not odd
