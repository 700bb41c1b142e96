"""Sentry `span` items: the v2 container that current SDKs stream, and one bare v1 span; a row per span."""

from __future__ import annotations

from typing import Any, Final

from schemas.headers import Origin
from schemas.rows import Row
from schemas.tolerant_json import dumps_text
from workers.normalise.attributes import Attributes
from workers.normalise.envelope_item import EnvelopeItem, RecordRefused, open_item, origin_values
from workers.normalise.scalars import as_text, value_text
from workers.normalise.sentry.container import Sender, count_warning, read_records, records_of
from workers.normalise.sentry.span_row import (
    INVALID_SPAN,
    INVALID_SPAN_ID,
    NAME_CUT,
    SPAN_COLUMNS,
    UNLABELED_SPAN,
    SpanRecord,
    read_span_ids,
    read_times,
    span_row,
    user_key,
)
from workers.normalise.sentry.span_v1 import read_attributes, read_kind, read_name, read_op
from workers.normalise.timestamps import SenderClock
from workers.normalise.trace_context import links_text, operation, parent_id, span_id, status
from workers.normalise.verdict import Verdict

COLUMNS: Final = SPAN_COLUMNS

_MAX_NAME: Final = 2_000
# Spans about somebody else: their server.address is the peer's.
_PEER_OPS: Final = ("http.client", "db", "cache", "queue", "rpc", "gen_ai", "message", "resource")
_PEER_KINDS: Final = frozenset({"client", "producer"})
# What a visitor asked for may stand in server.address.
_VISITED_OP: Final = "http"
_VISITED_KIND: Final = "server"


def normalise(origin: Origin, body: bytes, *, retention_days: int = 30) -> Verdict:
    """A row per span of the one-item envelope `body` (Sentry span protocol, v2 container or one v1 span).

    A span that cannot be stored is a rejection of its own.
    """
    try:
        item = open_item(body)
        clock = item.clock(origin, retention_days)
        if "items" not in item.fields:
            return Verdict(rows=[_row_v1(origin, item, clock)], accepted=1)
        records = records_of(item)
    except RecordRefused as refused:
        return refused.verdict()
    return _container(origin, item, clock, records)


def _container(origin: Origin, item: EnvelopeItem, clock: SenderClock, records: list[Any]) -> Verdict:
    verdict = Verdict(warning=count_warning(item, len(records)))
    sender, prefix = Sender(origin, item), origin_values(origin)

    def row(value: Any, index: int) -> Row:
        return span_row(origin, prefix, clock, _record_v2(sender, item, value, index))

    read_records(records, verdict, row)
    verdict.accepted = len(verdict.rows)
    return verdict


def _record_v2(sender: Sender, item: EnvelopeItem, value: Any, index: int) -> SpanRecord:
    """One entry of the container. Raises RecordRefused."""
    where = f"items[{index}]."
    if value.__class__ is not dict:
        raise RecordRefused(INVALID_SPAN, f"expected an object as items[{index}], found {value_text(value)}")
    repairs = list(item.repairs)
    identity = read_span_ids(value, where, parent_id(value.get("parent_span_id"), repairs))
    times = read_times(value.get("start_timestamp"), value.get("end_timestamp"), where)
    attributes = _attributes_v2(value, where, repairs)
    sender.infer(attributes)
    op, kind = operation(attributes.strings.get("sentry.op")), read_kind(attributes)
    environment = sender.environment(attributes, repairs)
    is_on_server = kind not in _PEER_KINDS and kind != _VISITED_KIND and not op.startswith((*_PEER_OPS, _VISITED_OP))
    return SpanRecord(
        identity=identity,
        times=times,
        name=_name(value, repairs) or op or UNLABELED_SPAN,
        op=op or read_op({}, attributes),
        status=status(value.get("status")),
        attributes=attributes,
        resource=sender.resource(attributes, environment, repairs, is_on_server=is_on_server),
        environment=environment,
        user_id=user_key(attributes),
        payload=dumps_text(value),
        repairs=repairs,
        kind=kind,
        status_message=attributes.text("sentry.status.message"),
        links=links_text(value.get("links"), repairs),
        ordinal=index,
    )


def _name(fields: dict[str, Any], repairs: list[str]) -> str:
    name = as_text(fields.get("name"))
    if len(name) > _MAX_NAME:
        repairs.append(NAME_CUT)
    return name[:_MAX_NAME]


def _attributes_v2(fields: dict[str, Any], where: str, repairs: list[str]) -> Attributes:
    attributes = Attributes()
    attributes.put_typed(fields.get("attributes"), repairs)
    segment = attributes.strings.get("sentry.segment.id")
    if segment is not None and not span_id(segment):
        expected = f"expected a span id as {where}attributes['sentry.segment.id']"
        raise RecordRefused(INVALID_SPAN_ID, f"{expected}, found {value_text(segment)}")
    attributes.put("sentry.is_segment", fields.get("is_segment"))
    return attributes


def _row_v1(origin: Origin, item: EnvelopeItem, clock: SenderClock) -> Row:
    """The row of a span that came alone. Raises RecordRefused."""
    fields, repairs = item.fields, list(item.repairs)
    identity = read_span_ids(fields, "", parent_id(fields.get("parent_span_id"), repairs))
    times = read_times(fields.get("start_timestamp"), fields.get("timestamp"), "the span's ")
    attributes, sender = read_attributes(fields, repairs), Sender(origin, item)
    sender.infer(attributes)
    op = read_op(fields, attributes)
    environment = sender.environment(attributes, repairs)
    record = SpanRecord(
        identity=identity,
        times=times,
        name=read_name(fields, op, repairs),
        op=op,
        status=status(fields.get("status")),
        attributes=attributes,
        resource=sender.resource(attributes, environment, repairs, is_on_server=False),
        environment=environment,
        user_id=user_key(attributes) or attributes.text("user"),
        payload=item.text,
        repairs=repairs,
        kind=read_kind(attributes),
        links=links_text(fields.get("links"), repairs),
    )
    return span_row(origin, origin_values(origin), clock, record)
