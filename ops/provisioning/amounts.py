"""Prints sizes and parses and prints durations of the command line: `10GiB`, `7d`.

ops/runtime/environment/sizes.py parses sizes.
"""

from __future__ import annotations

import re
from typing import Final

_DURATION: Final = re.compile(r"(?P<number>\d{1,9})\s*(?P<unit>[smhdw])?", re.IGNORECASE)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_ODD_BYTES: Final = re.compile(r"(\d{4,}) bytes")
_STEPS: Final = ((1024**4, "TiB"), (1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB"))


def parse_duration_s(text: str) -> float:
    """Seconds: `90`, `90s`, `30m`, `72h`, `7d`, `2w`. Raises ValueError."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"expected a duration like 72h or 7d, found {text!r}")
    return float(int(match["number"]) * _SECONDS[(match["unit"] or "s").lower()])


def exact_size(size_bytes: int) -> str:
    """A size that `parse_size` reads back exactly: in the largest unit that needs at most one decimal."""
    for step, unit in _STEPS:
        if size_bytes >= step and (size_bytes * 10) % step == 0:
            whole, tenth = divmod(size_bytes * 10 // step, 10)
            return f"{whole}.{tenth} {unit}" if tenth else f"{whole} {unit}"
    return f"{size_bytes} bytes"


def size_text(size_bytes: int) -> str:
    """A size for people: rounded, where `exact_size` would print an odd number of bytes."""
    for step, unit in _STEPS:
        if size_bytes >= step:
            return f"{size_bytes / step:.1f}".removesuffix(".0") + f" {unit}"
    return f"{size_bytes} bytes"


def for_people(first: str, second: str) -> tuple[str, str]:
    """Two values side by side, an odd number of bytes rounded, unless that would hide that they differ."""
    rounded = _rounded(first), _rounded(second)
    return (first, second) if rounded[0] == rounded[1] and first != second else rounded


def _rounded(text: str) -> str:
    match = _ODD_BYTES.fullmatch(text)
    return size_text(int(match[1])) if match else text


def duration_text(seconds: float) -> str:
    """A duration that `parse_duration_s` reads back."""
    for unit in "dhm":
        if seconds >= _SECONDS[unit] and seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:.0f}{unit}"
    return f"{seconds:.0f}s" if seconds == int(seconds) else f"{seconds}s"
