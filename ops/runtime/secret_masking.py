"""Secrets that must not be seen: passwords in addresses, keys in lines of a log."""

from __future__ import annotations

import re
from typing import Final

_AFTER_SCHEME: Final = re.compile(r"(?<=://)[^,\s]+")


def without_secrets(addresses: str) -> str:
    """Addresses, separated by commas, without the user and password that may stand in them."""
    return _AFTER_SCHEME.sub(lambda found: found[0].rpartition("@")[2], addresses)
