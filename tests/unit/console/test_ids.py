"""Short ids of issues."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.issues.ids import MAX_ID, issue_range, short_id
from schemas.registry import Channel

WEB = Channel(id=7, organisation="acme", slug="web-shop")


@given(st.integers(0, MAX_ID))
def test_a_short_id_finds_its_issue(number: int) -> None:
    """The project's slug, and a range with the number in it."""
    found = issue_range(short_id(WEB, number).lower())
    assert found is not None
    slug, lowest, highest = found
    assert slug == "WEB-SHOP"
    assert lowest <= number <= highest
    assert highest - lowest == 2**23 - 1


def test_letters_that_are_read_wrongly_mean_digits() -> None:
    """As people type them: O is 0, I and L are 1."""
    assert issue_range("WEB-OOOOOOIL") == issue_range("WEB-00000011")


def test_a_channel_without_a_slug_has_one() -> None:
    """From its number."""
    assert short_id(Channel(id=7, organisation="acme"), 0) == "CHANNEL-7-00000000"


@pytest.mark.parametrize("text", ["", "WEB", "WEB-1", "WEB-0000000U", "WEB-000000000", "-00000000", "WEB 00000000"])
def test_other_texts_are_none(text: str) -> None:
    """Also digits that the alphabet leaves out."""
    assert issue_range(text) is None
