"""The window of a quota's count: what it forgets, and what is given back too late."""

from __future__ import annotations

import pytest

from schemas.usage import WINDOW_S, Unit, Window, counter_name, key_name, organisation_name, split_name


def test_a_window_counts_the_last_minute() -> None:
    """A second is forgotten when a whole window has passed since it began, not before."""
    window = Window()
    window.add(100, 5)
    window.add(101, 3)
    window.expire(100 + WINDOW_S - 1)
    assert window.total == 8
    window.expire(100 + WINDOW_S)
    assert window.total == 3


def test_what_is_given_back_after_its_second_is_over_changes_nothing() -> None:
    """A request that was answered a minute later: its count has gone already."""
    window = Window()
    window.add(100, 5)
    window.expire(100 + WINDOW_S)
    window.add(200, 2)
    window.take_back(100, 5)
    assert window == window_of({200: 2}, 2, 100 + WINDOW_S)


@pytest.mark.parametrize(("amount", "left"), [(2, 3), (5, 0), (9, 0)])
def test_no_more_is_given_back_than_was_counted(amount: int, left: int) -> None:
    """A total below nought would be credit."""
    window = Window()
    window.add(100, 5)
    window.take_back(100, amount)
    assert window.total == left
    window.expire(100 + WINDOW_S)
    assert window.total == 0


def test_names_of_counts_are_read_back() -> None:
    """Receivers of an older version see requests under the bare name."""
    assert counter_name(key_name("a"), Unit.REQUESTS) == "key.a"
    assert counter_name(organisation_name("acme"), Unit.ROWS) == "organisation.acme:rows"
    for unit in Unit:
        assert split_name(counter_name("key.a", unit)) == ("key.a", unit)
    assert split_name("key.a:carrots") is None


def window_of(seconds: dict[int, int], total: int, second: int) -> Window:
    made = Window(total, second)
    for one, amount in seconds.items():
        made.add(one, amount)
    made.total = total
    return made
