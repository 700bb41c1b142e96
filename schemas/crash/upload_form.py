"""Parses a crash upload: the dump, the other files, the event of its text fields, and the event's id.

Follows the Sentry minidump endpoint. Receiver and workers both get the id from here, so that answer and row agree. The
dump itself is parsed elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson

from schemas import form
from schemas.crash import form_fields
from schemas.crash.msgpack_files import breadcrumbs, read_message
from schemas.envelope.body import parse_event_id
from schemas.form import FormError, Part
from schemas.rows import row_id

DUMP_FIELD: Final = "upload_file_minidump"
EVENT_FILE: Final = "__sentry-event"
BREADCRUMB_FILES: Final = ("__sentry-breadcrumb1", "__sentry-breadcrumb2")
# Maximum size of the event as JSON: it travels in one message with the dump.
MAX_EVENT_BYTES: Final = 1_048_576
# Old Electron versions wrap the whole form into the field of the dump, once.
MAX_NESTING: Final = 2

EVENT_FILE_INVALID: Final = "event_file_invalid"
EVENT_TOO_LARGE: Final = "event_too_large"
REPAIRS: Final = frozenset(
    {
        EVENT_FILE_INVALID,
        EVENT_TOO_LARGE,
        form_fields.FIELD_INVALID,
        form_fields.FIELDS_DROPPED,
    }
)

_NIL_ID: Final = "0" * 32


@dataclass(frozen=True, slots=True)
class CrashUpload:
    """One crash. `event_id` is 32 hex digits, the sender's or made from the dump; `event` is plain JSON values."""

    dump: Part
    event: dict[str, Any]
    event_id: str
    files: list[Part]
    repairs: tuple[str, ...]


def read(body: bytes, content_type: str, channel_id: int) -> CrashUpload:
    """Parses a form, or a bare dump under any other Content-Type. Raises FormError."""
    parts = _parts(body, content_type)
    dump = _dump(parts)
    repairs: list[str] = []
    event = _event(parts, repairs)
    identifier = _event_id(event, dump, channel_id)
    crumbs = breadcrumbs([_file(parts, name) for name in BREADCRUMB_FILES])
    if crumbs:
        event.setdefault("breadcrumbs", crumbs)
    files = [part for part in parts if part is not dump and part.filename is not None and not _is_absorbed(part)]
    return CrashUpload(dump, _bounded(event, repairs), identifier, files, tuple(dict.fromkeys(repairs)))


def crash_id(body: bytes, content_type: str, channel_id: int) -> str:
    """The event id that `read` finds, without its other work; an id for any body, even if it is no crash upload.

    Without an id of the sender, it is made from the dump's bytes, because the form's boundary changes with each retry.
    """
    try:
        parts = _parts(body, content_type)
        return _event_id(_event(parts, []), _dump(parts), channel_id)
    except FormError:
        return f"{row_id('sentry.minidump', channel_id, body):032x}"


def _parts(body: bytes, content_type: str) -> list[Part]:
    if not form.is_form(content_type):
        return _unwrapped([Part(DUMP_FIELD, None, "", body)])
    return _unwrapped(form.read(body, content_type))


def _unwrapped(parts: list[Part]) -> list[Part]:
    """The parts; a form inside the dump's field is replaced by its own parts. Raises FormError."""
    for _ in range(MAX_NESTING):
        place = next((index for index, part in enumerate(parts) if part.name == DUMP_FIELD), None)
        nested = None if place is None else form.read_nested(parts[place].content)
        if place is None or nested is None:
            return parts
        parts = [*parts[:place], *nested, *parts[place + 1 :]]
    return parts


def _dump(parts: list[Part]) -> Part:
    for part in parts:
        if part.name == DUMP_FIELD and part.content:
            return part
    raise FormError(f"crash upload: expected a minidump in the field {DUMP_FIELD}, found none; send the dump there")


def _event(parts: list[Part], repairs: list[str]) -> dict[str, Any]:
    """The event file, then the text fields; the first value of a name wins."""
    event: dict[str, Any] = {}
    packed = _file(parts, EVENT_FILE)
    if packed:
        event_of_file = read_message(packed)
        if event_of_file is None:
            repairs.append(EVENT_FILE_INVALID)
        event = event_of_file or {}
    texts = [
        (part.name, part.content)
        for part in parts
        if part.filename is None and part.name != DUMP_FIELD and not _is_absorbed(part)
    ]
    form_fields.merge(event, form_fields.read(texts, repairs))
    return event


def _event_id(event: dict[str, Any], dump: Part, channel_id: int) -> str:
    given = event.get("event_id")
    parsed = parse_event_id(given.strip()) if isinstance(given, str) else None
    if parsed is None or parsed == _NIL_ID:
        return f"{row_id('sentry.minidump', channel_id, dump.content):032x}"
    return parsed


def _bounded(event: dict[str, Any], repairs: list[str]) -> dict[str, Any]:
    """The event if it can be written and is not too large, else an empty one: the dump matters more."""
    try:
        if len(orjson.dumps(event)) <= MAX_EVENT_BYTES:
            return event
    except (TypeError, ValueError):  # too deep
        pass
    repairs.append(EVENT_TOO_LARGE)
    return {}


def _file(parts: list[Part], name: str) -> bytes:
    return next((part.content for part in parts if name in (part.name, part.filename)), b"")


def _is_absorbed(part: Part) -> bool:
    names = (part.name, part.filename)
    return EVENT_FILE in names or any(name in names for name in BREADCRUMB_FILES)
