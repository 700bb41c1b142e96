"""A Sentry envelope into its items, after the Sentry envelope specification."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import orjson

from schemas.envelope import body as envelope
from schemas.headers import Origin
from schemas.tolerant_json import loads
from workers.normalise.verdict import Invalid
from workers.unpack import client_report
from workers.unpack.pieces import ITEM_WORKERS, Split, word

COUNTED: Final = "counted_in_outcomes"
MALFORMED: Final = "malformed"
# Some of its entries have no reason, no category or no number; the others are counted.
PARTLY_MALFORMED: Final = "partly_malformed"
# An event's JSON sent here reads as a header without items: acknowledged, as by the reference, but counted and named.
NO_ITEMS: Final = "no_items"

# SDKs' headers have 200 to 1,000 bytes.
MAX_LINE_BYTES: Final = 2 * 1024
MAX_TEXT_LENGTH: Final = 512

_CLIENT_REPORT: Final = "client_report"
_MINIDUMP: Final = "minidump"
_EVENT: Final = "event"
# Item types that another type's worker reads; the item's own header keeps its type.
_WORKER_OF: Final = {
    "sessions": "session",
    "user_report": "feedback",
    "raw_security": "csp",
    "security": "csp",
    "csp-report": "csp",
}


def read(body: bytes, _origin: Origin, _limit_bytes: int) -> Split:
    """Every item that has a worker, each as an envelope of its own. Raises Invalid."""
    try:
        header, items = envelope.read(body)
    except envelope.EnvelopeError as error:
        raise Invalid(str(error)) from error
    line = _line_of_items(header)
    found = Split()
    if not items:
        found.reports[NO_ITEMS, "envelope"] += 1
    for item in _with_crash_as_one(items):
        worker = _worker(item)
        if worker in ITEM_WORKERS:
            found.items.append((item.index, worker, envelope.write_single(line, item.header, item.payload)))
        elif item.type == _CLIENT_REPORT:
            _count_report(item.payload, found)
        else:
            found.drop(word(item.type))
    return found


def _worker(item: envelope.Item) -> str:
    """A dump is an attachment to its sender; what is made of it is an error, and its bytes may be hostile."""
    if item.type == "attachment" and item.header.get("attachment_type") == "event.minidump":
        return _MINIDUMP
    return _WORKER_OF.get(item.type, item.type)


def _with_crash_as_one(items: list[envelope.Item]) -> list[envelope.Item]:
    """The items, an event and the first dump beside it as one: the dump tells what happened, the event to whom.

    It is the item that a crash upload by form becomes. An event that is no JSON object stays an item of its own.
    """
    dump = next((item for item in items if _worker(item) == _MINIDUMP), None)
    event = next((item for item in items if item.type == _EVENT), None) if dump else None
    if dump is None or event is None or not _is_object(event.payload):
        return items
    said = bytes(event.payload)
    header = {**dump.header, "meta_length": len(said)}
    crash = replace(dump, header=header, payload=said + bytes(dump.payload))
    return [crash if item is dump else item for item in items if item is not event]


def _is_object(payload: bytes | memoryview) -> bool:
    try:
        return loads(bytes(payload)).__class__ is dict
    except ValueError:
        return False


def _count_report(payload: bytes | memoryview, found: Split) -> None:
    """No row is made of a report: what it says is counted, and so is the report itself."""
    try:
        lost, is_partly_malformed = client_report.read(payload)
        for kind, quantity in lost.items():
            found.lose(kind, quantity)
        found.reports[PARTLY_MALFORMED if is_partly_malformed else COUNTED, _CLIENT_REPORT] += 1
    except client_report.MalformedReport:
        found.reports[MALFORMED, _CLIENT_REPORT] += 1


def _line_of_items(header: envelope.EnvelopeHeader) -> bytes:
    """The header line, for each item; a `dsn` in it holds the key, which must not travel on into tables.

    A long one is copied and read once for each of up to 500 items: of it only what normalisers read goes on.
    """
    if len(header.raw) > MAX_LINE_BYTES:
        return orjson.dumps(_read_by_normalisers(header))
    if header.dsn is None:
        return header.raw
    return orjson.dumps({name: value for name, value in header.fields.items() if name != "dsn"})


def _read_by_normalisers(header: envelope.EnvelopeHeader) -> dict[str, Any]:
    """SDKs put all of a trace's state beside these members, and lists of packages."""
    kept = {
        "event_id": header.event_id,
        "sent_at": header.sent_at,
        "sdk": _texts(header.sdk, ("name", "version")),
        "trace": _texts(header.trace, ("trace_id", "environment", "release")),
    }
    return {name: value for name, value in kept.items() if value}


def _texts(fields: dict[str, Any] | None, names: tuple[str, ...]) -> dict[str, str]:
    found = {name: (fields or {}).get(name) for name in names}
    return {name: text[:MAX_TEXT_LENGTH] for name, text in found.items() if isinstance(text, str)}
