"""Readers whose queries end the process again and again are kept out for a while."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.local.clickhouse_http.forced_ends import FILE, MAX_ENDS, PAUSE_S, WITHIN_S, ForcedEnds


class _Clock:
    now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


def _ended(folder: Path, clock: _Clock, every_s: float, times: int) -> ForcedEnds:
    """The memory of the process that starts after so many ends, each noted by a process of its own."""
    for _ in range(times):
        clock.now_s += every_s
        ForcedEnds(folder, clock).note()
    return ForcedEnds(folder, clock)


def test_one_end_more_than_an_accident_pauses_readers(tmp_path: Path) -> None:
    clock = _Clock()
    assert _ended(tmp_path, clock, 40, MAX_ENDS - 1).pause() == ""
    ends = _ended(tmp_path, clock, 40, 1)
    assert "readers are refused for 600 s" in ends.pause()
    clock.now_s += PAUSE_S - 1
    assert ends.pause()
    clock.now_s += 1
    assert ends.pause() == ""


def test_after_the_pause_the_next_end_begins_another(tmp_path: Path) -> None:
    clock = _Clock()
    _ended(tmp_path, clock, 40, MAX_ENDS)
    clock.now_s += PAUSE_S
    assert ForcedEnds(tmp_path, clock).pause() == ""
    assert _ended(tmp_path, clock, 40, 1).pause()


def test_ends_that_lie_far_apart_pause_nobody(tmp_path: Path) -> None:
    assert _ended(tmp_path, _Clock(), WITHIN_S, 5 * MAX_ENDS).pause() == ""


def test_a_clock_that_was_set_back_keeps_nobody_out(tmp_path: Path) -> None:
    clock = _Clock()
    ends = _ended(tmp_path, clock, 1, MAX_ENDS)
    clock.now_s -= 3600
    assert ends.pause() == ""


@pytest.mark.parametrize("content", ["", "{", "{}", '["a", null]', "7"])
def test_a_file_that_cannot_be_read_counts_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    assert _ended(tmp_path, _Clock(), 1, MAX_ENDS - 1).pause() == ""


def test_a_disk_without_room_keeps_no_process_from_ending(tmp_path: Path) -> None:
    ends = ForcedEnds(tmp_path / "missing", _Clock())
    for _ in range(MAX_ENDS):
        ends.note()
    assert ends.pause()
