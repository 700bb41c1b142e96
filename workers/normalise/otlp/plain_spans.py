"""The spans of a scope to rows, where all of them are as exporters make them. How they are read is in
schemas/otlp/http_bodies.py.

The rows are those of otlp_span, which does whatever this does not take. Checks look at a whole column at once, and no
span is made only to be taken apart again: 2.9 against 5.8 us a span (docs/decisions/0010-normalising.md).
"""

from __future__ import annotations

from operator import ge

import orjson

from schemas.otlp.columns import Maps, SpanColumns
from schemas.otlp.records import Attributes
from schemas.rows import Row
from workers.normalise import gen_ai
from workers.normalise.otlp.span import KINDS, STATUSES
from workers.normalise.otlp.values import (
    MAX_RECORD_LENGTH,
    NULL_IDS,
    SPAN_ID_DIGITS,
    TRACE_FLAGS_MASK,
    TRACE_ID_DIGITS,
    Shared,
    TimeRange,
)
from workers.normalise.stack_text import error_hash

_dumps = orjson.dumps


def rows(spans: SpanColumns, first: int, shared: Shared) -> list[Row] | None:
    """One row for each span, the ordinal of the first one being `first`; None if one of them needs more care."""
    if not _are_plain(spans, shared.times):
        return None
    (traces, ids, parents, _, flags, names, kinds, starts, ends, attributes, *_, codes, messages, maps) = spans.columns
    columns = (traces, ids, parents, flags, names, kinds, starts, ends, attributes, codes, messages, maps)
    head, tail, begun = shared.head, shared.tail, shared.identity
    made_rows: list[Row] = []
    if shared.has_model_calls:
        _complete(attributes, maps)
    for ordinal, each in enumerate(zip(*columns, strict=True), first):
        trace, span_id, parent, trace_flags, name, kind, start_ns, end_ns, sent, code, message, typed = each
        members = {
            "traceId": trace,
            "spanId": span_id,
            "name": name,
            "kind": kind,
            "startTimeUnixNano": start_ns,
            "endTimeUnixNano": end_ns,
            "attributes": sent,
        }
        if parent:
            members["parentSpanId"] = parent
        if code or message:
            members["status"] = {"code": code, "message": message}
        if trace_flags:
            members["flags"] = trace_flags
        payload = _dumps(members).decode()
        if len(payload) > MAX_RECORD_LENGTH:
            return None
        identity = begun.copy()
        identity.update(f"\0\0\0\x20{trace}\0\0\0\x10{span_id}".encode())
        strings, integers, doubles, booleans = typed
        get = strings.get
        error, reason, stack = get("exception.type", ""), get("exception.message", ""), get("exception.stacktrace", "")
        # Adding tuples: unpacking them into a new one goes by way of a list, 0.3 us more.
        made_rows.append(
            head  # noqa: RUF005
            + (
                int.from_bytes(identity.digest(), "big"),
                start_ns,
                0,
                ordinal,
                trace,
                span_id,
                parent,
                "",
                trace_flags & TRACE_FLAGS_MASK,
                KINDS.get(kind, "unspecified"),
                STATUSES.get(code, "unset"),
                message,
                end_ns - start_ns,
                name,
                strings,
                integers,
                doubles,
                booleans,
                "",
                "",
                0,
                0,
                0,
                error,
                reason,
                stack,
                error_hash(error, reason, stack) if error or reason or stack else "",
                payload,
                [],
            )
            + tail
        )
    return made_rows


def _complete(attributes: list[Attributes], maps: list[Maps]) -> None:
    """Puts what calls of models say under the names that columns read; the attributes as sent are the payload's."""
    for sent, (strings, integers, doubles, _) in zip(attributes, maps, strict=True):
        if gen_ai.is_model_call(sent):
            gen_ai.complete(strings, integers, doubles)


def _are_plain(spans: SpanColumns, times: TimeRange) -> bool:
    """Whether every span has its ids, plausible times, and nothing that is rare."""
    traces, ids, parents, states, _, _, _, starts, ends, _, dropped, dropped_events, dropped_links, _, _, _ = (
        spans.columns
    )
    if not starts or any(map(any, (states, dropped, dropped_events, dropped_links))):
        return False
    if not times.earliest_ns <= min(starts) <= max(starts) <= times.latest_ns or not all(map(ge, ends, starts)):
        return False
    given = [parent for parent in parents if parent]
    return _are_ids(traces, TRACE_ID_DIGITS) and _are_ids(ids, SPAN_ID_DIGITS) and _are_ids(given, SPAN_ID_DIGITS)


def _are_ids(texts: list[str], digits: int) -> bool:
    """Whether otlp_values.is_id takes all of them."""
    if any(len(text) != digits for text in texts) or not NULL_IDS.isdisjoint(texts):
        return False
    try:
        # fromhex takes blanks between digits; hex gives none back
        return len(bytes.fromhex("".join(texts))) * 2 == digits * len(texts)
    except ValueError:
        return False
