"""Short ids of issues, as `WEB-8F3K2Q1A`: the slug of the project, and the first 40 bits of the number in base 32."""

from __future__ import annotations

import re
from typing import Final

from schemas.registry import Channel

# Crockford's base 32: no I, L, O, U, which are read wrongly.
_DIGITS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_READ_AS: Final = str.maketrans("ILO", "110")
_LENGTH: Final = 8
_BITS: Final = 5 * _LENGTH
_ID_BITS: Final = 63
_SHORT: Final = re.compile(rf"(?P<slug>[A-Z0-9][A-Z0-9_-]{{0,59}})-(?P<digits>[0-9A-Z]{{{_LENGTH}}})")
MAX_ID: Final = 2**_ID_BITS - 1


def short_id(project: Channel, issue_id: int) -> str:
    """The short id. Of a project's 1,000 issues, two share one in about one of two million projects."""
    bits = issue_id >> (_ID_BITS - _BITS)
    digits = "".join(_DIGITS[bits >> shift & 31] for shift in range(_BITS - 5, -1, -5))
    return f"{project.project_slug.upper()}-{digits}"


def issue_range(text: str) -> tuple[str, int, int] | None:
    """The project's slug in upper case, and the lowest and highest number of this short id; None if it is none."""
    match = _SHORT.fullmatch(text.upper())
    if match is None:
        return None
    digits = match["digits"].translate(_READ_AS)
    if any(digit not in _DIGITS for digit in digits):
        return None
    bits = 0
    for digit in digits:
        bits = bits << 5 | _DIGITS.index(digit)
    lowest = bits << (_ID_BITS - _BITS)
    return match["slug"], lowest, lowest + 2 ** (_ID_BITS - _BITS) - 1
