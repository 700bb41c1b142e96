"""One process that builds maps for the tests of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.workers.symbolicate.bed import SymbolicationHarness
from workers.symbolicate.maps.process import MapProcess


@pytest.fixture(scope="module")
def process() -> Iterator[MapProcess]:
    """One process for the tests of a file."""
    process = MapProcess(512 * 1024 * 1024, 30.0)
    yield process
    process.close()


@pytest.fixture
def bed(process: MapProcess) -> SymbolicationHarness:
    """Nothing uploaded yet."""
    return SymbolicationHarness(process)
