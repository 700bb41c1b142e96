"""Removes passwords from addresses before they are shown or logged."""

from __future__ import annotations

import re
from typing import Final

_AFTER_SCHEME: Final = re.compile(r"(?<=://)[^,\s]+")


def without_secrets(addresses: str) -> str:
    """Comma-separated addresses without user and password."""
    return _AFTER_SCHEME.sub(lambda match: match[0].rpartition("@")[2], addresses)
