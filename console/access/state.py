"""What consoles share about sessions: a key that signs cookies, sessions that were ended, the one-time link of `up`.

A few small entries of the bucket `control`; their number does not grow with the number of sessions.
"""

from __future__ import annotations

import contextlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

import orjson
import structlog

from schemas.web_tokens import LOGIN_CODE_ENTRY, login_code_hash

KEY_ENTRY: Final = "session_key"
KEY_BYTES: Final = 32
# Sessions of one token that are remembered as ended one by one; more end all that began before.
MAX_ENDED: Final = 100
# How long a console may go on with a session that another one has ended.
READ_AGAIN_S: Final = 5.0
MAX_REMEMBERED: Final = 10_000
_TRIES: Final = 5

log = structlog.get_logger()


class StateChanged(Exception):
    """Another console wrote the entry since it was read."""


class StateUnavailable(Exception):
    """The broker does not answer."""


class StateEntries(Protocol):
    """Entries by name, each with its revision; 0 and b"" for one that does not exist."""

    async def get(self, name: str) -> tuple[bytes, int]:
        """Raises StateUnavailable."""

    async def put(self, name: str, value: bytes, revision: int) -> None:
        """Raises StateChanged unless the entry still has this revision, StateUnavailable without the broker."""


@dataclass(frozen=True, slots=True)
class EndedSessions:
    """Of one token: ended sessions with the time until which any cookie of them could go on, and a time before which
    all have ended."""

    until_s: dict[str, int] = field(default_factory=dict)
    all_before_s: int = 0

    def has(self, session_id: str, began_s: int) -> bool:
        """Whether this session was ended."""
        return session_id in self.until_s or began_s < self.all_before_s

    def with_session(self, session_id: str, until_s: int, now_s: int) -> EndedSessions:
        """One more. Beyond MAX_ENDED every session that began before now is ended."""
        kept = {name: until for name, until in self.until_s.items() if until > now_s} | {session_id: until_s}
        return EndedSessions({}, now_s + 1) if len(kept) > MAX_ENDED else EndedSessions(kept, self.all_before_s)


class SessionState:
    """Reads and writes the entries. `clock` is monotonic."""

    def __init__(self, entries: StateEntries, clock: Callable[[], float] = time.monotonic) -> None:
        self._entries = entries
        self._clock = clock
        self._key = b""
        self._key_read_at = 0.0
        self._ended: OrderedDict[str, tuple[float, EndedSessions]] = OrderedDict()

    async def key(self) -> bytes:
        """The key that signs cookies, read again now and then: with a new bucket every console gets the same new one.

        While the broker is away, what was last read counts. Raises StateUnavailable if nothing was read yet.
        """
        if self._key and self._clock() - self._key_read_at < READ_AGAIN_S:
            return self._key
        self._key_read_at = self._clock()  # before the answer: one request asks, not all that come meanwhile
        try:
            self._key = await self._read_key()
        except StateUnavailable:
            if not self._key:
                raise
            log.warning("session_key_unknown")
        return self._key

    async def _read_key(self) -> bytes:
        """The first console that finds none makes it."""
        for _ in range(_TRIES):
            value, revision = await self._entries.get(KEY_ENTRY)
            if len(value) == KEY_BYTES:
                return value
            with contextlib.suppress(StateChanged):
                await self._entries.put(KEY_ENTRY, secrets.token_bytes(KEY_BYTES), revision)
        raise StateUnavailable

    async def is_ended(self, token_id: str, session_id: str, began_s: int) -> bool:
        """Whether somebody signed out of this session. While the broker is away, what was last read counts."""
        return (await self._ended_of(token_id)).has(session_id, began_s)

    async def end(self, token_id: str, session_id: str, until_s: int, now_s: int) -> None:
        """Ends a session everywhere. Raises StateUnavailable."""
        name = f"ended.{token_id}"
        for _ in range(_TRIES):
            value, revision = await self._entries.get(name)
            ended = _read_ended(value).with_session(session_id, until_s, now_s)
            try:
                await self._entries.put(name, _written(ended), revision)
            except StateChanged:
                continue
            self._ended[token_id] = (self._clock(), ended)
            return
        raise StateUnavailable

    async def take_code(self, code: str) -> str:
        """The hash of the token behind a one-time link; "" if the link is not known or was used."""
        value, revision = await self._entries.get(LOGIN_CODE_ENTRY)
        link = _object(value)
        if not hmac.compare_digest(str(link.get("code", "")), login_code_hash(code)):
            return ""
        try:
            await self._entries.put(LOGIN_CODE_ENTRY, b"{}", revision)
        except StateChanged:
            return ""
        return str(link.get("token", ""))

    async def _ended_of(self, token_id: str) -> EndedSessions:
        read_at, known = self._ended.get(token_id, (-READ_AGAIN_S, EndedSessions()))
        if self._clock() - read_at < READ_AGAIN_S:
            return known
        try:
            known = _read_ended((await self._entries.get(f"ended.{token_id}"))[0])
        except StateUnavailable:
            log.warning("ended_sessions_unknown")
        self._ended[token_id] = (self._clock(), known)
        self._ended.move_to_end(token_id)
        while len(self._ended) > MAX_REMEMBERED:
            self._ended.popitem(last=False)
        return known


def _read_ended(value: bytes) -> EndedSessions:
    entry = _object(value)
    until_s, before_s = entry.get("until_s"), entry.get("all_before_s")
    known = (
        {name: until for name, until in until_s.items() if isinstance(until, int)} if isinstance(until_s, dict) else {}
    )
    return EndedSessions(known, before_s if isinstance(before_s, int) else 0)


def _written(ended: EndedSessions) -> bytes:
    return orjson.dumps({"until_s": ended.until_s, "all_before_s": ended.all_before_s})


def _object(value: bytes) -> dict[str, object]:
    try:
        document = orjson.loads(value or b"{}")
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}
