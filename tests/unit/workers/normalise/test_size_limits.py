"""Cutting values to a size: what stays, in which order, and what is named."""

from __future__ import annotations

import json

import pytest

from workers.normalise.size_limits import MAX_NAMED, SMALL_BYTES, Cuts, cut_names, fit, ranked, shares, smallest


def test_cuts_are_counted_and_few_are_named() -> None:
    """All of them, and the names of the first."""
    cuts = Cuts()
    for number in range(MAX_NAMED + 3):
        cuts.add(f"n{number}")
    assert cuts.count == MAX_NAMED + 3
    assert cut_names(cuts.repairs()) == [f"n{number}" for number in range(MAX_NAMED)]


def test_members_keep_their_order_whatever_their_rank() -> None:
    """A rank says who stays, not where it stands."""
    members = {"late": "x" * 5_000, "b": "kept", "first": "y" * 2_000, "a": "kept"}
    cuts = Cuts()
    found = fit(members, 3_000, cuts, ranked(lambda key: key == "first"))
    assert isinstance(found, dict)
    assert list(found) == ["late", "b", "first", "a"]
    assert (found["first"], found["a"], found["b"]) == (members["first"], "kept", "kept")
    assert len(str(found["late"])) < 1_100
    assert (cuts.count, cuts.names) == (1, ["late"])


@pytest.mark.parametrize("budget", [400, 1_000, 5_000, 20_000])
def test_what_is_cut_fits(budget: int) -> None:
    """An object, a list and a text of a hundred thousand bytes each take about the budget, and not much less."""
    for value in ({f"k{n}": "x" * 1_000 for n in range(100)}, ["x" * 1_000] * 100, "x" * 100_000):
        written = len(json.dumps(fit(value, budget, Cuts())))  # type: ignore[arg-type]
        assert budget // 4 <= written <= budget + 200, type(value)


def test_a_list_that_is_too_long_keeps_its_beginning() -> None:
    """And is never lost whole."""
    items = [f"item {n}" for n in range(10_000)]
    found = fit(items, 4_000, Cuts())  # type: ignore[arg-type]
    assert isinstance(found, list)
    assert len(found) > 200
    assert found[:200] == items[:200]


def test_small_ones_get_all_they_need_and_the_others_the_same() -> None:
    """The sum is within the budget; of equals the last goes without."""
    assert shares([10, 500, 20, 900], 430, 0) == [10, 200, 20, 200]
    assert shares([10, 10], 20, 10) == [10, 10]
    assert shares([10, 10, 10], 25, 10) == [10, 10, 0]
    assert shares([10, 30], 25, 10) == [10, 15]
    assert smallest(80) == 10
    assert smallest(10**9) == SMALL_BYTES
