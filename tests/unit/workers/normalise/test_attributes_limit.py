"""However many attributes come first, those that columns read are kept."""

from __future__ import annotations

import pytest

from workers.normalise.attributes import MAX_ATTRIBUTES, MAX_KEPT, Attributes


@pytest.mark.parametrize(
    "key",
    ["gen_ai.usage.input_tokens", "user.id", "error.type", "exception.type", "http.response.status_code", "sentry.op"],
)
def test_what_columns_read_is_kept_behind_too_many_attributes(key: str) -> None:
    """The others are counted."""
    attributes = Attributes()
    attributes.put_all("", {f"a{n}": n for n in range(MAX_ATTRIBUTES + 50)} | {key: "kept", "z": 1})
    repairs: list[str] = []
    attributes.close(repairs)
    assert attributes.strings[key] == "kept"
    assert (attributes.dropped, repairs) == (51, ["attributes_dropped"])
    attributes.put(key, "second")
    assert attributes.strings[key] == "kept"


def test_there_is_an_end_to_what_is_kept() -> None:
    """A name that begins as a column's does is no way around the limit."""
    attributes = Attributes()
    attributes.put_all("", {f"gen_ai.a{n}": n for n in range(5_000)})
    assert len(attributes.keys) == MAX_ATTRIBUTES + MAX_KEPT
    assert attributes.dropped == 5_000 - MAX_ATTRIBUTES - MAX_KEPT
