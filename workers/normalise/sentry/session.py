"""Sentry `session` and `sessions` items: a row per update of a session, a row per aggregate of request sessions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from schemas.envelope import body as envelope
from schemas.headers import Origin
from schemas.rows import CUSTOM, NANOS_PER_SECOND, Row, item_row_id, row_id
from schemas.tolerant_json import dumps_text
from workers.normalise.attributes import ATTRIBUTE_COLUMNS, Attributes
from workers.normalise.durations import DURATION_INVALID, MAX_DURATION_NS, duration_ns
from workers.normalise.envelope_item import (
    ORIGIN_COLUMNS,
    EnvelopeItem,
    RecordRefused,
    distinct,
    open_item,
    origin_values,
)
from workers.normalise.scalars import FROM_TEXT, as_dict, as_text, value_text, whole
from workers.normalise.sentry.container import check_record_count, read_records
from workers.normalise.sentry.payload.resource import build_resource, release_of, sdk_of
from workers.normalise.sentry.payload.scope import choose_environment
from workers.normalise.sentry.payload.user import read_user
from workers.normalise.timestamps import IMPOSSIBLE, MISSING, UNREADABLE, Placed, SenderClock, bound_uint64, parse_ns
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

INVALID_SESSIONS: Final = "invalid_sessions"
INVALID_AGGREGATE: Final = "invalid_aggregate"
INVALID_STARTED: Final = "invalid_started"

STARTED_INVALID: Final = "started_invalid"
ENDS_BEFORE_START: Final = "timestamp_before_started"
SID_INVALID: Final = "sid_invalid"
RELEASE_MISSING: Final = "release_missing"
COUNT_INVALID: Final = "count_invalid"
STATUS_CUT: Final = "status_cut"
INIT_INVALID: Final = "init_invalid"
USER_AGENT_CUT: Final = "user_agent_cut"

_COUNTS: Final = ("exited", "errored", "abnormal", "crashed", "unhandled")
_MAX_COUNT: Final = 2**63 - 1
_MAX_STATUS: Final = 32
# Stored with each of an item's aggregates.
_MAX_BROWSER: Final = 512
_AGGREGATE: Final = dumps_text({"session": True, "aggregate": True})
_NIL_ID: Final = "0" * 32


@dataclass(frozen=True, slots=True)
class _SessionSender:
    """What all rows of one item share: made once, not for each of 100,000 aggregates."""

    origin: Origin
    clock: SenderClock
    prefix: tuple[object, ...]
    environment: str
    release: str
    resource: dict[str, str]
    named_environment: str | None
    address: str | None
    browser: str | None
    item_repairs: tuple[str, ...]
    repairs: tuple[str, ...]


@dataclass(slots=True)
class _Record:
    """What one row says apart from its sender; `placed` is its time as the clock answers it."""

    item_type: str
    event_id: int
    placed: Placed
    user_id: str
    metadata: str
    attributes: Attributes
    payload: str
    repairs: list[str]
    status: str = ""
    duration_ns: int = 0
    ordinal: int = 0


def normalise(origin: Origin, body: bytes, *, retention_days: int = 30) -> Verdict:
    """Rows of the one-item envelope `body` (Sentry session payload; its item type tells `sessions` apart).

    A session or an aggregate without a time is a rejection of its own; each aggregate counts as one record.
    """
    try:
        item = open_item(body)
        clock = item.clock(origin, retention_days)
        if item.header.get("type") == "sessions":
            return _aggregates(item, _sender(origin, item, clock))
        session = _session(origin, item, clock)
        return Verdict(rows=[_row(_sender(origin, item, clock), session)], accepted=1)
    except RecordRefused as refused:
        return refused.verdict()


def _aggregates(item: EnvelopeItem, sender: _SessionSender) -> Verdict:
    """A row per aggregate. Raises RecordRefused if there is no list of them."""
    entries = item.fields.get("aggregates")
    if entries.__class__ is not list:
        raise RecordRefused(
            INVALID_SESSIONS, f'expected {{"aggregates": [...]}} as the sessions, found {value_text(entries)} there'
        )
    check_record_count(entries, "aggregates")
    verdict = Verdict()
    read_records(entries, verdict, partial(_aggregate_row, sender))
    verdict.accepted = len(verdict.rows)
    return verdict


def _session(origin: Origin, item: EnvelopeItem, clock: SenderClock) -> _Record:
    """One update of one session. Raises RecordRefused."""
    fields, repairs, attributes = item.fields, list(item.repairs), Attributes()
    time_ns, started_ns = _times(fields, clock, repairs)
    placed = clock.place_ns(time_ns)
    sid = _sid(fields, repairs)
    status = as_text(fields.get("status")).strip().lower() or "ok"
    if len(status) > _MAX_STATUS:
        repairs.append(STATUS_CUT)
        status = status[:_MAX_STATUS]
    errors = _count(fields.get("errors"), "errors", repairs)
    attributes.put("session.id", sid or None)
    attributes.put("session.started", _iso(min(clock.clamp(started_ns + clock.drift_ns), placed[0])))
    attributes.put("session.errors", errors)
    attributes.put("session.abnormal_mechanism", fields.get("abnormal_mechanism"))
    given = fields.get("duration")
    metadata = {"session": True, "sid": sid, "status": status, "errors": errors, "init": _init(fields, repairs)}
    return _Record(
        item_type="session",
        event_id=_session_row_id(origin, fields, sid),
        placed=placed,
        user_id=as_text(fields.get("did")),
        metadata=dumps_text(metadata),
        attributes=attributes,
        payload=item.text,
        repairs=repairs,
        status=status,
        duration_ns=_between(started_ns, time_ns, repairs) if given is None else duration_ns(given, repairs),
    )


def _between(started_ns: int, time_ns: int, repairs: list[str]) -> int:
    """The length of a session that says only when it began."""
    length_ns = bound_uint64(time_ns - started_ns)
    if length_ns <= MAX_DURATION_NS:
        return length_ns
    repairs.append(DURATION_INVALID)
    return 0


def _init(fields: dict[str, Any], repairs: list[str]) -> bool:
    """Whether this is the first update of its session."""
    value = fields.get("init")
    if value.__class__ is str and value.strip().lower() in ("true", "false"):
        repairs.append(f"{FROM_TEXT}:init")
        return bool(value.strip().lower() == "true")
    if value.__class__ is not bool and value is not None and value not in (0, 1):
        repairs.append(INIT_INVALID)
    return value is True or (value.__class__ in (int, float) and value == 1)


def _times(fields: dict[str, Any], clock: SenderClock, repairs: list[str]) -> tuple[int, int]:
    """(time of the update, start) by the sender's clock; each stands in for the other. Raises RecordRefused."""
    given, started = fields.get("timestamp"), fields.get("started")
    time_ns, started_ns = parse_ns(given), parse_ns(started)
    if time_ns is not None and not clock.is_plausible(time_ns):
        repairs.append(IMPOSSIBLE)
        time_ns = None
    elif time_ns is None:
        repairs.append(MISSING if given is None else UNREADABLE)
    if started_ns is not None and not clock.is_plausible(started_ns):
        repairs.append(STARTED_INVALID)
        started_ns = clock.received_at_ns - clock.drift_ns if time_ns is None else time_ns
    if started_ns is None:
        if time_ns is None:
            raise RecordRefused(
                INVALID_STARTED, f"expected epoch seconds or ISO 8601 as started, found {value_text(started)}"
            )
        repairs.append(STARTED_INVALID)
        return time_ns, time_ns
    if time_ns is None:
        time_ns = clock.received_at_ns - clock.drift_ns
    elif time_ns < started_ns:
        repairs.append(ENDS_BEFORE_START)
    return max(time_ns, started_ns), started_ns


