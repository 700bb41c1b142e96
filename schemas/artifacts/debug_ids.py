"""Debug ids: what names a minified file and its source map, or a mapping, whatever they are called."""

from __future__ import annotations

import hashlib
import re
import uuid
from typing import Any, Final

_DEBUG_ID: Final = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.ASCII)
_MAX_LENGTH: Final = 64
_PROGUARD_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_DNS, "guardsquare.com")


def debug_id(value: Any) -> str:
    """32 lower-case hex digits; '' if `value` is no debug id. What follows them, the age of a PDB, is ignored."""
    if value.__class__ is not str or len(value) > _MAX_LENGTH:
        return ""
    match = _DEBUG_ID.match(value.strip().lower())
    return match[0].replace("-", "") if match else ""


def dashed(hex_digits: str) -> str:
    """As tools print them."""
    return str(uuid.UUID(hex_digits)) if hex_digits else ""


def proguard_id(mapping: bytes) -> str:
    """The debug id of a ProGuard mapping: a UUID of its content, as Sentry's Gradle plugin computes it."""
    # uuid5 takes text only; this is the same over bytes.
    digest = hashlib.sha1(_PROGUARD_NAMESPACE.bytes + mapping, usedforsecurity=False).digest()
    return uuid.UUID(bytes=digest[:16], version=5).hex
