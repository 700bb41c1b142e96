"""JSON as SDKs really send it."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.tolerant_json import dumps_text, loads, loads_with_text


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'{"a": NaN, "b": [Infinity, -Infinity]}', {"a": None, "b": [None, None]}),
        (b"1e999", None),
        (b"[" + b"9" * 5_000 + b"]", [None]),
        (b"[123456789012345678901234567890]", [123456789012345678901234567890.0]),
        (b"[NaN, 18446744073709551615, 18446744073709551616]", [None, 2**64 - 1, float(2**64)]),
        (b"\xef\xbb\xbf[1]", [1]),
        (b'"a\tb"', "a\tb"),
        (b'"a\xffb"', "a\ufffdb"),
        (b'"\\ud800 \\ud83d\\ude00"', "\ufffd \U0001f600"),
        ('"\ud800"', "\ufffd"),
    ],
)
def test_tolerated_forms(raw: bytes | str, value: Any) -> None:
    """Each is read as the nearest strict JSON."""
    assert loads(raw) == value


@pytest.mark.parametrize("raw", [b"", b"{", b"nope", b"[1,]", b"[" * 200_000, b"[" * 5_000 + b"]" * 5_000])
def test_what_cannot_be_read_is_a_value_error(raw: bytes) -> None:
    """Depth bombs included: no RecursionError, no crash."""
    with pytest.raises(ValueError, match=r"."):
        loads(raw)


@given(st.binary() | st.text().map(lambda text: json.dumps(text).encode()))
def test_any_bytes_give_a_value_or_a_value_error(raw: bytes) -> None:
    """And the text that comes with a value is strict JSON of that value."""
    try:
        value, text, _ = loads_with_text(raw)
    except ValueError:
        return
    assert orjson.loads(text) == value


def test_strict_text_is_not_rewritten() -> None:
    """Order, blanks and number forms stay as they were sent."""
    raw = b'{ "b":1.50,\n"a":[ ] }'
    assert loads_with_text(raw) == ({"b": 1.5, "a": []}, raw.decode(), False)


def test_deep_values_are_written_or_marked() -> None:
    """The fast writer stops at 254 levels."""
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    assert dumps_text(deep) == "[" * 300 + "1" + "]" * 300
    for _ in range(100_000):
        deep = [deep]
    assert dumps_text(deep) == '"[nested too deeply]"'
