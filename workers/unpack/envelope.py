"""Splits a Sentry envelope into its items, after the Sentry envelope specification."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import orjson

from schemas.envelope import body as envelope
from schemas.headers import Origin
from schemas.tolerant_json import loads
from workers.normalise.scalars import as_dict
from workers.normalise.verdict import Invalid
from workers.unpack import client_report
from workers.unpack.pieces import ITEM_WORKERS, Split, word

COUNTED: Final = "counted_in_outcomes"
MALFORMED: Final = "malformed"
# Some of its entries have no reason, no category or no number; the others are counted.
PARTLY_MALFORMED: Final = "partly_malformed"
# An event's JSON sent to this endpoint looks like a header without items: accepted, as Sentry does, and counted.
NO_ITEMS: Final = "no_items"

# SDKs' headers have 200 to 1,000 bytes.
MAX_LINE_BYTES: Final = 2 * 1024
MAX_TEXT_LENGTH: Final = 512

_CLIENT_REPORT: Final = "client_report"
_MINIDUMP: Final = "minidump"
_EVENT: Final = "event"
# Items that say nothing of release, environment and trace themselves, and the items beside them that do.
_WITHOUT_FACTS: Final = frozenset({"attachment", "user_report"})
_WITH_FACTS: Final = ("event", "transaction", "feedback")
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
    opened = _opened(header, line)
    line_of_files = _line_of_files(line, items)
    split = Split()
    if not items:
        split.reports[NO_ITEMS, "envelope"] += 1
    for item in _with_crash_as_one(items):
        worker = _worker(item)
        if worker in ITEM_WORKERS:
            if opened is None or item.type in _WITHOUT_FACTS:
                own = line_of_files if item.type in _WITHOUT_FACTS else line
                single = envelope.write_single(own, item.header, item.payload)
            else:
                single = envelope.write_opened(opened, item.header, item.payload)
            split.items.append((item.index, worker, single))
        elif item.type == _CLIENT_REPORT:
            _count_report(item.payload, split)
        else:
            split.drop(word(item.type))
    return split


def _worker(item: envelope.Item) -> str:
    """The worker of an item. Senders send a minidump as an attachment; its worker makes an error of it."""
    if item.type == "attachment" and item.header.get("attachment_type") == "event.minidump":
        return _MINIDUMP
    return _WORKER_OF.get(item.type, item.type)


def _with_crash_as_one(items: list[envelope.Item]) -> list[envelope.Item]:
    """The items, with an event and the first minidump joined into one item, as in a crash upload by form.

    An event that is no JSON object stays an item of its own.
    """
    dump = next((item for item in items if _worker(item) == _MINIDUMP), None)
    event = next((item for item in items if item.type == _EVENT), None) if dump else None
    if dump is None or event is None or not _is_object(event.payload):
        return items
    event_json = bytes(event.payload)
    header = {**dump.header, "meta_length": len(event_json)}
    crash = replace(dump, header=header, payload=event_json + bytes(dump.payload))
    return [crash if item is dump else item for item in items if item is not event]


def _line_of_files(line: bytes, items: list[envelope.Item]) -> bytes:
    """The header line for files and user reports: with the release, environment and trace of the event beside them.

    Some SDKs (Rust) write no trace into the header; where there is one, what the event itself says comes first.
    """
    if not any(item.type in _WITHOUT_FACTS for item in items):
        return line
    event = next((item for item in items if item.type in _WITH_FACTS), None)
    if event is None:
        return line
    with suppress(ValueError):
        fields = loads(bytes(event.payload))
        if fields.__class__ is dict:
            return with_facts(line, fields)
    return line


def with_facts(line: bytes, event: dict[str, Any]) -> bytes:
    """A header line with an event's release, environment, trace and SDK in the places where senders write them."""
    header = as_dict(loads(line or b"{}"))
    trace = as_dict(as_dict(event.get("contexts")).get("trace"))
    said = {
        "trace_id": trace.get("trace_id"),
        "release": event.get("release"),
        "environment": event.get("environment"),
    }
    facts = _texts(said, tuple(said))
    if facts:
        header["trace"] = as_dict(header.get("trace")) | facts
    sdk = _texts(as_dict(event.get("sdk")), ("name", "version"))
    if sdk and not as_dict(header.get("sdk")).get("name"):
        header["sdk"] = sdk
    return orjson.dumps(header)


def _is_object(payload: bytes | memoryview) -> bool:
    try:
        return loads(bytes(payload)).__class__ is dict
    except ValueError:
        return False


def _count_report(payload: bytes | memoryview, split: Split) -> None:
    """Counts the records in a client report, and the report itself. It makes no row."""
    try:
        lost, is_partly_malformed = client_report.read(payload)
        for kind, quantity in lost.items():
            split.lose(kind, quantity)
        split.reports[PARTLY_MALFORMED if is_partly_malformed else COUNTED, _CLIENT_REPORT] += 1
    except client_report.MalformedReport:
        split.reports[MALFORMED, _CLIENT_REPORT] += 1


def _line_of_items(header: envelope.EnvelopeHeader) -> bytes:
    """The header line for each item, without `dsn`, which has the key and must not reach tables.

    It is copied and read for each of up to 500 items. So of a long one only the fields that normalisers read are kept.
    """
    if len(header.raw) > MAX_LINE_BYTES:
        return orjson.dumps(_read_by_normalisers(header))
    if header.dsn is None:
        return header.raw
    return orjson.dumps({name: value for name, value in header.fields.items() if name != "dsn"})


def _opened(header: envelope.EnvelopeHeader, line: bytes) -> envelope.EnvelopeHeader | None:
    """What reading `line` as a header gives, without reading it; None where it has to be read to know."""
    if header.repairs or len(header.raw) > MAX_LINE_BYTES:
        return None
    if header.dsn is None:
        return header
    fields = {name: value for name, value in header.fields.items() if name != "dsn"}
    return replace(header, dsn=None, fields=fields, raw=line)


def _read_by_normalisers(header: envelope.EnvelopeHeader) -> dict[str, Any]:
    """The fields that normalisers read. SDKs also send the state of a trace and lists of packages."""
    kept = {
        "event_id": header.event_id,
        "sent_at": header.sent_at,
        "sdk": _texts(header.sdk, ("name", "version")),
        "trace": _texts(header.trace, ("trace_id", "environment", "release")),
    }
    return {name: value for name, value in kept.items() if value}


def _texts(fields: dict[str, Any] | None, names: tuple[str, ...]) -> dict[str, str]:
    values = {name: (fields or {}).get(name) for name in names}
    return {name: text[:MAX_TEXT_LENGTH] for name, text in values.items() if isinstance(text, str)}
