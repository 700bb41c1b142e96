"""Chooses the engine session of a request: a named one, an idle one with the same settings, or a new one."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from ops.local.clickhouse_http.access.reader_memory import ReaderMemory, out_of_memory
from ops.local.clickhouse_http.access.users import READER
from ops.local.clickhouse_http.engine import Engine, EngineSession
from ops.local.clickhouse_http.errors import SESSION_IS_LOCKED, SESSION_NOT_FOUND, ServerError, refusal
from ops.local.clickhouse_http.request import DEFAULT_DATABASE, Call, SessionWish

# USE and SET take time, so sessions that already have a request's settings are kept for similar requests.
MAX_WARM: Final = 32
# Maximum named sessions. Each has temporary tables; when there are more, the least recently used one is closed.
MAX_NAMED: Final = 512

_Key = tuple[str, str, tuple[tuple[str, str], ...]]


@dataclass(slots=True)
class Lease:
    """A session borrowed by one request. `spoiled` means that no other request may use it."""

    session: EngineSession
    spoiled: bool = False


@dataclass(slots=True)
class _Named:
    """A session that outlives its requests. Before each, settings of an earlier request are undone."""

    session: EngineSession
    database: str = DEFAULT_DATABASE
    current: str = DEFAULT_DATABASE
    overlaid: dict[str, str] = field(default_factory=dict)
    previous: dict[str, str | None] = field(default_factory=dict)
    expires_at_s: float = 0.0
    busy: bool = True
    written_bytes: int = 0
    over: bool = False

    def prepare(self, call: Call) -> None:
        """Applies the call's settings and database to the session."""
        self._restore([name for name in self.overlaid if name not in call.settings])
        changed = {name: value for name, value in call.settings.items() if self.overlaid.get(name) != value}
        self._remember([name for name in changed if name not in self.overlaid])
        self.session.apply(changed)
        self.overlaid.update(changed)
        wanted = call.database or self.database
        if wanted != self.current:
            self.session.use(wanted)
            self.current = wanted

    def _remember(self, names: list[str]) -> None:
        if names:
            current = self.session.read_settings(names)
            self.previous.update({name: current.get(name) for name in names})

    def _restore(self, names: list[str]) -> None:
        for name in names:
            del self.overlaid[name]
            value = self.previous.pop(name)
            if value is None:
                self.session.query(f"SET {name} = DEFAULT", "Null")
            else:
                self.session.apply({name: value})


