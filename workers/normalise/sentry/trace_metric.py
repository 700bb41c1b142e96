"""Sentry `trace_metric` containers: one row per measured value. Nothing is added up here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from schemas.headers import Origin
from schemas.rows import CUSTOM, Row, row_id
from schemas.tolerant_json import dumps_text
from workers.normalise.attributes import ATTRIBUTE_COLUMNS, Attributes
from workers.normalise.envelope_item import (
    ORIGIN_COLUMNS,
    EnvelopeItem,
    RecordRefused,
    distinct,
    open_item,
    origin_values,
)
from workers.normalise.scalars import as_text, named_number, value_text
from workers.normalise.sentry.container import Sender, count_warning, read_records, records_of, sequence_ns
from workers.normalise.sentry.span_row import user_key
from workers.normalise.timestamps import SenderClock
from workers.normalise.trace_context import SPAN_ID_INVALID, TRACE_ID_INVALID, span_id, trace_id
from workers.normalise.verdict import Verdict

COLUMNS: Final[tuple[str, ...]] = (
    *ORIGIN_COLUMNS,
    "environment",
    "event_id",
    "event_type",
    "item_type",
    "timestamp",
    "original_timestamp_ns",
    "source_ordinal",
    "trace_id",
    "span_id",
    "name",
    *ATTRIBUTE_COLUMNS,
    "resource",
    "user_id",
    "dropped_attributes_count",
    "metadata",
    "payload",
    "repairs",
)

INVALID_METRIC: Final = "invalid_metric"
MISSING_NAME: Final = "missing_metric_name"
INVALID_TYPE: Final = "invalid_metric_type"
INVALID_VALUE: Final = "invalid_metric_value"

NAME_CHANGED: Final = "metric_name_changed"
UNIT_CUT: Final = "metric_unit_cut"

MAX_NAME_LENGTH: Final = 200
_MAX_UNIT: Final = 64
_TYPES: Final = frozenset({"counter", "gauge", "distribution"})
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass(frozen=True, slots=True)
class _Metric:
    """The parts without which a metric is none."""

    name: str
    type: str
    value: float
    unit: str


class _MetricContainer:
    """What all metrics of one container share."""

    __slots__ = ("clock", "origin", "prefix", "repairs", "sender")

    def __init__(self, origin: Origin, item: EnvelopeItem, clock: SenderClock) -> None:
        self.origin = origin
        self.clock = clock
        self.prefix = origin_values(origin)
        self.repairs = item.repairs
        self.sender = Sender(origin, item)


def normalise(origin: Origin, body: bytes, *, retention_days: int = 30) -> Verdict:
    """A row per metric of the one-item envelope `body` (Sentry trace metrics protocol, trace_metric container).

    A metric without a name, a known type or a number is a rejection of its own.
    """
    try:
        item = open_item(body)
        records = records_of(item)
    except RecordRefused as refused:
        return refused.verdict()
    container = _MetricContainer(origin, item, item.clock(origin, retention_days))
    verdict = Verdict(warning=count_warning(item, len(records)))
    read_records(records, verdict, partial(_row, container))
    verdict.accepted = len(verdict.rows)
    return verdict


def _row(container: _MetricContainer, fields: Any, index: int) -> Row:
    """The row of one metric. Raises RecordRefused."""
    repairs = list(container.repairs)
    metric = _required(fields, index, repairs)
    attributes = _attributes(metric, fields, repairs)
    timestamp, original_ns, moved = container.clock.place(fields.get("timestamp"), sequence_ns(attributes))
    repairs += moved
    sender, origin = container.sender, container.origin
    sender.infer(attributes)
    environment = sender.environment(attributes, repairs)
    resource = sender.resource(attributes, environment, repairs, is_on_server=True)
    ids = _ids(fields, repairs)
    user = user_key(attributes)
    attributes.close(repairs)
    return (
        *container.prefix,
        environment,
        row_id("sentry.trace_metric", origin.channel_id, origin.origin_id, origin.item_index, index),
        CUSTOM,
        "trace_metric",
        timestamp,
        original_ns,
        index,
        *ids,
        metric.name,
        *attributes.maps(),
        resource,
        user,
        attributes.dropped,
        dumps_text({"metric": True, "type": metric.type, "unit": metric.unit}),
        dumps_text(fields),
        distinct(repairs),
    )


def _required(fields: Any, index: int, repairs: list[str]) -> _Metric:
    """Raises RecordRefused."""
    where = f"items[{index}]"
    if fields.__class__ is not dict:
        raise RecordRefused(INVALID_METRIC, f"expected an object as {where}, found {value_text(fields)}")
    name, kind, value = fields.get("name"), as_text(fields.get("type")), fields.get("value")
    if name.__class__ is not str or not name.strip():
        raise RecordRefused(MISSING_NAME, f"expected text as {where}.name, found {value_text(name)}")
    if kind not in _TYPES:
        raise RecordRefused(
            INVALID_TYPE, f"expected counter, gauge or distribution as {where}.type, found {value_text(kind)}"
        )
    value = named_number(value, "value", repairs)
    if value.__class__ not in (int, float):
        raise RecordRefused(INVALID_VALUE, f"expected a number as {where}.value, found {value_text(value)}")
    unit = as_text(fields.get("unit"))
    if len(unit) > _MAX_UNIT:
        repairs.append(UNIT_CUT)
    return _Metric(_clean(name.strip(), repairs), kind, float(value), unit[:_MAX_UNIT])


def _clean(name: str, repairs: list[str]) -> str:
    """Sentry's rule for names of metrics: what is no letter, digit, dot, hyphen or underscore becomes one."""
    clean = _NOT_IN_NAMES.sub("_", name[:MAX_NAME_LENGTH])
    if clean != name:
        repairs.append(NAME_CHANGED)
    return clean


def _attributes(metric: _Metric, fields: dict[str, Any], repairs: list[str]) -> Attributes:
    """Our names first: an attribute the sender calls metric.value must not hide the value."""
    attributes = Attributes()
    attributes.put("metric.value", metric.value)
    attributes.put("metric.type", metric.type)
    attributes.put("metric.unit", metric.unit or None)
    attributes.put_typed(fields.get("attributes"), repairs)
    return attributes


def _ids(fields: dict[str, Any], repairs: list[str]) -> tuple[str, str]:
    """(trace id, span id); a metric is worth keeping without them."""
    trace, span = trace_id(fields.get("trace_id")), span_id(fields.get("span_id"))
    if fields.get("trace_id") and not trace:
        repairs.append(TRACE_ID_INVALID)
    if fields.get("span_id") and not span:
        repairs.append(SPAN_ID_INVALID)
    return trace, span