def _sid(fields: dict[str, Any], repairs: list[str]) -> str:
    """The session's id as 32 hex digits, '' if there is none."""
    given = fields.get("sid")
    sid = (envelope.parse_event_id(given.strip()) if given.__class__ is str else None) or _NIL_ID
    if sid == _NIL_ID:
        repairs.append(SID_INVALID)
        return ""
    return sid


def _session_row_id(origin: Origin, fields: dict[str, Any], sid: str) -> int:
    """An update sent twice is one row. SDKs that do not number their updates tell them apart by time and state."""
    if not sid:
        return item_row_id(origin)
    sequence = whole(fields.get("seq"))
    if sequence is not None:
        return row_id("sentry.session", origin.channel_id, sid, "seq", sequence)
    state = (as_text(fields.get(name)) for name in ("timestamp", "status", "errors", "init"))
    return row_id("sentry.session", origin.channel_id, sid, *state)


def _aggregate(sender: _SessionSender, value: Any, index: int) -> _Record:
    """One aggregate: how the sessions of one minute, and maybe of one user, ended. Raises RecordRefused."""
    fields, repairs, attributes = as_dict(value), list(sender.item_repairs), Attributes()
    if value.__class__ is not dict:
        raise RecordRefused(INVALID_AGGREGATE, f"expected an object as aggregates[{index}], found {value_text(value)}")
    started = fields.get("started")
    started_ns = parse_ns(started)
    if started_ns is None:
        expected = f"expected epoch seconds or ISO 8601 as aggregates[{index}].started"
        raise RecordRefused(INVALID_STARTED, f"{expected}, found {value_text(started)}")
    origin = sender.origin
    for name in _COUNTS:
        attributes.put(f"session.{name}", _count(fields.get(name), name, repairs))
    return _Record(
        item_type="sessions",
        event_id=row_id("sentry.sessions", origin.channel_id, origin.origin_id, origin.item_index, index),
        placed=sender.clock.place_ns(started_ns),
        user_id=as_text(fields.get("did")),
        metadata=_AGGREGATE,
        attributes=attributes,
        payload=dumps_text(value),
        repairs=repairs,
        ordinal=index,
    )