class Pool:
    """Sessions of one engine, shared by all request threads."""

    def __init__(
        self,
        engine: Engine,
        clock: Callable[[], float] = time.monotonic,
        memory: ReaderMemory | None = None,
    ) -> None:
        self._engine = engine
        self._memory = memory or ReaderMemory(engine.memory_cap_bytes)
        self._clock = clock
        self._guard = threading.Lock()
        self._warm: OrderedDict[_Key, list[EngineSession]] = OrderedDict()
        self._warm_count = 0
        self._named: OrderedDict[tuple[str, str], _Named] = OrderedDict()

    @contextlib.contextmanager
    def lease(self, call: Call) -> Iterator[Lease]:
        """A session with the call's database and settings. Raises ServerError."""
        borrow = self._borrow_named(call, call.session) if call.session else self._borrow_warm(call)
        with borrow as lease:
            yield lease

    def set_database(self, call: Call, lease: Lease) -> None:
        """Called after USE in a named session: records its new database."""
        with self._guard:
            named = self._named.get((call.user, call.session.id)) if call.session else None
        if named is not None and named.session is lease.session:
            named.database = named.current = lease.session.database()

    @contextlib.contextmanager
    def _borrow_warm(self, call: Call) -> Iterator[Lease]:
        key = (call.user, call.database or DEFAULT_DATABASE, tuple(sorted(call.settings.items())))
        lease = Lease(self._take_warm(key) or self._fresh(call, key[1]))
        try:
            yield lease
        except BaseException:
            lease.spoiled = True
            raise
        finally:
            if lease.spoiled:
                lease.session.close()
            else:
                self._keep_warm(key, lease.session)

    def _fresh(self, call: Call, database: str) -> EngineSession:
        session = self._engine.session(call.user)
        try:
            session.apply(call.settings)
            if database != DEFAULT_DATABASE:
                session.use(database)
        except BaseException:
            session.close()
            raise
        return session

    def _take_warm(self, key: _Key) -> EngineSession | None:
        with self._guard:
            waiting = self._warm.get(key)
            if not waiting:
                return None
            self._warm_count -= 1
            session = waiting.pop()
            if not waiting:
                del self._warm[key]
            return session

    def _keep_warm(self, key: _Key, session: EngineSession) -> None:
        stale: list[EngineSession] = []
        with self._guard:
            self._warm.setdefault(key, []).append(session)
            self._warm.move_to_end(key)
            self._warm_count += 1
            while self._warm_count > MAX_WARM:
                oldest = next(iter(self._warm))
                stale.append(self._warm[oldest].pop())
                self._warm_count -= 1
                if not self._warm[oldest]:
                    del self._warm[oldest]
        for old in stale:
            old.close()

    @contextlib.contextmanager
    def _borrow_named(self, call: Call, wish: SessionWish) -> Iterator[Lease]:
        named = self._take_named(call.user, wish)
        try:
            named.prepare(call)
            yield Lease(named.session)
        finally:
            self._give_back(call.user, wish, named)

    def _take_named(self, user: str, wish: SessionWish) -> _Named:
        with self._guard:
            stale = self._take_expired()
            named = self._named.get((user, wish.id))
            if named is not None and named.busy:
                text = f"Session {wish.id} is locked by a concurrent client"
                error: ServerError | None = refusal(SESSION_IS_LOCKED, "SESSION_IS_LOCKED", text)
            elif named is None and wish.must_exist:
                error = refusal(SESSION_NOT_FOUND, "SESSION_NOT_FOUND", f"Session {wish.id} not found")
            else:
                error = None
                named = named or _Named(self._engine.session(user))
                named.busy = True
                self._named[user, wish.id] = named
        for old in stale:
            old.session.close()
        if error is not None or named is None:
            raise error or refusal(SESSION_NOT_FOUND, "SESSION_NOT_FOUND", f"Session {wish.id} not found")
        return named

    def _take_expired(self) -> list[_Named]:
        """Removes idle sessions that have timed out, or the least recently used one if there are too many."""
        now_s = self._clock()
        idle = [name for name, named in self._named.items() if not named.busy]
        gone = [name for name in idle if self._named[name].expires_at_s <= now_s]
        if not gone and len(self._named) >= MAX_NAMED:
            gone = idle[:1]
        return [self._named.pop(name) for name in gone]

    def _give_back(self, user: str, wish: SessionWish, named: _Named) -> None:
        with self._guard:
            named.busy = False
            named.expires_at_s = self._clock() + wish.timeout_s
            self._named.move_to_end((user, wish.id))
            gone = wish.close or named.over
            if gone:
                del self._named[user, wish.id]
        if gone:
            named.session.close()

    def admit_reader(self) -> None:
        """Called before a reader's statement. If memory is short, closes readers' idle sessions, else raises 241."""
        if not self._memory.is_short():
            return
        self.drop_readers_tables(lambda: not self._memory.is_short())
        if self._memory.is_short():
            raise out_of_memory(f"the process holds {self._memory.used()} of {self._memory.cap_bytes} bytes")

    def drop_readers_tables(self, enough: Callable[[], bool] = lambda: False) -> None:
        """Closes readers' idle sessions with temporary tables, the largest first, until `enough`."""
        while not enough() and (dropped := self._take_largest()):
            dropped.session.close()

    def _take_largest(self) -> _Named | None:
        with self._guard:
            written_by_name = {
                name: named.written_bytes
                for name, named in self._named.items()
                if name[0] == READER and not named.busy and named.written_bytes
            }
            return self._named.pop(max(written_by_name, key=written_by_name.__getitem__)) if written_by_name else None

    def wrote(self, call: Call, lease: Lease, written_bytes: int) -> None:
        """Called after a reader filled temporary tables. Above the limits, closes the session and raises error 241."""
        with self._guard:
            named = self._named.get((call.user, call.session.id)) if call.session and call.user == READER else None
        if named is None or named.session is not lease.session:
            return
        named.written_bytes += written_bytes
        if named.written_bytes > self._memory.session_bytes:
            named.written_bytes = named.session.temporary_bytes()  # dropped tables do not count
        named.over = named.written_bytes > self._memory.session_bytes or not self._room_for_tables()
        if named.over:
            text = f"temporary tables may hold {self._memory.session_bytes} bytes of a session, "
            text += f"{self._memory.sessions_bytes} of all; this session was closed"
            raise out_of_memory(text)

    def _room_for_tables(self) -> bool:
        """Whether all readers' tables are within their limit, after closing idle sessions if needed."""

        def enough() -> bool:
            with self._guard:
                written_bytes = sum(named.written_bytes for (user, _), named in self._named.items() if user == READER)
            return written_bytes <= self._memory.sessions_bytes

        self.drop_readers_tables(enough)
        return enough()

    def close(self) -> None:
        """Closes every idle session."""
        with self._guard:
            idle = [session for waiting in self._warm.values() for session in waiting]
            idle += [named.session for named in self._named.values() if not named.busy]
            self._warm.clear()
            self._named.clear()
        for session in idle:
            session.close()
