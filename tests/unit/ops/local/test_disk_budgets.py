"""What `up` promises to its streams: what the disk has, at every start anew, and never less than they hold."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.local import disk_budgets
from ops.local.data_dir import DataDir
from ops.local.disk_budgets import (
    BY_DISK,
    CHOSEN_KEY,
    MAX_TOTAL_BYTES,
    MIN_TOTAL_BYTES,
    available_bytes,
    budgets_for,
    chosen_budgets,
    max_file_store_bytes,
)
from ops.local.programs import Programs
from ops.provisioning.streams import GIB, MIB, Budgets
from ops.runtime.settings import Settings

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """A disk of which a test says how much is free."""
    told = {"free": 100 * GIB}
    monkeypatch.setattr(disk_budgets.shutil, "disk_usage", lambda _path: Usage(1000 * GIB, 0, told["free"]))
    return told


def hold(store: Path, stream: str, size_bytes: int) -> None:
    """A stream with that many bytes of files, none of them really on the disk."""
    folder = store / "jetstream/$G/streams" / stream / "msgs"
    folder.mkdir(parents=True)
    with (folder / "1.blk").open("wb") as file:
        file.truncate(size_bytes)


@given(st.integers(min_value=0, max_value=10**15))
def test_budgets_fit_every_disk_size(available: int) -> None:
    """All streams together, buckets included, take half of what they could have; the least is still of use."""
    budgets = Budgets.model_validate(budgets_for(available))
    assert budgets.total_bytes() <= MAX_TOTAL_BYTES
    assert budgets.total_bytes() <= max(MIN_TOTAL_BYTES, available // 2)
    assert budgets.raw_max_bytes > budgets.items_max_bytes > budgets.dead_max_bytes
    assert budgets.raw_max_bytes >= 16 * MIB


def test_a_large_disk_gets_the_usual_budgets() -> None:
    """What has a default of its own is no more than that."""
    found = budgets_for(10**12)
    assert found["replay_max_bytes"] == Budgets().replay_max_bytes
    assert found["idempotency_max_bytes"] == Budgets().idempotency_max_bytes


def test_streams_follow_their_disk_down_and_up(tmp_path: Path, disk: dict[str, int]) -> None:
    """At each start; the numbers of the last one bind nobody."""
    folder = DataDir(tmp_path)
    totals = []
    for free in (100 * GIB, 2 * GIB, 12 * GIB):
        disk["free"] = free
        totals.append(folder.budgets().total_bytes())
        assert totals[-1] <= free // 2
    assert totals[0] > totals[2] > totals[1]


def test_no_stream_gets_less_than_it_holds(tmp_path: Path, disk: dict[str, int]) -> None:
    """The broker would refuse everything new to it, and a person would have to find out why."""
    hold(tmp_path / "nats", "RAW", 3 * GIB)
    hold(tmp_path / "nats", "DEAD", 700 * MIB)
    disk["free"] = 0
    found = DataDir(tmp_path).budgets()
    assert found.raw_max_bytes == 3 * GIB
    assert found.dead_max_bytes == 700 * MIB


def test_what_the_broker_holds_already_counts_as_its_own(tmp_path: Path, disk: dict[str, int]) -> None:
    """Else every start would give it half of what the last one left free."""
    disk["free"] = 2 * GIB
    hold(tmp_path / "nats", "RAW", 6 * GIB)
    assert available_bytes(tmp_path / "nats") == 8 * GIB


def test_numbers_of_a_person_are_only_lowered(tmp_path: Path, disk: dict[str, int]) -> None:
    """They stay while they fit the disk, and are not raised when it grows."""
    given = {"raw_max_bytes": 5 * GIB}
    assert chosen_budgets(given, tmp_path) == given
    disk["free"] = GIB
    lowered = chosen_budgets(given, tmp_path)["raw_max_bytes"]
    assert lowered == budgets_for(GIB)["raw_max_bytes"]
    assert CHOSEN_KEY not in chosen_budgets(given, tmp_path)
    assert chosen_budgets({}, tmp_path)[CHOSEN_KEY] == BY_DISK


def test_jetstream_is_promised_no_more_than_the_disk_has(tmp_path: Path, disk: dict[str, int]) -> None:
    """Not the whole disk, as others use it too; room enough for every stream all the same."""
    disk["free"] = 8 * GIB
    folder = DataDir(tmp_path)
    budgets = folder.budgets()
    assert budgets.total_bytes() <= max_file_store_bytes(budgets, folder.nats) <= 8 * GIB
    folder.root.mkdir(exist_ok=True)
    Programs(folder, Settings(), budgets, "127.0.0.1", {"--nats-port": 4222}, "http://127.0.0.1:1").nats()
    (line,) = [line for line in folder.nats_config.read_text().splitlines() if "max_file_store" in line]
    assert int(line.split()[1]) <= 8 * GIB
