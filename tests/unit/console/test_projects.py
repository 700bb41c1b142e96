"""Slugs of projects: what may be one, and which one a name gives."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from schemas.identifiers import is_project_slug, project_slug_of
from schemas.registry import Channel
from tests.unit.console.fakes import directory_of


@pytest.mark.parametrize("text", ["web", "web-shop", "a", "7web", "a_b", "channel-x", "x" * 50])
def test_a_slug(text: str) -> None:
    """Lower case, digits, `-` and `_`."""
    assert is_project_slug(text)
    assert Channel(id=1, organisation="acme", slug=text).project_slug == text


@pytest.mark.parametrize("text", ["", "7", "channel-7", "Web", "-a", "a.b", "a b", "a/b", "é", "x" * 51, "web\n"])
def test_no_slug(text: str) -> None:
    """A number is an id, `channel-7` is the slug of channel 7, everything else would need escaping in a path."""
    assert not is_project_slug(text)
    if text:
        with pytest.raises(ValidationError):
            Channel(id=1, organisation="acme", slug=text)


@pytest.mark.parametrize(
    ("name", "slug"),
    [("Web shop", "web-shop"), ("  Web -- Shop! ", "web-shop"), ("Ünï", "n"), ("42", ""), ("Channel 7", ""), ("", "")],
)
def test_a_name_gives_a_slug(name: str, slug: str) -> None:
    """Or none, and then the number does."""
    assert project_slug_of(name) == slug


def test_a_project_is_found_by_slug_and_by_number() -> None:
    """Of its organisation only."""
    known = directory_of(
        Channel(id=7, organisation="acme"),
        Channel(id=8, organisation="acme", slug="web"),
        Channel(id=9, organisation="others", slug="web"),
    )
    found = {text: known.project("acme", text) for text in ("7", "channel-7", "web", "8", "9", "channel-8", "")}
    assert {text: channel.id if channel else None for text, channel in found.items()} == {
        "7": 7,
        "channel-7": 7,
        "web": 8,
        "8": 8,
        "9": None,
        "channel-8": None,
        "": None,
    }
