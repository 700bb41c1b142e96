"""Parses JSON as SDKs really send it to plain values, and writes strict JSON."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

import orjson

INT64_MIN: Final = -(2**63)
UINT64_MAX: Final = 2**64 - 1

_BYTE_ORDER_MARK: Final = "\ufeff"
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
# Longer integers become doubles; Python refuses to convert very long digit strings.
_MAX_INT_DIGITS: Final = 20
# Maximum lists and objects in one text. A parser creates all in one call, and nothing else runs meanwhile: two million
# empty lists are 6 MB, and 6 kB on the wire. 6 MB of logs or spans have a third of this limit.
MAX_CONTAINERS: Final = 500_000
_SMALL_BYTES: Final = 2 * MAX_CONTAINERS
_TOO_DEEP: Final = '"[nested too deeply]"'


def loads(data: bytes | bytearray | memoryview | str) -> Any:
    """The value of JSON text. Raises ValueError, and nothing else, for what cannot be parsed even with tolerance.

    Beyond RFC 8259 it accepts: NaN and infinities (as null), numbers beyond a double (null) or 64 bits (a double), a
    byte order mark, control characters in strings, bytes that are not UTF-8 and halves of surrogate pairs (both
    U+FFFD). It refuses nesting deeper than about a thousand levels, and more than MAX_CONTAINERS lists and objects.
    """
    check_containers(data)
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return orjson.loads(_strict(data))


def loads_with_text(data: bytes | bytearray | memoryview) -> tuple[Any, str, bool]:
    """Returns (value, JSON text, whether the text was rewritten). Strict JSON is returned unchanged."""
    check_containers(data)
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        text = _strict(data)
        return orjson.loads(text), text, True
    return value, str(data, "utf-8"), False


def check_containers(data: bytes | bytearray | memoryview | str) -> None:
    """Raises ValueError above MAX_CONTAINERS. Brackets inside of strings count too."""
    if len(data) <= _SMALL_BYTES:
        return
    if isinstance(data, str):
        containers = data.count("[") + data.count("{")
    else:
        data = bytes(data)
        containers = data.count(b"[") + data.count(b"{")
    if containers > MAX_CONTAINERS:
        raise ValueError(f"expected at most {MAX_CONTAINERS} lists and objects, found {containers}; send less at once")


def dumps_text(value: Any) -> str:
    """JSON text of a value from `loads`; a value nested too deep becomes a marker."""
    try:
        return orjson.dumps(value).decode()
    except (TypeError, ValueError):
        return _slow_text(value)


def _slow_text(value: Any) -> str:
    """For values that orjson does not write: more than 254 levels."""
    try:
        return _mended(json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str))
    except (RecursionError, TypeError, ValueError):
        return _TOO_DEEP


def _strict(data: bytes | bytearray | memoryview | str) -> str:
    """The same JSON in strict form. Raises ValueError."""
    text = data if isinstance(data, str) else str(data, "utf-8", "replace")
    try:
        value = json.loads(
            text.removeprefix(_BYTE_ORDER_MARK),
            strict=False,
            parse_int=_integer,
            parse_float=_double,
            parse_constant=_nothing,
        )
        return _written(value)
    except RecursionError:
        raise ValueError("expected JSON of at most some hundred levels, found deeper nesting") from None


def _written(value: Any) -> str:
    """Fast where it has no halves of surrogate pairs and at most 254 levels. Raises RecursionError."""
    try:
        return orjson.dumps(value).decode()
    except (TypeError, ValueError):
        return _mended(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _mended(text: str) -> str:
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def _integer(digits: str) -> int | float | None:
    if len(digits) > _MAX_INT_DIGITS:
        return _double(digits)
    value = int(digits)
    return value if INT64_MIN <= value <= UINT64_MAX else float(value)


def _double(digits: str) -> float | None:
    value = float(digits)
    return value if math.isfinite(value) else None


def _nothing(_: str) -> None:
    return None
