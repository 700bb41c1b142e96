"""Data of an INSERT before it reaches the engine: what is asked first, and where it ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.local.clickhouse_http import engine
from ops.local.clickhouse_http.access.guard import Plan, Target
from ops.local.clickhouse_http.engine import EngineSession
from ops.local.clickhouse_http.errors import ServerError

PIECE = b"x" * 1024


class Answer:
    """Of the engine: `text`, and counts that nobody looks at."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    def bytes(self) -> bytes:
        return self._text

    def __getattr__(self, _name: str) -> Any:
        return lambda: 0


class Connection:
    """The engine's side of a session: questions are answered with `allowed`, statements are kept."""

    def __init__(self, allowed: bytes = b"1\n") -> None:
        self.asked: list[bytes] = []
        self._allowed = allowed

    def query(self, sql: bytes, _format: str, params: dict[str, str]) -> Answer:
        assert params == {}
        self.asked.append(sql)
        return Answer(self._allowed)


class Pieces:
    """Data that counts how much of it was taken."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.taken = 0

    def __iter__(self) -> Iterator[bytes]:
        while self.left:
            self.left -= 1
            self.taken += 1
            yield PIECE


def plan(target: Target) -> Plan:
    return Plan("write", b"INSERT INTO t FROM INFILE '", b"' FORMAT TSV", "TSV", target=target)


def test_a_readers_right_is_asked_before_any_data_is_taken(tmp_path: Path) -> None:
    connection, pieces = Connection(b"0\n"), Pieces(100)
    with pytest.raises(ServerError) as refused:
        EngineSession(connection, tmp_path).insert(plan(Target(b"EXISTS TEMPORARY TABLE `t`", "no t")), pieces)
    assert refused.value.code == 497
    assert "no t" in refused.value.text
    assert pieces.taken == 0
    assert connection.asked == [b"EXISTS TEMPORARY TABLE `t`"]


def test_a_workers_right_is_asked_once_and_only_for_much_data(tmp_path: Path) -> None:
    target = Target(b"CHECK GRANT INSERT ON `t`", "no", asked_from_bytes=4 * len(PIECE))
    connection = Connection()
    EngineSession(connection, tmp_path).insert(plan(target), Pieces(3))
    assert len(connection.asked) == 1  # the INSERT
    EngineSession(connection, tmp_path).insert(plan(target), Pieces(20))
    assert connection.asked[1] == b"CHECK GRANT INSERT ON `t`"
    assert len(connection.asked) == 3
    pieces = Pieces(100)
    with pytest.raises(ServerError) as refused:
        EngineSession(Connection(b"0\n"), tmp_path).insert(plan(target), pieces)
    assert refused.value.code == 497
    assert pieces.taken == 5  # the fifth was not kept


def test_a_readers_data_ends_at_its_bound(tmp_path: Path) -> None:
    connection, pieces = Connection(), Pieces(100)
    with pytest.raises(ServerError) as refused:
        EngineSession(connection, tmp_path).insert(plan(Target(max_bytes=5 * len(PIECE))), pieces)
    assert refused.value.code == 229
    assert pieces.taken == 6
    assert connection.asked == []
    EngineSession(connection, tmp_path).insert(plan(Target(max_bytes=5 * len(PIECE))), Pieces(5))
    assert len(connection.asked) == 1


def test_data_stop_while_the_disk_has_room_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a disk that has room for three pieces more than what stays free; a reader leaves one more."""
    for spared, expected in ((0, 4), (len(PIECE), 3)):
        left = iter(engine.MIN_FREE_BYTES + count * len(PIECE) for count in (3, 2, 1, 0))
        monkeypatch.setattr(engine, "free_bytes", lambda _folder, left=left: next(left))
        connection, pieces = Connection(), Pieces(100)
        with pytest.raises(ServerError) as refused:
            EngineSession(connection, tmp_path).insert(plan(Target(spared_bytes=spared)), pieces)
        assert refused.value.code == 243
        assert pieces.taken == expected
        assert connection.asked == []
    assert not list(tmp_path.iterdir())
