"""Converts members and AnyValues of OTLP/JSON from plain JSON values to values of a record."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from schemas.otlp.records import (
    BYTES_BUFFER,
    BYTES_UNREADABLE,
    CUT,
    DOUBLE_NULL,
    DUPLICATE_ATTRIBUTE,
    ENUM_NAME,
    ENUM_UNKNOWN,
    HARD_DEPTH,
    INTEGER_AS_DOUBLE,
    NULL_DROPPED,
    NUMBER_UNREADABLE,
    SNAKE_CASE,
    STRING_INDEX,
    Attributes,
    NonFinite,
    Value,
    bounded,
)

U32_MAX: Final = 0xFFFF_FFFF
U64_MAX: Final = 0xFFFF_FFFF_FFFF_FFFF
_I64_MAX: Final = 0x7FFF_FFFF_FFFF_FFFF
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


def named(raw: object, known: Members, where: str, flaws: list[str]) -> dict[str, Any]:
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
    number = value if value.__class__ is int else _integer(value, member)
    if isinstance(number, int) and 0 <= number <= most:
        return number
    flaws.append(NUMBER_UNREADABLE)
    return 0


def _integer(value: object, member: str) -> int | float | None:
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
        number = _integer(value, member)
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
    if len(value) == _BASE64_ID[digits] and (decoded := _from_base64(value)) is not None and len(decoded) * 2 == digits:
        flaws.append(f"{_snake(member)}_base64")
        return decoded.hex()
    return value[:_MAX_ID_LENGTH].lower()


def attributes(raw: object, flaws: list[str]) -> Attributes:
    """A list of {key, value} objects; for equal keys the last one counts. Raises WrongShape."""
    if raw is None:
        return {}
    if not isinstance(raw, list):
        raise wrong("a list of {key, value} objects", "attributes", raw)
    by_key: Attributes = {}
    for item in raw:
        try:
            # The usual form: a key, and a value with one member that is set.
            ((member, value),) = item["value"].items()
            if (key := item["key"]).__class__ is str and value is not None and len(item) == 2:
                if member == "stringValue" and value.__class__ is str:
                    by_key[key] = value
                    continue
                by_key[key] = _READERS[member](value, 1, flaws)
                continue
        except (KeyError, TypeError, ValueError, AttributeError):
            pass
        if item is not None:
            key, found_value = _pair(item, 1, flaws)
            by_key[key] = found_value
    if len(by_key) != len(raw):
        nulls = raw.count(None)
        if nulls:
            flaws.append(NULL_DROPPED)
        if len(by_key) != len(raw) - nulls:
            flaws.append(DUPLICATE_ATTRIBUTE)
    return by_key


def _pair(raw: object, depth: int, flaws: list[str]) -> tuple[str, Value]:
    pair = named(raw, _PAIR_MEMBERS, "attributes", flaws)
    if pair.get("keyStrindex"):
        flaws.append(STRING_INDEX)
    return string(pair, "key"), any_value(pair.get("value"), depth, flaws)


def any_value(raw: object, depth: int, flaws: list[str]) -> Value:
    """An AnyValue object; of several members the last one counts, unknown ones are ignored. Raises WrongShape."""
    if depth > HARD_DEPTH:
        return CUT
    parsed: Value = None
    for member, value in named(raw, _VALUE_MEMBERS, "value", flaws).items():
        if value is not None and member in _READERS:
            parsed = _READERS[member](value, depth, flaws)
        elif value is None and member == "doubleValue":
            # JSON.stringify writes NaN and the infinities as null, so which one it was is lost.
            flaws.append(DOUBLE_NULL)
    return parsed


def _string_value(value: object, _depth: int, _flaws: list[str]) -> str:
    if not isinstance(value, str):
        raise wrong("a string", "stringValue", value)
    return value


def _bool_value(value: object, _depth: int, _flaws: list[str]) -> bool:
    if not isinstance(value, bool):
        raise wrong("a boolean", "boolValue", value)
    return value


def _int_value(value: object, _depth: int, flaws: list[str]) -> int | float:
    number = _integer(value, "intValue")
    if number is None:
        raise wrong("an integer", "intValue", value)
    if isinstance(number, int) and -_I64_MAX - 1 <= number <= _I64_MAX:
        return number
    # JavaScript sends every integral number as intValue, even 1e21.
    flaws.append(INTEGER_AS_DOUBLE)
    return _finite(float(number))


def _double_value(value: object, _depth: int, _flaws: list[str]) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise wrong("a number", "doubleValue", value)
    try:
        return _finite(float(value))
    except ValueError:
        raise wrong('a number, "NaN", "Infinity" or "-Infinity"', "doubleValue", value) from None


def _finite(value: float) -> float:
    return NonFinite(value) if value - value else value


def _bytes_value(value: object, _depth: int, flaws: list[str]) -> bytes | str:
    if isinstance(value, dict):
        # JSON.stringify of a Node Buffer (opentelemetry-js issue 6190).
        data = value.get("data")
        try:
            buffer = bytes(data) if isinstance(data, list) else None
        except (TypeError, ValueError):
            buffer = None
        if buffer is not None:
            flaws.append(BYTES_BUFFER)
            return buffer
    if not isinstance(value, str):
        raise wrong("base64", "bytesValue", value)
    decoded = _from_base64(value)
    if decoded is None:
        flaws.append(BYTES_UNREADABLE)
        return value
    return decoded


def _from_base64(text: str) -> bytes | None:
    """Decodes the standard or URL-safe alphabet, padded or not; None if it is neither."""
    text = text.translate(_URL_SAFE).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _array_value(value: object, depth: int, flaws: list[str]) -> Value:
    if not isinstance(value, dict):
        raise wrong("an object with values", "arrayValue", value)
    values = value.get("values")
    if values is not None and not isinstance(values, list):
        raise wrong("a list", "arrayValue.values", values)
    return bounded([any_value(item, depth + 1, flaws) for item in values or ()], depth, flaws)


def _kvlist_value(value: object, depth: int, flaws: list[str]) -> Value:
    if not isinstance(value, dict):
        raise wrong("an object with values", "kvlistValue", value)
    return bounded(dict(_pair(item, depth + 1, flaws) for item in present(value, "values", flaws)), depth, flaws)


def _no_value(_index: object, _depth: int, flaws: list[str]) -> None:
    flaws.append(STRING_INDEX)


_READERS: Final[dict[str, Callable[[Any, int, list[str]], Value]]] = {
    "stringValue": _string_value,
    "boolValue": _bool_value,
    "intValue": _int_value,
    "doubleValue": _double_value,
    "arrayValue": _array_value,
    "kvlistValue": _kvlist_value,
    "bytesValue": _bytes_value,
    "stringValueStrindex": _no_value,
}
_VALUE_MEMBERS: Final = members(*_READERS)
_PAIR_MEMBERS: Final = members("key", "value", "keyStrindex")
