"""Which session a request gets: warm, named or fresh."""

from __future__ import annotations

from typing import Any, cast

import pytest

from ops.local.clickhouse_http.access.reader_memory import ReaderMemory, used_bytes
from ops.local.clickhouse_http.access.users import READER, WORKER
from ops.local.clickhouse_http.engine import Engine, EngineSession, StatementCounts
from ops.local.clickhouse_http.errors import ServerError
from ops.local.clickhouse_http.pool import MAX_NAMED, MAX_WARM, Pool
from ops.local.clickhouse_http.request import Call, SessionWish


class _Session:
    """Writes down what is asked of it."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.closed = False
        self.held_bytes = 0

    def apply(self, settings: dict[str, str]) -> None:
        self.log += [f"{name}={value}" for name, value in settings.items()]

    def use(self, database: str) -> None:
        self.log.append(f"use {database}")

    def query(self, sql: str, _output_format: str, _params: Any = None) -> tuple[bytes, StatementCounts]:
        self.log.append(sql)
        return b"", StatementCounts()

    def read_settings(self, names: list[str]) -> dict[str, str | None]:
        return {name: "old" if name == "changed_before" else None for name in names}

    def temporary_bytes(self) -> int:
        return self.held_bytes

    def close(self) -> None:
        self.closed = True


class _Engine:
    memory_cap_bytes = 4000

    def __init__(self) -> None:
        self.sessions: list[_Session] = []

    def session(self, _user: str) -> EngineSession:
        self.sessions.append(_Session())
        return cast(EngineSession, self.sessions[-1])


class _Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def _pool() -> tuple[Pool, _Engine, _Clock]:
    engine, clock = _Engine(), _Clock()
    return Pool(cast(Engine, engine), clock), engine, clock


def _named(name: str, **settings: str) -> Call:
    return Call(session=SessionWish(name, 60, must_exist=False, close=False), settings=settings)


def test_a_like_request_gets_the_warm_session() -> None:
    """Same settings and database: no second session; others get their own."""
    pool, engine, _ = _pool()
    for _ in range(3):
        with pool.lease(Call(settings={"a": "1"})):
            pass
    with pool.lease(Call(settings={"a": "2"}, database="d")):
        pass
    assert [session.log for session in engine.sessions] == [["a=1"], ["a=2", "use d"]]


def test_a_spoiled_or_failed_session_is_closed() -> None:
    """SET, temporary tables and errors never reach the next request."""
    pool, engine, _ = _pool()
    with pool.lease(Call()) as lease:
        lease.spoiled = True
    with pytest.raises(RuntimeError), pool.lease(Call()):
        raise RuntimeError
    assert [session.closed for session in engine.sessions] == [True, True]


def test_warm_sessions_are_bounded() -> None:
    """The longest unused one goes first."""
    pool, engine, _ = _pool()
    for number in range(MAX_WARM + 3):
        with pool.lease(Call(settings={"a": str(number)})):
            pass
    assert [session.closed for session in engine.sessions].count(True) == 3
    assert engine.sessions[0].closed


def test_a_named_session_takes_back_a_requests_settings() -> None:
    """What the URL set for one request is undone before the next: to the session's value, else to the default."""
    pool, engine, _ = _pool()
    with pool.lease(_named("s", changed_before="1", fresh="2")):
        pass
    with pool.lease(_named("s", changed_before="1", fresh="2")):
        pass
    with pool.lease(_named("s")):
        pass
    log = engine.sessions[0].log
    assert log == ["changed_before=1", "fresh=2", "changed_before=old", "SET fresh = DEFAULT"]


def test_a_named_session_is_locked_while_used() -> None:
    """A concurrent request in the same session is error 373."""
    pool, _, _ = _pool()
    with pool.lease(_named("s")), pytest.raises(ServerError, match="SESSION_IS_LOCKED"), pool.lease(_named("s")):
        pass


