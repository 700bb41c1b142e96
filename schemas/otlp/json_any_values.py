"""Converts attributes and AnyValues of OTLP/JSON from plain JSON values to values of a record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from schemas.otlp.json_values import from_base64, integer, members, object_members, present, string, wrong
from schemas.otlp.records import (
    BYTES_BUFFER,
    BYTES_UNREADABLE,
    CUT,
    DOUBLE_NULL,
    DUPLICATE_ATTRIBUTE,
    HARD_DEPTH,
    INTEGER_AS_DOUBLE,
    NULL_DROPPED,
    STRING_INDEX,
    Attributes,
    NonFinite,
    Value,
    bound_depth,
)

_I64_MAX: Final = 0x7FFF_FFFF_FFFF_FFFF


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
    pair = object_members(raw, _PAIR_MEMBERS, "attributes", flaws)
    if pair.get("keyStrindex"):
        flaws.append(STRING_INDEX)
    return string(pair, "key"), any_value(pair.get("value"), depth, flaws)


def any_value(raw: object, depth: int, flaws: list[str]) -> Value:
    """An AnyValue object; of several members the last one counts, unknown ones are ignored. Raises WrongShape."""
    if depth > HARD_DEPTH:
        return CUT
    parsed: Value = None
    for member, value in object_members(raw, _VALUE_MEMBERS, "value", flaws).items():
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
    number = integer(value, "intValue")
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
    decoded = from_base64(value)
    if decoded is None:
        flaws.append(BYTES_UNREADABLE)
        return value
    return decoded


def _array_value(value: object, depth: int, flaws: list[str]) -> Value:
    if not isinstance(value, dict):
        raise wrong("an object with values", "arrayValue", value)
    values = value.get("values")
    if values is not None and not isinstance(values, list):
        raise wrong("a list", "arrayValue.values", values)
    return bound_depth([any_value(item, depth + 1, flaws) for item in values or ()], depth, flaws)


def _kvlist_value(value: object, depth: int, flaws: list[str]) -> Value:
    if not isinstance(value, dict):
        raise wrong("an object with values", "kvlistValue", value)
    return bound_depth(dict(_pair(item, depth + 1, flaws) for item in present(value, "values", flaws)), depth, flaws)


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
