"""Sizes as people write them: `10GiB`, `512MB`, `4096`. Imports little, so that the command line starts fast."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

_SIZE: Final = re.compile(r"(?P<number>\d{1,15}(?:\.\d{1,9})?)\s*(?P<unit>[kmgt]i?)?(?:b|bytes)?", re.IGNORECASE)
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(text: str) -> int:
    """Bytes: `10GiB` is 10 * 1024^3, `10GB` is 10 billion, `10` is 10 bytes. Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"expected a size like 512MiB or 10GB, found {text!r}")
    prefix = (match["unit"] or "").lower()
    base = 1024 if prefix.endswith("i") else 1000
    return int(Decimal(match["number"]) * base ** _POWERS[prefix.removesuffix("i")])