def _count(value: Any, name: str, repairs: list[str]) -> int:
    if value is None:
        return 0
    count = value if value.__class__ is int else whole(value)
    if count is None or not 0 <= count <= _MAX_COUNT:
        repairs.append(f"{COUNT_INVALID}:{name}")
        return 0
    if value.__class__ is str:
        repairs.append(f"{FROM_TEXT}:{name}")
    return count


def _iso(time_ns: int) -> str:
    """To the microsecond, which is what SDKs send."""
    seconds, nanos = divmod(time_ns, NANOS_PER_SECOND)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=nanos // 1_000, tzinfo=None)
    return f"{moment.isoformat()}Z"


def _aggregate_row(sender: _SessionSender, value: Any, index: int) -> Row:
    """Raises RecordRefused."""
    return _row(sender, _aggregate(sender, value, index))


def _row(sender: _SessionSender, record: _Record) -> Row:
    attributes, repairs = record.attributes, record.repairs
    timestamp, original_ns, moved = record.placed
    repairs += moved
    repairs += sender.repairs
    attributes.put("sentry.environment", sender.named_environment)
    attributes.put("client.address", sender.address)
    attributes.put("user.id", record.user_id or None)
    attributes.put("user_agent.original", sender.browser)
    attributes.close(repairs)
    return (
        *sender.prefix,
        sender.environment,
        record.event_id,
        CUSTOM,
        record.item_type,
        timestamp,
        original_ns,
        record.ordinal,
        record.status,
        record.duration_ns,
        sender.release,
        *attributes.maps(),
        sender.resource,
        record.user_id,
        attributes.dropped,
        record.metadata,
        record.payload,
        distinct(repairs),
    )


def _sender(origin: Origin, item: EnvelopeItem, clock: SenderClock) -> _SessionSender:
    """From the item's `attrs`; the address and the browser become attributes, as for an event."""
    attrs, repairs, attributes = as_dict(item.fields.get("attrs")), list[str](), Attributes()
    if attrs.get("release") is None:
        repairs.append(RELEASE_MISSING)
    release = release_of(attrs.get("release"), repairs)
    environment = choose_environment(origin, attrs.get("environment"), attributes, repairs)
    sdk = sdk_of(item.fields.get("sdk"), item.envelope.sdk, origin.sentry_client)
    read_user({"user": {"ip_address": attrs.get("ip_address")}}, origin.sender_ip, attributes, repairs)
    browser = as_text(attrs.get("user_agent"))
    if len(browser) > _MAX_BROWSER:
        repairs.append(USER_AGENT_CUT)
    return _SessionSender(
        origin=origin,
        clock=clock,
        prefix=origin_values(origin),
        environment=environment,
        release=release,
        resource=build_resource(release=release, environment=environment, sdk=sdk),
        named_environment=attributes.strings.get("sentry.environment"),
        address=attributes.strings.get("client.address"),
        browser=browser[:_MAX_BROWSER] or None,
        item_repairs=item.repairs,
        repairs=tuple(repairs),
    )
