"""The forms in which Sentry payloads write key-value lists: an object, pairs, or objects of key and value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from workers.normalise.scalars import as_text


def pairs(value: Any) -> Iterator[tuple[str, Any]]:
    """(key, value) of each entry, in order; what is none of the forms has no entries."""
    if value.__class__ is dict:
        yield from value.items()
    elif value.__class__ is list:
        for entry in value:
            pair = _pair(entry)
            if pair is not None:
                yield pair


def _pair(entry: Any) -> tuple[str, Any] | None:
    if entry.__class__ is list and len(entry) == 2:
        return as_text(entry[0]), entry[1]
    if entry.__class__ is dict and "key" in entry:
        return as_text(entry["key"]), entry.get("value")
    return None