def test_a_named_session_expires() -> None:
    """After its timeout it is another, fresh session, and session_check says it is not there."""
    pool, engine, clock = _pool()
    with pool.lease(_named("s")):
        pass
    clock.now_s = 61.0
    check = Call(session=SessionWish("s", 60, must_exist=True, close=False))
    with pytest.raises(ServerError, match="SESSION_NOT_FOUND"), pool.lease(check):
        pass
    assert engine.sessions[0].closed


def test_named_sessions_are_bounded() -> None:
    """Beyond the bound the longest unused one is closed."""
    pool, engine, _ = _pool()
    for number in range(MAX_NAMED + 2):
        with pool.lease(_named(str(number))):
            pass
    assert sum(not session.closed for session in engine.sessions) <= MAX_NAMED
    assert engine.sessions[0].closed


def test_closing_closes_what_is_idle() -> None:
    """No session is left behind."""
    pool, engine, _ = _pool()
    with pool.lease(_named("s")):
        pass
    with pool.lease(Call()):
        pass
    pool.close()
    assert all(session.closed for session in engine.sessions)


class _Memory:
    """A process whose sessions with tables hold all there is."""

    def __init__(self) -> None:
        self.engine = _Engine()
        self.held_bytes = {}  # type: dict[int, int]
        self.pool = Pool(cast(Engine, self.engine), _Clock(), ReaderMemory(4000, self.used))

    def used(self) -> int:
        return sum(size for index, size in self.held_bytes.items() if not self.engine.sessions[index].closed)

    def write(self, name: str, size_bytes: int, user: str = READER) -> None:
        call = Call(user=user, session=SessionWish(name, 3600, must_exist=False, close=False))
        with self.pool.lease(call) as lease:
            index = self.engine.sessions.index(cast(_Session, lease.session))
            self.held_bytes[index] = self.held_bytes.get(index, 0) + size_bytes
            self.engine.sessions[index].held_bytes += size_bytes
            self.pool.wrote(call, lease, size_bytes)

    @property
    def closed(self) -> list[bool]:
        return [session.closed for session in self.engine.sessions]


def test_many_small_inserts_of_one_session_have_a_bound() -> None:
    """A quarter of the cap; then the session is closed and its tables are gone. Others keep theirs."""
    memory = _Memory()
    memory.write("other", 100)
    for _ in range(9):
        memory.write("s", 100)
    with pytest.raises(ServerError) as raised:
        memory.write("s", 200)
    assert raised.value.code == 241
    assert memory.closed == [False, True]


def test_tables_dropped_by_their_session_do_not_count() -> None:
    """What is counted is looked at again before anybody is refused."""
    memory = _Memory()
    memory.write("s", 900)
    memory.engine.sessions[0].held_bytes = 0
    memory.write("s", 900)
    memory.engine.sessions[0].held_bytes = 0
    memory.write("s", 900)
    assert memory.closed == [False]


def test_sessions_of_all_readers_have_a_bound_together() -> None:
    """The largest idle one goes first; those of others than readers stay."""
    memory = _Memory()
    memory.write("workers", 5000, WORKER)
    memory.write("small", 300)
    memory.write("large", 600)
    memory.write("third", 300)
    assert memory.closed == [False, False, True, False]


def test_a_process_above_its_cap_refuses_readers_after_dropping_their_tables() -> None:
    """241 only when that was not enough."""
    memory = _Memory()
    memory.write("s", 500)
    memory.write("workers", 3800, WORKER)
    memory.pool.admit_reader()
    assert memory.closed == [True, False]
    memory.write("workers", 300, WORKER)
    with pytest.raises(ServerError) as raised:
        memory.pool.admit_reader()
    assert raised.value.code == 241
    assert memory.closed == [True, False]


def test_used_memory_is_that_of_this_process() -> None:
    """It grows with what is held."""
    before = used_bytes()
    held = bytearray(b"x") * (64 << 20)
    assert used_bytes() - before > len(held) // 2
