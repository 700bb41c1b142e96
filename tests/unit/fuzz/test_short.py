"""Every fuzz target over a few hundred inputs, and the bench itself: it must notice what it is there to notice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz import bench
from tests.fuzz.target import Sample, Target
from tests.fuzz.targets import TABLE

INPUTS = 300
SEED = 7


@pytest.mark.parametrize("name", TABLE)
def test_nothing_escapes_a_target(name: str) -> None:
    """Mutated inputs are accepted or refused, never anything else, and some are accepted."""
    total = bench.run_here(name, INPUTS, SEED)
    assert total.failures == []
    assert total.done == INPUTS


@pytest.mark.parametrize("name", TABLE)
def test_samples_are_valid(name: str) -> None:
    """Every sample is accepted as it stands: mutations start from the inside."""
    target = TABLE[name]
    assert [index for index, sample in enumerate(target.corpus()) if not target.run(sample.body)] == []


@pytest.mark.parametrize("name", TABLE)
def test_an_input_is_known_by_its_number(name: str) -> None:
    """The same seed and number make the same input again, another number another one."""
    target = TABLE[name]
    inputs = [bench.input_of(target, SEED, index) for index in range(20)]
    assert inputs == [bench.input_of(target, SEED, index) for index in range(20)]
    assert len(set(inputs)) > 10


def _raises(data: bytes) -> bool:
    if len(data) % 7 == 0:
        raise KeyError("escaped")
    return True


def _hangs(data: bytes) -> bool:
    while data:
        pass
    return True


@pytest.mark.parametrize(("run", "word"), [(_raises, "KeyError"), (_hangs, "processor time")])
def test_the_bench_notices(run: Callable[[bytes], bool], word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception and an endless loop are failures, and the input that made them is kept."""
    monkeypatch.setattr(bench, "DEADLINE_CPU_S", 0.05)
    target = Target("broken", lambda: [Sample(b'{"a":[1,2,3]}', "json")], run)
    monkeypatch.setitem(TABLE, "broken", target)
    total = bench.run_here("broken", 100, SEED)
    assert len(total.escapes) == bench.MAX_ESCAPES
    assert word in total.failures[0]
    for escape in total.escapes:
        assert Path(escape.file).read_bytes() == bench.input_of(target, SEED, escape.number)
        Path(escape.file).unlink()
