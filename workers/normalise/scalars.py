"""Any JSON value as text, by the lenient rule Sentry uses for tags, releases and user ids. Objects stay JSON."""

from __future__ import annotations

import math
import re
from typing import Any, Final

from schemas.tolerant_json import dumps_text

_FOUND_LENGTH: Final = 60
# What follows in a repair is the field whose number came as text.
FROM_TEXT: Final = "number_from_text"
_MAX_DIGITS: Final = 40
# Python's own readers take underscores, other digits, `nan` and `infinity` too.
_NUMBER: Final = re.compile(r"\s{0,9}[+-]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})(?:[eE][+-]?\d{1,4})?\s{0,9}", re.ASCII)
# Beyond this a double is no longer one whole number.
_EXACT: Final = 2**53
# Lines are looked for in so much of a text: 6 MB of line ends would be six million lines.
_LINES_LENGTH: Final = 16 * 1024


def as_text(value: Any) -> str:
    """Strings as they are, null as '', booleans as True/False, whole floats without '.0', the rest as JSON text."""
    kind = value.__class__
    if kind is str:
        return value  # type: ignore[no-any-return]  # checked by class, which mypy does not follow
    if value is None:
        return ""
    if kind is int or kind is bool:
        return str(value)
    if kind is float:
        return str(int(value)) if value.is_integer() and abs(value) < 2**63 else repr(value)
    return dumps_text(value)


def as_dict(value: Any) -> dict[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if value.__class__ is dict else {}


def as_list(value: Any) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if value.__class__ is list else []


def whole(value: Any) -> int | None:
    """A whole number, whether it was sent as an integer, a double or text; None if it is none."""
    kind = value.__class__
    if kind is int:
        return value  # type: ignore[no-any-return]  # checked by class, which mypy does not follow
    if kind is str:
        value = number(value)
        kind = value.__class__
    if kind is int:
        return value  # type: ignore[no-any-return]
    return int(value) if kind is float and abs(value) < _EXACT and value.is_integer() else None


def number(value: Any) -> int | float | None:
    """A finite number, whether it was sent as one or as text; None for anything else, for `true` too."""
    if value.__class__ is str:
        if len(value) > _MAX_DIGITS or _NUMBER.fullmatch(value) is None:
            return None
        value = float(value) if "." in value or "e" in value.lower() else int(value)
    if value.__class__ is float:
        return value if math.isfinite(value) else None
    return value if value.__class__ is int else None


def named_number(value: Any, name: str, repairs: list[str]) -> Any:
    """The number that a text holds, which is named; any other value as it is."""
    if value.__class__ is not str:
        return value
    parsed = number(value)
    if parsed is None:
        return value
    repairs.append(f"{FROM_TEXT}:{name}")
    return parsed


def first_line(text: str, limit: int) -> str:
    """The first line that is not blank, cut to `limit` characters; a cut ends in '...'."""
    if "\n" in text:
        text = next((part for part in text.lstrip()[:_LINES_LENGTH].splitlines() if part.strip()), "")
    line = text.strip()
    return line if len(line) <= limit else line[: limit - 3] + "..."


def value_text(value: Any) -> str:
    """How a refused value is shown in a sentence: short, and never more than one line."""
    return repr(as_text(value)[:_FOUND_LENGTH]) if value is not None else "nothing"
