"""Sentry `check_in` items: one row per state a monitored job reports. Pairing start and end is left to queries."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from schemas.envelope import body as envelope
from schemas.headers import Origin
from schemas.rows import CUSTOM, Row, item_row_id, row_id
from schemas.tolerant_json import dumps_text
from workers.normalise.attributes import ATTRIBUTE_COLUMNS, Attributes
from workers.normalise.durations import duration_ns
from workers.normalise.envelope_item import (
    ORIGIN_COLUMNS,
    EnvelopeItem,
    RecordRefused,
    distinct,
    open_item,
    origin_values,
)
from workers.normalise.scalars import as_text, named_number, value_text
from workers.normalise.sentry.payload.scope import read_scope
from workers.normalise.timestamps import Placed, SenderClock
from workers.normalise.verdict import Verdict

COLUMNS: Final[tuple[str, ...]] = (
    *ORIGIN_COLUMNS,
    "environment",
    "event_id",
    "event_type",
    "item_type",
    "timestamp",
    "original_timestamp_ns",
    "trace_id",
    "span_id",
    "status",
    "duration_ns",
    "name",
    *ATTRIBUTE_COLUMNS,
    "resource",
    "user_id",
    "dropped_attributes_count",
    "metadata",
    "payload",
    "repairs",
)

MISSING_SLUG: Final = "missing_monitor_slug"

SLUG_CUT: Final = "monitor_slug_cut"
STATUS_UNKNOWN: Final = "status_unknown"
ID_MISSING: Final = "check_in_id_missing"
ID_INVALID: Final = "check_in_id_invalid"
CONFIG_INVALID: Final = "monitor_config_invalid"

# Twice what Sentry has ever allowed: a cut would make one monitor of two.
MAX_SLUG_LENGTH: Final = 256
_NOT_IN_SLUGS: Final = re.compile(r"[^a-z0-9_\s-]")
_BLANKS: Final = re.compile(r"[-\s]+")
_UNKNOWN: Final = "unknown"
_NUMBERS: Final = frozenset({"checkin_margin", "max_runtime", "failure_issue_threshold", "recovery_threshold"})
_STATUSES: Final = frozenset({"ok", "error", "in_progress", "missed", _UNKNOWN})
_NIL_ID: Final = "0" * 32


@dataclass(frozen=True, slots=True)
class _CheckIn:
    """What names a check-in: `check_in_id` is 32 hex digits, or '' where the sender left it out."""

    slug: str
    check_in_id: str
    status: str


def normalise(origin: Origin, body: bytes, *, retention_days: int = 30) -> Verdict:
    """One row for the one-item envelope `body` (Sentry check-in payload); one without a monitor slug is a rejection."""
    try:
        item = open_item(body)
        repairs = list(item.repairs)
        check_in = _read(item.fields, repairs)
    except RecordRefused as refused:
        return refused.verdict()
    return Verdict(rows=[_row(origin, item, check_in, item.clock(origin, retention_days), repairs)], accepted=1)


def _read(fields: dict[str, Any], repairs: list[str]) -> _CheckIn:
    """The identity of a check-in. Raises RecordRefused."""
    given = fields.get("monitor_slug")
    slug = "" if given.__class__ in (dict, list, bool) else as_text(given).strip()
    if not slug:
        raise RecordRefused(MISSING_SLUG, f"expected the monitor's name as monitor_slug, found {value_text(given)}")
    slug = slugified(slug)
    if len(slug) > MAX_SLUG_LENGTH:
        repairs.append(SLUG_CUT)
    return _CheckIn(slug[:MAX_SLUG_LENGTH], _check_in_id(fields, repairs), _status(fields.get("status"), repairs))


@lru_cache(1024)  # jobs are few, and each runs again and again
def slugified(text: str) -> str:
    """The one way to write a monitor's name, as Sentry has it; a name without a single ASCII letter or digit stays."""
    plain = unicodedata.normalize("NFKD", text[: 4 * MAX_SLUG_LENGTH]).encode("ascii", "ignore").decode().lower()
    return _BLANKS.sub("-", _NOT_IN_SLUGS.sub("", plain)).strip("-_") or text


def _check_in_id(fields: dict[str, Any], repairs: list[str]) -> str:
    """All zeros mean "the latest one" to Sentry, which only a query can answer: it counts as none."""
    given = fields.get("check_in_id")
    identifier = envelope.parse_event_id(given.strip()) if given.__class__ is str else None
    if identifier and identifier != _NIL_ID:
        return identifier
    repairs.append(ID_MISSING if identifier or given is None or given == "" else ID_INVALID)
    return ""


def _status(value: Any, repairs: list[str]) -> str:
    status = as_text(value).strip().lower()
    if status in _STATUSES:
        return status
    repairs.append(STATUS_UNKNOWN)
    return _UNKNOWN


def _row(origin: Origin, item: EnvelopeItem, check_in: _CheckIn, clock: SenderClock, repairs: list[str]) -> Row:
    fields = item.fields
    timestamp, original_ns, moved = _place(fields.get("timestamp"), clock)
    repairs += moved
    scope = read_scope(origin, item, repairs)
    attributes = scope.attributes
    _put_config(fields.get("monitor_config"), attributes, repairs)
    duration = duration_ns(fields.get("duration"), repairs)
    attributes.close(repairs)
    return (
        *origin_values(origin),
        scope.environment,
        _row_id(origin, check_in),
        CUSTOM,
        "check_in",
        timestamp,
        original_ns,
        scope.trace.trace_id,
        scope.trace.span_id,
        check_in.status,
        duration,
        check_in.slug,
        *attributes.maps(),
        scope.resource,
        scope.user_id,
        attributes.dropped,
        _metadata(check_in),
        item.text,
        distinct(repairs),
    )


def _place(value: Any, clock: SenderClock) -> Placed:
    """A check-in is sent when it happens; the payload has no field for the time, though some SDKs write one."""
    return (clock.received_at_ns, 0, ()) if value is None else clock.place(value)


def _row_id(origin: Origin, check_in: _CheckIn) -> int:
    """Start and end of one check-in are two rows, the same state sent twice is one."""
    if not check_in.check_in_id:
        return item_row_id(origin)
    return row_id("sentry.check_in", origin.channel_id, check_in.check_in_id, check_in.status)


def _put_config(value: Any, attributes: Attributes, repairs: list[str]) -> None:
    """`monitor.<field>`, and `monitor.schedule.<field>` for the schedule."""
    if value is None:
        return
    if value.__class__ is not dict:
        repairs.append(CONFIG_INVALID)
        return
    for key, content in value.items():
        if content.__class__ is dict:
            attributes.put_all(f"monitor.{key}.", content)
        else:
            attributes.put(f"monitor.{key}", _configured(key, content, repairs))
    schedule = value.get("schedule")
    if schedule is not None and schedule.__class__ is not dict:
        repairs.append(CONFIG_INVALID)


def _configured(key: str, content: Any, repairs: list[str]) -> Any:
    """Minutes and numbers of failures are numbers, however they were written."""
    return named_number(content, key, repairs) if key in _NUMBERS else content


def _metadata(check_in: _CheckIn) -> str:
    metadata: dict[str, Any] = {
        "checkIn": True,
        "monitorSlug": check_in.slug,
        "checkInId": check_in.check_in_id,
        "status": check_in.status,
    }
    if not check_in.check_in_id:
        metadata["checkInIdMissing"] = True
    return dumps_text(metadata)
