"""The one item of an ITEMS message, opened: headers, payload, its JSON text. What its fields mean is not known here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from schemas.envelope import body as envelope
from schemas.headers import Origin
from schemas.rows import item_row_id
from schemas.tolerant_json import dumps_text, loads_with_text
from workers.normalise.scalars import value_text
from workers.normalise.secrets.payload import filter_payload_headers
from workers.normalise.timestamps import SenderClock, parse_ns
from workers.normalise.verdict import Rejection, Verdict

INVALID_JSON: Final = "invalid_json"
INVALID_ENVELOPE: Final = "invalid_envelope"
NOT_AN_OBJECT: Final = "not_an_object"

EVENT_ID_INVALID: Final = "event_id_invalid"
EVENT_ID_DIFFERS: Final = "event_id_differs"
PAYLOAD_REWRITTEN: Final = "payload_rewritten"

# What unpack had to leave out or change, in the header of the item that it writes; other words there are a sender's.
BODY_IGNORED: Final = "check_in_body_ignored"
FIELDS_IGNORED: Final = "check_in_fields_ignored"
SLUG_DIFFERS: Final = "monitor_slug_differs"
QUERY_VALUE_CUT: Final = "query_value_cut"
MEDIA_TYPE_CUT: Final = "content_type_cut"
UNPACK_REPAIRS: Final = frozenset({BODY_IGNORED, FIELDS_IGNORED, SLUG_DIFFERS, QUERY_VALUE_CUT, MEDIA_TYPE_CUT})
# What workers/symbolicate could not do, and how far it came, in the header of the item that it writes.
SYMBOLICATED: Final = "symbolicated"
SYMBOLICATION_REPAIRS: Final = frozenset(
    {
        *("source_map_missing", "source_map_invalid", "source_map_too_costly", "source_map_unreachable"),
        *("mapping_missing", "mapping_invalid", "symbolic_not_installed", "symbolication_failed", PAYLOAD_REWRITTEN),
    }
)
_TOLD_REPAIRS: Final = UNPACK_REPAIRS | SYMBOLICATION_REPAIRS

MAX_REPAIRS: Final = 32
_NIL_ID: Final = "0" * 32

# What every row takes from the message's headers, in this order and first.
ORIGIN_COLUMNS: Final = ("organisation", "channel_id", "key_id", "received_at", "version", "source_seq", "source_item")


class RecordRefused(ValueError):
    """A record that cannot become a row: count it under `reason`, go on with its neighbours."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail

    def at(self, index: int) -> Rejection:
        """As the rejection of record `index`."""
        return Rejection(index, self.reason, self.detail)

    def verdict(self) -> Verdict:
        """As the verdict on a message that held nothing else."""
        return Verdict(rejections=[self.at(0)])


@dataclass(slots=True)
class EnvelopeItem:
    """The envelope's header, the item's header, its payload as an object and as strict JSON text.

    `repairs` says what had to be changed to read it.
    """

    envelope: envelope.EnvelopeHeader
    header: dict[str, Any]
    fields: dict[str, Any]
    text: str
    repairs: tuple[str, ...]

    def clock(self, origin: Origin, retention_days: int) -> SenderClock:
        """The clock of this body (Sentry envelope specification, `sent_at`)."""
        return SenderClock(origin.received_at_ns, parse_ns(self.envelope.sent_at), retention_days)


def open_item(body: bytes) -> EnvelopeItem:
    """Read a one-item envelope whose payload is a JSON object. Raises RecordRefused."""
    header, item = _single(body)
    fields, text, rewritten = _payload(item.payload)
    repairs = _repairs(header, item)
    if rewritten:
        repairs = (*repairs, PAYLOAD_REWRITTEN)
    if filter_payload_headers(fields, item.payload):
        text = dumps_text(fields)
    return EnvelopeItem(header, item.header, fields, text, repairs)


def open_file(body: bytes) -> tuple[EnvelopeItem, memoryview | bytes]:
    """The same for a payload that is a file: the item, whose text is its header as JSON, and the raw payload."""
    header, item = _single(body)
    return EnvelopeItem(header, item.header, {}, dumps_text(item.header), _repairs(header, item)), item.payload


def _repairs(header: envelope.EnvelopeHeader, item: envelope.Item) -> tuple[str, ...]:
    repairs = (*header.repairs, *item.repairs)
    named = item.header.get("repairs")
    if named.__class__ is not list:
        return repairs
    return (*repairs, *(word for word in named if word.__class__ is str and word in _TOLD_REPAIRS))


def _single(body: bytes) -> tuple[envelope.EnvelopeHeader, envelope.Item]:
    try:
        header, items = envelope.read(body)
    except envelope.EnvelopeError as error:
        raise RecordRefused(INVALID_ENVELOPE, str(error)) from error
    if len(items) != 1:
        raise RecordRefused(INVALID_ENVELOPE, f"expected an envelope of one item, found {len(items)}; unpack it first")
    return header, items[0]


def _payload(payload: memoryview | bytes) -> tuple[dict[str, Any], str, bool]:
    try:
        value, text, rewritten = loads_with_text(payload)
    except ValueError as error:
        raise RecordRefused(INVALID_JSON, f"expected a JSON object as the item's payload: {error}") from error
    if value.__class__ is not dict:
        raise RecordRefused(NOT_AN_OBJECT, f"expected a JSON object as the item's payload, found {value_text(value)}")
    return value, text, rewritten


def origin_values(origin: Origin) -> tuple[object, ...]:
    """The values of ORIGIN_COLUMNS."""
    return (
        origin.organisation,
        origin.channel_id,
        origin.key_id,
        origin.received_at_ns,
        origin.version,
        origin.origin_seq,
        origin.item_index,
    )


def row_event_id(origin: Origin, item: EnvelopeItem, repairs: list[str]) -> int:
    """The 128-bit id of an event or transaction row: the envelope's id, else the payload's, else one derived.

    The header wins where they differ (Sentry envelope specification, `event_id`).
    """
    given = item.fields.get("event_id")
    if given is not None and given == item.envelope.event_id and given != _NIL_ID:
        return int(given, 16)
    own = (envelope.parse_event_id(given.strip()) if given.__class__ is str else None) or _NIL_ID
    if given is not None and own == _NIL_ID:
        repairs.append(EVENT_ID_INVALID)
    named = item.envelope.event_id or _NIL_ID
    if named != _NIL_ID:
        if own not in (_NIL_ID, named):
            repairs.append(EVENT_ID_DIFFERS)
        return int(named, 16)
    if own != _NIL_ID:
        return int(own, 16)
    return item_row_id(origin)


def distinct(repairs: list[str]) -> list[str]:
    """Each repair once, in order, bounded: keys of attributes may be part of them."""
    return list(dict.fromkeys(repairs))[:MAX_REPAIRS] if repairs else repairs
