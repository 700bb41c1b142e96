"""The short faults of `make chaos`, a few seconds each: acknowledged is one row or one counted drop, whatever dies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import pytest

from tests.chaos import trial
from tests.chaos.faults import FAULTS, Entry
from tests.chaos.fleet import Fleet
from tests.chaos.sites import sites

pytestmark = [pytest.mark.live, pytest.mark.long]

SECONDS = 2.0
ACK_WAIT_S = 5.0
CHANNELS = count(3001)


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Fleet]]:
    """One system for all faults of a site: each must leave it whole."""
    with sites(tmp_path_factory.mktemp("sites"), ACK_WAIT_S) as found:
        yield found


@pytest.mark.parametrize("entry", [one for one in FAULTS if one.is_short], ids=lambda one: one.name)
def test_nothing_acknowledged_is_lost_or_doubled(at: Callable[[str], Fleet], entry: Entry) -> None:
    """Under load, through the fault and after it; what died or was refused is counted, nothing else is."""
    if reason := entry.why_not():
        pytest.skip(reason)
    result = trial.run(at(entry.site), entry.name, entry.fault, next(CHANNELS), SECONDS, **entry.load)
    assert result.is_clean, result
    assert result.acknowledged > 50
    if not entry.may_die:
        assert not result.others, result
    if result.poisoned:
        assert sum(result.others.values()) == result.poisoned, result
