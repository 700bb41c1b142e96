"""The short faults of `make chaos`, a few seconds each: acknowledged is one row or one counted drop, whatever dies."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from tests.chaos import trial
from tests.chaos.faults import FAULTS, Entry
from tests.chaos.fleet import Fleet

pytestmark = pytest.mark.live

SECONDS = 2.0
ACK_WAIT_S = 5.0
CHANNELS = count(3001)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One system for all faults: each must leave it whole."""
    made = Fleet(tmp_path_factory.mktemp("fleet"), ack_wait_s=ACK_WAIT_S)
    try:
        yield made.start()
    finally:
        made.end()


@pytest.mark.parametrize("entry", [one for one in FAULTS if one.is_short], ids=lambda one: one.name)
def test_nothing_acknowledged_is_lost_or_doubled(fleet: Fleet, entry: Entry) -> None:
    """Under load, through the fault and after it; what died or was refused is counted, nothing else is."""
    result = trial.run(fleet, entry.name, entry.fault, next(CHANNELS), SECONDS, **entry.load)
    assert result.is_clean, result
    assert result.acknowledged > 50
    if not entry.may_die:
        assert not result.others, result
    if result.poisoned:
        assert sum(result.others.values()) == result.poisoned, result
