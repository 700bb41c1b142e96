"""Sentry `transaction` items: a row for the transaction and one for each of its spans."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from schemas.blocks.rows import MixedRows
from schemas.headers import Origin
from schemas.rows import Row
from schemas.tolerant_json import dumps_text
from workers.normalise.attributes import RESOURCE_TRUNCATED, Attributes
from workers.normalise.durations import MAX_DURATION_NS
from workers.normalise.envelope_item import EnvelopeItem, RecordRefused, open_item, origin_values, row_event_id
from workers.normalise.levels import event_severity
from workers.normalise.otlp.values import fit_shared, shared_limits, size_of
from workers.normalise.scalars import as_dict, as_list, as_text, value_text
from workers.normalise.sentry import transaction_blocks
from workers.normalise.sentry.container import check_record_count, read_records
from workers.normalise.sentry.payload.scope import SentryScope, read_scope
from workers.normalise.sentry.payload.user import NEVER, infer_ip, resolve_auto_address
from workers.normalise.sentry.span_row import (
    INVALID_SPAN,
    NAME_CUT,
    SPAN_COLUMNS,
    SpanIdentity,
    SpanRecord,
    SpanTimes,
    read_span_ids,
    read_times,
    span_row,
)
from workers.normalise.sentry.span_v1 import put_measurements, read_attributes, read_kind, read_name, read_op
from workers.normalise.sentry.transaction_blocks import OfTransaction
from workers.normalise.timestamps import SenderClock, parse_ns
from workers.normalise.trace_context import links_text, parent_id, status
from workers.normalise.verdict import Verdict

COLUMNS: Final = SPAN_COLUMNS

UNLABELED: Final = "<unlabeled transaction>"
OPEN_SPAN: Final = "span_end_missing"
SPANS_INVALID: Final = "spans_invalid"
MOVED_WITH_TRANSACTION: Final = "moved_with_transaction"
NAME_PARAMETERISED: Final = "transaction_name_parameterised"

_MAX_NAME: Final = 200
# Like the resource, the user's id is stored with every span: 3 MB of it and 20,000 spans would be 60 GB of rows.
_MAX_USER_ID: Final = 1_024
# Parts of a URL path that name one thing rather than a kind of thing.
_ID_PART: Final = re.compile(
    r"(?<=/)(?:[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|(?=[a-f]*\d)[0-9a-f]{16,64}|\d+)(?=/|$)"
)


@dataclass(frozen=True, slots=True)
class _Transaction:
    """What its spans inherit. `placeholder` is the address that `{{auto}}` stands for.

    `shift_ns` is what a clock without drift correction still moves all of them by.
    """

    origin: Origin
    prefix: tuple[object, ...]
    clock: SenderClock
    scope: SentryScope
    identity: SpanIdentity
    times: SpanTimes
    name: str
    shift_ns: int
    placeholder: str


def normalise(origin: Origin, body: bytes, *, retention_days: int = 30) -> Verdict:
    """Rows of the one-item envelope `body` (Sentry event payload specification, transactions): one accepted record.

    A span that cannot be stored is a rejection of its own; without valid ids and times the transaction is rejected.
    """
    try:
        item = open_item(body)
        verdict, transaction = _open(origin, item, item.clock(origin, retention_days))
    except RecordRefused as refused:
        return refused.verdict()
    _read_spans(as_list(item.fields.get("spans")), verdict, transaction)
    return verdict


def _read_spans(spans: list[Any], verdict: Verdict, transaction: _Transaction) -> None:
    """Puts the rows of the spans behind the transaction's own: in blocks, and one by one what is unusual."""
    read = partial(_span_row, transaction)
    blocks = None if transaction.shift_ns else transaction_blocks.blocks(spans, transaction.clock, _shared(transaction))
    if blocks is None:
        read_records(spans, verdict, read)
        return
    rows = MixedRows([list(verdict.rows)])
    for block in blocks:
        verdict.rows = []
        read_records(spans, verdict, read, block.odd)
        rows.add_block(block.with_rows(list(verdict.rows)))
    verdict.rows = rows


def _shared(transaction: _Transaction) -> OfTransaction:
    scope, identity = transaction.scope, transaction.identity
    return OfTransaction(
        transaction.prefix,
        transaction.origin.channel_id,
        scope.environment,
        scope.resource,
        scope.user_id,
        identity.span_id,
        transaction.name,
    )


def _open(origin: Origin, item: EnvelopeItem, clock: SenderClock) -> tuple[Verdict, _Transaction]:
    """The transaction's own row. Raises RecordRefused."""
    payload, repairs = item.fields, list(item.repairs)
    trace = as_dict(as_dict(payload.get("contexts")).get("trace"))
    parent = parent_id(trace.get("parent_span_id"), [])
    identity = read_span_ids(trace, "contexts.trace.", parent)
    times = read_times(payload.get("start_timestamp"), payload.get("timestamp"), "the transaction's ")
    spans = as_list(payload.get("spans"))
    check_record_count(spans, "spans")
    scope = _shareable(read_scope(origin, item, repairs), len(spans) + 1, repairs)
    name = _name(payload, scope.attributes, repairs)
    shift_ns = _shift_ns(clock, times)
    transaction = _Transaction(
        origin, origin_values(origin), clock, scope, identity, times, name, shift_ns, _placeholder(origin, payload)
    )
    if payload.get("spans").__class__ not in (list, type(None)):
        repairs.append(SPANS_INVALID)
    return Verdict(rows=[_transaction_row(transaction, item, repairs)], accepted=1), transaction


