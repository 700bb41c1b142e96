"""Who evaluates: the owner of one entry, written again and again. Another process takes over when it stays the same.

No clocks are compared: whoever waits measures with his own clock how long the entry has not changed. The owner counts
from before its last write, so it stops before anybody else begins. A process that was paused and does not know it is
stopped by the revisions of the entries that it writes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import orjson
import structlog

from console.alerts.bucket import BucketUnavailable, EntryChanged
from schemas.subjects import ALERTS_LEASE_ENTRY

if TYPE_CHECKING:
    from console.alerts.bucket import Entries

LEASE_S: Final = 6.0
# Three writes in the time of a lease: one that fails is not the end of it.
RENEW_S: Final = 2.0

log = structlog.get_logger()


class LeaseLost(Exception):
    """This process may not act any more: another one may evaluate."""


class EvaluationLease:
    """The lease of one process. `step` is called every RENEW_S; `clock` is monotonic, `now_s` the wall clock."""

    def __init__(
        self,
        entries: Entries,
        owner: str,
        clock: Callable[[], float] = time.monotonic,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._entries = entries
        self._owner = owner
        self._clock = clock
        self._now_s = now_s
        self._revision = 0
        self._held_until = float("-inf")
        self._seen: tuple[int, float] = (-1, 0.0)
        self._told = ""

    @property
    def is_held(self) -> bool:
        """Whether this process may act now."""
        return self._clock() < self._held_until

    def check(self) -> None:
        """Raises LeaseLost unless this process may act now."""
        if not self.is_held:
            raise LeaseLost

    async def step(self) -> bool:
        """Renews the lease, or takes it if nobody does; whether it is held."""
        began = self._clock()
        try:
            if self._revision:
                await self._write(began)
            else:
                await self._take(began)
            self._told = ""
        except EntryChanged:
            if self._revision:
                log.warning("lease_lost", owner=self._owner)
            self._revision, self._held_until = 0, float("-inf")
        except BucketUnavailable as error:
            self._tell_once(str(error))
        if self._revision and not self.is_held:
            # Not renewed in time: another process may hold it by now. It is taken anew like a foreign one.
            self._revision = 0
        return self.is_held

    async def release(self) -> None:
        """Lets another process take over at once."""
        revision, self._revision = self._revision, 0
        self._held_until = float("-inf")
        if revision:
            try:
                await self._entries.put(ALERTS_LEASE_ENTRY, b"{}", revision)
            except (EntryChanged, BucketUnavailable) as error:
                log.warning("lease_not_released", error=type(error).__name__)

    def _tell_once(self, text: str) -> None:
        if text != self._told:
            log.warning("lease_not_renewed", error=text or "no answer", remedy="without its bucket: `axonpush migrate`")
        self._told = text

    async def _take(self, began: float) -> None:
        value, revision = await self._entries.get(ALERTS_LEASE_ENTRY)
        if revision != self._seen[0]:
            self._seen = revision, began
        # Its own: a write whose answer did not come.
        is_free = _owner_of(value) in ("", self._owner)
        if is_free or began - self._seen[1] >= LEASE_S:
            self._revision = revision
            await self._write(began)
            log.info("lease_taken", owner=self._owner, was_free=is_free)

    async def _write(self, began: float) -> None:
        value = orjson.dumps({"owner": self._owner, "at_s": round(self._now_s(), 3)})
        self._revision = await self._entries.put(ALERTS_LEASE_ENTRY, value, self._revision)
        self._held_until = began + LEASE_S


def _owner_of(value: bytes) -> str:
    try:
        fields = orjson.loads(value or b"{}")
    except orjson.JSONDecodeError:
        return ""
    return str(fields.get("owner") or "") if isinstance(fields, dict) else ""
