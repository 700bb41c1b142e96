"""Parses the msgpack files that Sentry's native SDKs attach to a dump into plain JSON values."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import msgpack
import orjson

MAX_FILE_BYTES: Final = 1_048_576
# More breadcrumbs than any SDK keeps.
MAX_BREADCRUMBS: Final = 1_000


def read_message(content: bytes) -> dict[str, Any] | None:
    """The single object of an event file; None for anything else, or above MAX_FILE_BYTES."""
    if len(content) > MAX_FILE_BYTES:
        return None
    try:
        value = msgpack.unpackb(content, unicode_errors="replace", strict_map_key=False, timestamp=1)
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException):
        return None
    return _object(value)


def breadcrumbs(files: list[bytes]) -> list[dict[str, Any]]:
    """The breadcrumbs of both files, oldest first, no longer than the longer file.

    The SDK fills the files in turn and restarts one when the other is full, so either may be the newer one.
    """
    trails = sorted((_trail(content) for content in files), key=_last_time)
    longest = max((len(trail) for trail in trails), default=0)
    return [crumb for trail in trails for crumb in trail][-longest:] if longest else []


def _trail(content: bytes) -> list[dict[str, Any]]:
    """The objects up to the first broken one: a crash may have cut the last one."""
    breadcrumbs: deque[dict[str, Any]] = deque(maxlen=MAX_BREADCRUMBS)
    unpacker = msgpack.Unpacker(
        unicode_errors="replace", strict_map_key=False, timestamp=1, max_buffer_size=MAX_FILE_BYTES
    )
    try:
        unpacker.feed(content)
        for value in unpacker:
            crumb = _object(value)
            if crumb is not None:
                breadcrumbs.append(crumb)
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException):
        pass
    return list(breadcrumbs)


def _last_time(trail: list[dict[str, Any]]) -> str:
    """RFC 3339 in UTC, which sorts as text."""
    return next((str(crumb["timestamp"]) for crumb in reversed(trail) if crumb.get("timestamp") is not None), "")


def _object(value: Any) -> dict[str, Any] | None:
    """The object with JSON values only; None if it is no object or cannot be written as JSON."""
    if value.__class__ is not dict:
        return None
    try:
        plain = orjson.loads(orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS))
    except (TypeError, ValueError):
        return None
    return plain  # type: ignore[no-any-return]  # an object was written


def _plain(value: Any) -> Any:
    return bytes(value).decode("utf-8", "replace") if isinstance(value, bytes | bytearray) else None