def _shift_ns(clock: SenderClock, times: SpanTimes) -> int:
    """What moves a transaction and its spans together, 0 where its own times cannot be."""
    if times.end_ns - times.start_ns > MAX_DURATION_NS or not clock.is_plausible(times.end_ns):
        return 0
    return clock.place_ns(times.end_ns)[0] - times.end_ns - clock.drift_ns


def _placeholder(origin: Origin, payload: dict[str, Any]) -> str:
    settings = as_dict(as_dict(payload.get("sdk")).get("settings"))
    return "" if infer_ip(settings.get("infer_ip")) == NEVER else origin.sender_ip


def _shareable(scope: SentryScope, rows: int, repairs: list[str]) -> SentryScope:
    """The scope with what every one of `rows` repeats cut to a size that they can bear together."""
    sent = dict(scope.resource)
    resource, cut = fit_shared(sent, shared_limits([(size_of(sent), rows)])[0])
    user_id = scope.user_id[:_MAX_USER_ID]
    repairs += cut or ((RESOURCE_TRUNCATED,) if user_id != scope.user_id else ())
    return replace(scope, resource={key: as_text(value) for key, value in resource.items()}, user_id=user_id)


def _transaction_row(transaction: _Transaction, item: EnvelopeItem, repairs: list[str]) -> Row:
    payload, scope = item.fields, transaction.scope
    attributes, trace = scope.attributes, scope.trace
    put_measurements(payload.get("measurements"), attributes, repairs)
    attributes.put("sentry.origin", trace.fields.get("origin"))
    attributes.put("sentry.sampled", trace.fields.get("sampled"))
    attributes.put("sentry.exclusive_time", trace.fields.get("exclusive_time"))
    attributes.put("spans.count", len(as_list(payload.get("spans"))))
    record = SpanRecord(
        identity=transaction.identity,
        times=transaction.times,
        name=transaction.name,
        op=trace.op or "default",
        status=trace.status,
        attributes=attributes,
        resource=scope.resource,
        environment=scope.environment,
        user_id=scope.user_id,
        payload=item.text,
        repairs=repairs,
        kind=read_kind(attributes),
        links=links_text(trace.fields.get("links"), repairs),
        item_type="transaction",
        severity=event_severity(payload.get("level"), "info", repairs),
        event_id=row_event_id(transaction.origin, item, repairs),
    )
    return span_row(transaction.origin, transaction.prefix, transaction.clock, record)


def _name(payload: dict[str, Any], attributes: Attributes, repairs: list[str]) -> str:
    """The transaction's name; ids in a URL become '*', so that names can be grouped by, and the source says so."""
    name = as_text(payload.get("transaction")).strip()
    source = as_text(as_dict(payload.get("transaction_info")).get("source"))
    if source == "url":
        pattern = _ID_PART.sub("*", name)
        if pattern != name:
            repairs.append(NAME_PARAMETERISED)
            name, source = pattern, "sanitized"
    attributes.put("sentry.transaction.source", source or None)
    if len(name) > _MAX_NAME:
        repairs.append(NAME_CUT)
    return name[:_MAX_NAME] or UNLABELED


def _span_row(transaction: _Transaction, value: Any, index: int) -> Row:
    """The row of one entry of `spans`. Raises RecordRefused."""
    where = f"spans[{index}]."
    if value.__class__ is not dict:
        raise RecordRefused(INVALID_SPAN, f"expected an object as spans[{index}], found {value_text(value)}")
    repairs: list[str] = []
    identity = read_span_ids(value, where, parent_id(value.get("parent_span_id"), repairs))
    times, state = _span_times(transaction, value, where, repairs)
    attributes, scope = read_attributes(value, repairs), transaction.scope
    resolve_auto_address(attributes, transaction.placeholder)
    op = read_op(value, attributes)
    if transaction.shift_ns:
        repairs.append(MOVED_WITH_TRANSACTION)
    attributes.put("sentry.segment.id", transaction.identity.span_id)
    attributes.put("sentry.segment.name", transaction.name)
    record = SpanRecord(
        identity=identity,
        times=times,
        name=read_name(value, op, repairs),
        op=op,
        status=state,
        attributes=attributes,
        resource=scope.resource,
        environment=scope.environment,
        user_id=scope.user_id,
        payload=dumps_text(value),
        repairs=repairs,
        kind=read_kind(attributes),
        links=links_text(value.get("links"), repairs),
        ordinal=index + 1,
        shift_ns=transaction.shift_ns,
    )
    return span_row(transaction.origin, transaction.prefix, transaction.clock, record)


def _span_times(
    transaction: _Transaction, fields: dict[str, Any], where: str, repairs: list[str]
) -> tuple[SpanTimes, str]:
    """(times, status): a span without an end was still open when its transaction ended."""
    start, end = fields.get("start_timestamp"), fields.get("timestamp")
    state = status(fields.get("status"))
    if end is not None:
        return read_times(start, end, where), state
    repairs.append(OPEN_SPAN)
    start_ns = parse_ns(start)
    if start_ns is None:
        return read_times(start, 0, where), state
    return SpanTimes(start_ns, max(start_ns, transaction.times.end_ns)), state or "deadline_exceeded"
