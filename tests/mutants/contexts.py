"""A pytest plugin: tells coverage which test runs, so that each line knows the tests that execute it."""

from __future__ import annotations

from collections.abc import Iterator

import coverage
import pytest
from hypothesis import settings

EXAMPLES = 5
_SETTINGS = "_hypothesis_internal_use_settings"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """By node id: async tests leave their own frame at every await, so frames would not do."""
    measuring = coverage.Coverage.current()
    assert measuring is not None, "run under `coverage run`"
    measuring.switch_context(item.nodeid)
    return (yield)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A few examples of each property reach what they all reach."""
    for item in items:
        test = getattr(item, "obj", None)
        known = getattr(test, _SETTINGS, None)
        if known is not None:
            setattr(test, _SETTINGS, settings(known, max_examples=EXAMPLES))
