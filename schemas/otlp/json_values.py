"""Converts members of OTLP/JSON from plain JSON values to values of a record; json_any_values.py has attributes."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from schemas.otlp.records import (
    ENUM_NAME,
    ENUM_UNKNOWN,
    NULL_DROPPED,
    NUMBER_UNREADABLE,
    SNAKE_CASE,
)

U32_MAX: Final = 0xFFFF_FFFF
U64_MAX: Final = 0xFFFF_FFFF_FFFF_FFFF
_KINDS: Final = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,40}", re.ASCII)
_SNAKE_STEP: Final = re.compile("[A-Z]")
_URL_SAFE: Final = str.maketrans("-_", "+/")
# Length at which a too long id is cut; it is kept only for the error message.
_MAX_ID_LENGTH: Final = 128
_BASE64_ID: Final = {32: 24, 16: 12}


class WrongShape(ValueError):
    """A JSON value has the wrong type where OTLP/JSON fixes the type: the record is refused."""


def wrong(expected: str, member: str, value: object) -> WrongShape:
    """The error: what was expected in `member`, and what was found."""
    return WrongShape(f"expected {expected} in {member}, found {kind_of(value)}")


def kind_of(value: object) -> str:
    """Words for the kind of a JSON value."""
    return _KINDS.get(type(value), "a number")


@dataclass(frozen=True, slots=True)
class Members:
    """The allowed members of one object, and the snake_case names that some exporters use: snake_case -> name."""

    names: frozenset[str]
    snakes: dict[str, str]


def members(*names: str) -> Members:
    """The Members with these names."""
    return Members(frozenset(names), {snake: name for name in names if (snake := _snake(name)) != name})


def _snake(name: str) -> str:
    return _SNAKE_STEP.sub(lambda step: "_" + step[0].lower(), name)


def object_members(raw: object, known: Members, where: str, flaws: list[str]) -> dict[str, Any]:
    """`raw` as an object with OTLP/JSON member names; null is the empty object. Raises WrongShape."""
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise wrong("an object", where, raw)
    if raw.keys() <= known.names or raw.keys().isdisjoint(known.snakes):
        return raw
    flaws.append(SNAKE_CASE)
    renamed = {known.snakes.get(name) or name: value for name, value in raw.items()}
    return renamed | {name: value for name, value in raw.items() if name in known.names}


def items(raw: Mapping[str, Any], member: str) -> list[Any]:
    """A repeated member as sent, null items included; missing or null is empty. Raises WrongShape."""
    value = raw.get(member)
    if value is None:
        return []
    if not isinstance(value, list):
        raise wrong("a list", member, value)
    return value


def present(raw: Mapping[str, Any], member: str, flaws: list[str]) -> list[Any]:
    """A repeated member of a record without its null items, which are named. Raises WrongShape."""
    value = items(raw, member)
    if None not in value:
        return value
    flaws.append(NULL_DROPPED)
    return [item for item in value if item is not None]


def string(raw: Mapping[str, Any], member: str) -> str:
    """A string member; missing or null is empty. Raises WrongShape."""
    value = raw.get(member)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise wrong("a string", member, value)
    return value


def unsigned(raw: Mapping[str, Any], member: str, most: int, flaws: list[str]) -> int:
    """A count, flags or time: a number or decimal string from 0 to `most`. Raises WrongShape.

    Missing is 0; an invalid number is 0 with a flaw.
    """
    value = raw.get(member)
    if value is None:
        return 0
    number = value if value.__class__ is int else integer(value, member)
    if isinstance(number, int) and 0 <= number <= most:
        return number
    flaws.append(NUMBER_UNREADABLE)
    return 0


def integer(value: object, member: str) -> int | float | None:
    """The integer in a JSON number or decimal string; None if there is none. Raises WrongShape."""
    if isinstance(value, str):
        return _number(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong("a number", member, value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _number(text: str) -> int | float | None:
    if text.isascii() and text.isdigit() and len(text) < 20:
        return int(text)
    text = text.strip()
    if _INTEGER.fullmatch(text):
        return int(text)
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if value.is_integer() else value


def enum(raw: Mapping[str, Any], member: str, names: Mapping[str, int], flaws: list[str]) -> int:
    """An enum: a number (unknown ones are kept), or a name in `names`. Raises WrongShape for other words.

    An unknown word must not become 0: that could turn an error into a success.
    """
    value = raw.get(member)
    if value is None:
        return 0
    if value.__class__ is not int:
        if isinstance(value, str) and (named_value := names.get(value.strip().upper())) is not None:
            flaws.append(ENUM_NAME)
            return named_value
        number = integer(value, member)
        if number is None and value:
            raise WrongShape(f"expected a number or one of {', '.join(names)} in {member}, found {str(value)[:40]!r}")
        value = number
    if isinstance(value, int) and -(1 << 31) <= value < 1 << 31:
        return value
    flaws.append(ENUM_UNKNOWN)
    return 0


def severity(raw: Mapping[str, Any], member: str, names: Mapping[str, int], flaws: list[str]) -> int:
    """Like `enum`, for a severity: an unknown word becomes 0 with a flaw, because the log is still useful."""
    value = raw.get(member)
    if isinstance(value, str) and value.strip().upper() not in names and _number(value) is None:
        flaws.append(ENUM_UNKNOWN)
        return 0
    return enum(raw, member, names, flaws)


def identifier(raw: Mapping[str, Any], member: str, digits: int, flaws: list[str]) -> str:
    """An id as lower-case text, unchecked; "" if missing. Raises WrongShape.

    A plain protobuf-to-JSON printer writes base64 instead of hex; the length tells them apart.
    """
    value = raw.get(member)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise wrong(f"{digits} hex digits", member, value)
    if len(value) == _BASE64_ID[digits] and (decoded := from_base64(value)) is not None and len(decoded) * 2 == digits:
        flaws.append(f"{_snake(member)}_base64")
        return decoded.hex()
    return value[:_MAX_ID_LENGTH].lower()


def from_base64(text: str) -> bytes | None:
    """Decodes the standard or URL-safe alphabet, padded or not; None if it is neither."""
    text = text.translate(_URL_SAFE).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
