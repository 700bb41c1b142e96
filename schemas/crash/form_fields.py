"""Converts the text fields of a crash upload to one event: JSON, JSON in chunks, bracketed paths.

Follows the Sentry minidump endpoint, "passing additional data": `sentry`, `sentry___<name>`, `sentry__<number>`,
`sentry[a][b]`; every other field is extra data.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from schemas.tolerant_json import loads

MAX_TEXT_BYTES: Final = 1_048_576
MAX_LEVELS: Final = 15

FIELD_INVALID: Final = "sentry_field_invalid"
FIELDS_DROPPED: Final = "form_fields_dropped"

_CHUNK: Final = re.compile(r"sentry__(\d{1,6})", re.ASCII)
_PATH: Final = re.compile(rf"sentry((?:\[[^\[\]]{{0,200}}\]){{1,{MAX_LEVELS}}})")
_KEY: Final = re.compile(r"\[([^\[\]]*)\]")

Field = tuple[str, bytes]


def read(fields: Sequence[Field], repairs: list[str]) -> dict[str, Any]:
    """The event that text fields (name, value) describe; {} if there is none. `repairs` gets the names of lost data."""
    event: dict[str, Any] = {}
    kept = _within_limit(fields, repairs)
    for text in (*_whole(kept), _joined(kept)):
        merge(event, _object(text, repairs))
    for name, value in kept:
        path = _PATH.fullmatch(name)
        if path is not None:
            merge(event, _nested(_KEY.findall(path[1]), _text(value)))
    extra = {name: _text(value) for name, value in kept if not _is_ours(name)}
    if extra:
        merge(event, {"extra": extra})
    return event


def merge(event: dict[str, Any], more: dict[str, Any], levels: int = MAX_LEVELS) -> None:
    """Adds to `event` what only `more` has; existing values stay."""
    for key, value in more.items():
        existing = event.get(key)
        if existing is None:
            event[key] = value
        elif levels and existing.__class__ is dict and value.__class__ is dict:
            merge(existing, value, levels - 1)


def _within_limit(fields: Sequence[Field], repairs: list[str]) -> list[Field]:
    """Fields up to the limit of all text together: too long notes must not cost the dump."""
    kept: list[Field] = []
    left_bytes = MAX_TEXT_BYTES
    for name, value in fields:
        if len(name) + len(value) > left_bytes:
            repairs.append(FIELDS_DROPPED)
            continue
        left_bytes -= len(name) + len(value)
        kept.append((name, value))
    return kept


def _whole(fields: Sequence[Field]) -> list[bytes]:
    return [value for name, value in fields if name == "sentry"] + [
        value for name, value in fields if name.startswith("sentry___")
    ]


def _joined(fields: Sequence[Field]) -> bytes:
    """The chunks in the order of their numbers."""
    chunks = [(int(match[1]), value) for name, value in fields if (match := _CHUNK.fullmatch(name))]
    return b"".join(value for _, value in sorted(chunks, key=lambda chunk: chunk[0]))


def _object(text: bytes, repairs: list[str]) -> dict[str, Any]:
    if not text.strip():
        return {}
    try:
        value = loads(text)
    except ValueError:
        value = None
    if value.__class__ is not dict:
        repairs.append(FIELD_INVALID)
        return {}
    return dict(value)


def _nested(keys: list[str], value: str) -> dict[str, Any]:
    nested: Any = value
    for key in reversed(keys):
        nested = {key: nested}
    return dict(nested)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _is_ours(name: str) -> bool:
    return name == "sentry" or name.startswith("sentry__") or _PATH.fullmatch(name) is not None
