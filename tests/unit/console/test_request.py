"""Fields of bodies: what is refused is named as it was found."""

from __future__ import annotations

import pytest

from console.api.errors import ApiError
from console.api.request import text_field


@pytest.mark.parametrize(
    ("value", "found"),
    [("x" * 6, "found 6 characters"), (["x"], "found a list"), (7, "found a number"), (True, "found true or false")],
)
def test_a_field_that_is_no_short_text_is_refused_as_what_it_is(value: object, found: str) -> None:
    """A text is not the wrong form: its length is."""
    with pytest.raises(ApiError) as refused:
        text_field({"name": value}, "name", 5)
    assert refused.value.detail == f"name: expected a text of at most 5 characters, {found}"


@pytest.mark.parametrize(("value", "text"), [("x" * 5, "x" * 5), ("", ""), (None, "none")])
def test_a_short_text_is_taken_and_null_is_the_default(value: object, text: str) -> None:
    """The limit itself is allowed."""
    assert text_field({"name": value}, "name", 5, "none") == text
