"""Spans as Sentry's first protocol writes them: inside transactions, and alone. The v2 container is read in span."""

from __future__ import annotations

from typing import Any, Final

from workers.normalise.attributes import Attributes
from workers.normalise.scalars import as_dict, as_text, named_number
from workers.normalise.sentry.payload.tags import read_tags
from workers.normalise.sentry.span_row import NAME_CUT, UNLABELED_SPAN, UNSPECIFIED
from workers.normalise.trace_context import operation

_MAX_NAME: Final = 2_000

# The op of a span that has none, by the attribute that gives it away.
_INFERRED_OPS: Final = (
    ("http.request.method", "http"),
    ("http.method", "http"),
    ("db.system.name", "db"),
    ("db.system", "db"),
    ("gen_ai.system", "gen_ai"),
    ("messaging.system", "message"),
    ("rpc.service", "rpc"),
    ("faas.trigger", "faas"),
)
_KINDS: Final = frozenset({"internal", "server", "client", "producer", "consumer"})


def read_attributes(fields: dict[str, Any], repairs: list[str]) -> Attributes:
    """Tags, data, measurements and the span's own loose fields."""
    attributes = Attributes()
    for key, tag in read_tags(fields.get("tags"), repairs).items():
        attributes.put(key, tag)
    data = fields.get("data")
    if data:
        if data.__class__ is not dict:
            repairs.append("span_data_invalid")
        attributes.put_all("", as_dict(data))
    put_measurements(fields.get("measurements"), attributes, repairs)
    put, get = attributes.put, fields.get
    put("sentry.origin", get("origin"))
    put("sentry.exclusive_time", get("exclusive_time"))
    put("sentry.is_segment", get("is_segment"))
    put("sentry.segment.id", get("segment_id"))
    put("profile_id", get("profile_id"))
    attributes.put_all("sentry.", as_dict(get("sentry_tags")))
    return attributes


def put_measurements(value: Any, attributes: Attributes, repairs: list[str]) -> None:
    """`measurement.<name>` as doubles, with `measurement.<name>.unit` where there is a unit."""
    if value is not None and value.__class__ is not dict:
        repairs.append("measurements_invalid")
    for name, measurement in as_dict(value).items():
        fields = as_dict(measurement)
        number = named_number(fields.get("value") if fields else measurement, "measurement", repairs)
        if number.__class__ not in (int, float):
            repairs.append("measurement_invalid")
            continue
        attributes.put(f"measurement.{name}", float(number))
        attributes.put(f"measurement.{name}.unit", as_text(fields.get("unit")) or None)


def read_op(fields: dict[str, Any], attributes: Attributes) -> str:
    """The span's op, else one that its attributes give away, else 'default'."""
    op = operation(fields.get("op")) or operation(attributes.strings.get("sentry.op"))
    return op or next((op for key, op in _INFERRED_OPS if key in attributes.keys), "default")


def read_name(fields: dict[str, Any], op: str, repairs: list[str]) -> str:
    """The span's description, else its op."""
    name = as_text(fields.get("description")) or (op if op != "default" else "")
    if len(name) > _MAX_NAME:
        repairs.append(NAME_CUT)
    return name[:_MAX_NAME] or UNLABELED_SPAN


def read_kind(attributes: Attributes) -> str:
    """OpenTelemetry's span kind in lower case, 'unspecified' if the SDK did not say."""
    kind = attributes.text("sentry.kind") or attributes.text("otel.kind") or attributes.text("span.kind")
    kind = kind.strip().lower().removeprefix("span_kind_")
    return kind if kind in _KINDS else UNSPECIFIED
