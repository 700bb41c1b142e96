"""Trace and span ids, span status and the trace context of a Sentry payload. Times of a span are not its matter."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from schemas.tolerant_json import dumps_text
from workers.normalise.scalars import as_dict, as_list, as_text

TRACE_ID_INVALID: Final = "trace_id_invalid"
SPAN_ID_INVALID: Final = "span_id_invalid"
PARENT_SPAN_ID_INVALID: Final = "parent_span_id_invalid"
LINK_DROPPED: Final = "link_dropped"

MAX_OP_LENGTH: Final = 128

_TRACE_ID: Final = re.compile(r"(?!0{32})[0-9a-fA-F]{32}")
_SPAN_ID: Final = re.compile(r"(?!0{16})[0-9a-fA-F]{16}")
# In the order of their gRPC numbers, which some SDKs send instead.
_STATUSES: Final = (
    "ok", "cancelled", "unknown", "invalid_argument", "deadline_exceeded", "not_found", "already_exists",
    "permission_denied", "resource_exhausted", "failed_precondition", "aborted", "out_of_range", "unimplemented",
    "internal_error", "unavailable", "data_loss", "unauthenticated",
)  # fmt: skip
_STATUS: Final = {
    **{name: name for name in _STATUSES},
    **{str(number): name for number, name in enumerate(_STATUSES)},
    "success": "ok",
    "failure": "internal_error",
    "unknown_error": "internal_error",
    "error": "error",  # span v2 knows ok and error only
    "canceled": "cancelled",
}


@dataclass(slots=True)
class TraceContext:
    """contexts.trace with ids that are valid or ''."""

    trace_id: str
    span_id: str
    parent_span_id: str
    op: str
    status: str
    fields: dict[str, Any]


def trace_id(value: Any) -> str:
    """32 lower-case hex digits, or '' if it is not a trace id; hyphens of a UUID are taken out, all zeros is none."""
    if value.__class__ is not str:
        return ""
    text = value if len(value) == 32 else value.replace("-", "").strip()
    return text.lower() if _TRACE_ID.fullmatch(text) else ""


def span_id(value: Any) -> str:
    """16 lower-case hex digits, or '' if it is not a span id; all zeros is none."""
    return value.lower() if value.__class__ is str and _SPAN_ID.fullmatch(value) else ""


def parent_id(value: Any, repairs: list[str]) -> str:
    """A parent's span id; an invalid one makes the span a root, and is named."""
    parent = span_id(value)
    if not parent and value is not None and value != "":
        repairs.append(PARENT_SPAN_ID_INVALID)
    return parent


def status(value: Any) -> str:
    """One of the names of Sentry's span statuses; '' if there is none, 'unknown' if nobody knows it."""
    if value is None or value == "":
        return ""
    return _STATUS.get(as_text(value).strip().lower(), "unknown")


def operation(value: Any) -> str:
    """A span's op, cut to what a low-cardinality column bears."""
    return as_text(value).strip()[:MAX_OP_LENGTH]


def read_trace(contexts: dict[str, Any], envelope_trace: dict[str, Any] | None, repairs: list[str]) -> TraceContext:
    """The trace context of an event; its trace id may also come from the envelope's `trace` header."""
    fields = as_dict(contexts.get("trace"))
    own_trace, own_span = fields.get("trace_id"), fields.get("span_id")
    trace, span = trace_id(own_trace), span_id(own_span)
    if own_trace and not trace:
        repairs.append(TRACE_ID_INVALID)
    if own_span and not span:
        repairs.append(SPAN_ID_INVALID)
    if not trace and envelope_trace:
        trace = trace_id(envelope_trace.get("trace_id"))
    return TraceContext(
        trace_id=trace,
        span_id=span,
        parent_span_id=parent_id(fields.get("parent_span_id"), repairs),
        op=operation(fields.get("op")),
        status=status(fields.get("status")),
        fields=fields,
    )


def links_text(value: Any, repairs: list[str]) -> str:
    """Span links as a JSON list, '' if there are none; a link without valid ids is dropped and named."""
    links = as_list(value)
    if not links:
        return ""
    kept = [link for link in map(_link, links) if link]
    if len(kept) < len(links):
        repairs.append(LINK_DROPPED)
    return dumps_text(kept) if kept else ""


def _link(value: Any) -> dict[str, Any] | None:
    fields = as_dict(value)
    trace, span = trace_id(fields.get("trace_id")), span_id(fields.get("span_id"))
    if not trace or not span:
        return None
    attributes = {key: _plain(cell) for key, cell in as_dict(fields.get("attributes")).items()}
    link: dict[str, Any] = {"trace_id": trace, "span_id": span, "attributes": attributes}
    sampled = fields.get("sampled")
    return {**link, "sampled": sampled} if sampled.__class__ is bool else link


def _plain(cell: Any) -> Any:
    return cell["value"] if cell.__class__ is dict and "value" in cell else cell
