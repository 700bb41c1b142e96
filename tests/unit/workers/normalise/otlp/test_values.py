"""Cutting what is too large: the beginning stays, in every kind of value."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.otlp.records import json_text
from workers.normalise.otlp.values import (
    MAX_RESOURCE_BYTES,
    MAX_SHARED_BYTES,
    MIN_RESOURCE_BYTES,
    fit,
    fit_shared,
    is_id,
    repairs,
)


def test_the_beginning_of_a_list_stays() -> None:
    """As many of its values as there is room for, the last of them cut; none of them is lost whole before."""
    kept, left = fit(["a" * 10] * 10, 40)
    assert isinstance(kept, list)
    assert kept[:3] == ["a" * 10] * 3
    assert 3 <= len(kept) <= 4
    assert left <= 0


def test_the_beginning_of_a_map_stays() -> None:
    """With its keys whole."""
    kept, _ = fit({"first": "a" * 10, "second": [1, 2], "third": "b" * 100}, 60)
    assert isinstance(kept, dict)
    assert list(kept)[:2] == ["first", "second"]
    assert kept["second"] == [1, 2]
    assert len(str(kept.get("third", ""))) < 100


@pytest.mark.parametrize("value", ["text", b"bytes", 7, 1.5, True, None, [1, "a"], {"k": ["v", {"n": 1}]}])
def test_what_fits_is_not_changed(value: Any) -> None:
    """And what is left of the budget is said."""
    kept, left = fit(value, 1_000)
    assert kept == value
    assert 0 < left <= 1_000


@pytest.mark.parametrize("value", ["x" * 100, b"x" * 100])
def test_text_and_bytes_are_cut_to_the_budget(value: str | bytes) -> None:
    """To about so much of JSON, and then nothing is left."""
    kept, left = fit(value, 50)
    assert isinstance(kept, str | bytes)
    assert value.startswith(kept)  # type: ignore[arg-type]
    assert 0 < len(kept) < len(value)
    assert left == 0


values = st.recursive(
    st.text(max_size=30) | st.integers(-(2**63), 2**63 - 1) | st.booleans(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=30,
)


@given(values, st.integers(1, 400))
def test_any_value_is_cut_to_about_the_budget(value: Any, budget: int) -> None:
    """At most the last value in hand is too much of it, and what is kept is a beginning."""
    kept, _ = fit(value, budget)
    assert len(json_text(kept)) <= budget + 60
    assert len(json_text(kept)) <= len(json_text(value))


def test_what_rows_share_is_bounded_over_all_of_them() -> None:
    """One row may have much, a hundred thousand have little each; never less than the least."""
    large = {f"key{n}": "v" * 1_000 for n in range(100)}
    for rows, limit in [
        (1, MAX_RESOURCE_BYTES),
        (MAX_SHARED_BYTES // 4096, 4096),
        (MAX_SHARED_BYTES, MIN_RESOURCE_BYTES),
    ]:
        kept, was_cut = fit_shared(large, rows)
        assert was_cut
        assert limit * 0.5 < len(json_text(kept)) <= limit + 1_100
    assert fit_shared({"a": "b"}, 10**9) == ({"a": "b"}, False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0" * 16, False), ("0" * 15 + "1", True), ("g" * 16, False), ("a" * 15, False), ("a" * 14 + " a", False)],
)
def test_an_id_is_hex_digits_that_are_not_all_nought(text: str, expected: bool) -> None:
    """Blanks between digits are no digits."""
    assert is_id(text, 16) is expected


def test_a_flaw_is_named_once() -> None:
    """In the order they were found, and cut."""
    assert repairs(("b", "a"), ["b", "c" * 100]) == ["b", "a", "c" * 64]
