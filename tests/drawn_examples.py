"""How many examples the property tests draw: a third in `make test`, all that they name in `make test-properties`.

They took a quarter of the processor time of `make test`, and draw other examples in each run.
"""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import settings

OPTION: Final = "--all-examples"
PART: Final = 3
_SETTINGS: Final = "_hypothesis_internal_use_settings"


def pytest_addoption(parser: pytest.Parser) -> None:
    """For `make test-properties`."""
    parser.addoption(OPTION, action="store_true", help="draw all examples of property tests, and not a third of them")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What a test names itself, too."""
    if config.getoption(OPTION):
        return
    seen = set[int]()
    for item in items:
        test = getattr(item, "obj", None)
        named = getattr(test, _SETTINGS, None)
        if named is None or id(named) in seen:  # a test with parameters is collected several times
            continue
        fewer = settings(named, max_examples=-(-named.max_examples // PART))
        seen.add(id(fewer))
        setattr(getattr(test, "__func__", test), _SETTINGS, fewer)
