"""Removes secrets that no rule names: of requests that ended between storing the secrets and storing the rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from console.alerts.bucket import Entries
    from console.alerts.rules.source import KnownRule, RuleKey

EVERY_S: Final = 60.0
# Nobody can bring a secret back, and rules may be missing while tables are restored from a backup.
UNNAMED_S: Final = 86_400.0
EARLIER_PREFIX: Final = "secret."
# In one sweep; the others in the next.
MOST_REMOVED: Final = 200

log = structlog.get_logger()


class SecretSweep:
    """`clock` is monotonic. Entries are called `<uuid of an action>.<url or key>`; `earlier` had them before."""

    def __init__(self, secrets: Entries, earlier: Entries, clock: Callable[[], float]) -> None:
        self._secrets = secrets
        self._earlier = earlier
        self._clock = clock
        self._next_at = float("-inf")
        self._has_moved = False
        self._unnamed_since: dict[str, float] = {}

    async def step(self, known: Mapping[RuleKey, KnownRule]) -> None:
        """Looks now and then. While a rule cannot be read, or there is none at all, no time counts.

        Raises BucketUnavailable.
        """
        now_s = self._clock()
        if now_s < self._next_at:
            return
        self._next_at = now_s + EVERY_S
        if not self._has_moved:
            self._has_moved = await self.move()
        if not known or any(entry.is_unread for entry in known.values()):
            self._unnamed_since = {}
            return
        uuids = {uuid for entry in known.values() for uuid in entry.uuids}
        unnamed = [name for name in await self._secrets.names("") if name.partition(".")[0] not in uuids]
        self._unnamed_since = {name: self._unnamed_since.get(name, now_s) for name in unnamed}
        old = [name for name, since_s in self._unnamed_since.items() if now_s - since_s >= UNNAMED_S]
        for name in old[:MOST_REMOVED]:
            await self._remove(name)

    async def move(self) -> bool:
        """Takes over those that an earlier version stored beside the states of rules; returns whether that was all.

        What cannot be read stays: a server of the broker that is behind answers as if there was nothing. Raises
        BucketUnavailable.
        """
        is_all = True
        for entry in await self._earlier.names(EARLIER_PREFIX):
            value, _ = await self._earlier.get(entry)
            if not value:  # or removed within the last hour
                is_all = False
                continue
            name = entry.removeprefix(EARLIER_PREFIX)
            known, revision = await self._secrets.get(name)
            if not known:
                await self._secrets.put(name, value, revision)
            await self._earlier.remove(entry)
        return is_all

    async def _remove(self, name: str) -> None:
        """A removed one is listed for a while, and is not removed again."""
        if (await self._secrets.get(name))[0]:
            await self._secrets.remove(name)
            log.info("alert_secret_removed", action=name.partition(".")[0])
