"""For `up`: restarts its broker when the broker refuses to store although its disk has space."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nats.errors import Error as NatsError

from ops.cli.servers import open_nats
from ops.janitor.storage import StorageRefusal, refusals
from ops.local.disk_watch import MIN_FREE_BYTES, free_bytes
from ops.provisioning.streams import MIB
from ops.runtime.failures import Failed
from ops.runtime.process.backoff import Backoff

if TYPE_CHECKING:
    from ops.runtime.settings import Settings

LOOK_EVERY_S: Final = 5.0
# A broker may be slow for a moment, or may still read its streams. An error answer is taken at once.
LOOKS_WITHOUT_ANSWER: Final = 10
# Pause between two restarts, doubled each time: if the disk is soon full again, more restarts do not help.
FIRST_PAUSE_S: Final = 5.0
MAX_PAUSE_S: Final = 120.0
# No jitter: one process restarts one broker.
_BACKOFF: Final = Backoff(FIRST_PAUSE_S, MAX_PAUSE_S, jitter=lambda: 1.0)

Ask = Callable[[], Awaitable[list[StorageRefusal]]]


class BrokerWatch:
    """Decides when to restart the broker. `restart` restarts it, `warn` prints one line."""

    def __init__(
        self,
        ask: Ask,
        free_bytes: Callable[[], int],
        restart: Callable[[], Awaitable[None]],
        warn: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._free_bytes = free_bytes
        self._restart = restart
        self._warn = warn
        self._clock = clock
        self._told = ""
        self._silent_looks = 0
        self._restarts = 0
        self._next_restart_s = 0.0

    async def watch(self) -> None:
        """Checks for ever. The supervisor handles a broker that cannot be reached."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            with contextlib.suppress(Failed, NatsError, OSError, TimeoutError):
                await self.look()

    async def look(self) -> None:
        """Checks once: reports what is new, and restarts the broker if that helps."""
        problems = await self._ask()
        if not problems:
            self._note_recovery()
            return
        self._silent_looks = 0 if any(problem.answered for problem in problems) else self._silent_looks + 1
        if 0 < self._silent_looks < LOOKS_WITHOUT_ANSWER:
            return
        if self._free_bytes() < MIN_FREE_BYTES:  # a broker cannot read its streams if it starts on a full disk
            self._tell(
                f"{problems[0]}. Its disk is full: the broker continues once {MIN_FREE_BYTES // MIB} MiB are free"
            )
        elif self._clock() >= self._next_restart_s:
            self._tell(f"{problems[0]}. Its disk has space: restarting the broker")
            self._restarts += 1
            self._next_restart_s = self._clock() + _BACKOFF.pause_s(self._restarts)
            self._silent_looks = 0
            await self._restart()

    def _note_recovery(self) -> None:
        self._silent_looks = 0
        if self._told:
            self._warn("the broker can store again")
            self._told = ""
        if self._clock() >= self._next_restart_s:
            self._restarts = 0

    def _tell(self, text: str) -> None:
        if text != self._told:
            self._warn(text)
        self._told = text


def watch_embedded(
    settings: Settings, store: Path, restart: Callable[[], Awaitable[None]], warn: Callable[[str], None]
) -> BrokerWatch:
    """The watch for the broker that `up` runs, with its files in `store`."""

    async def ask() -> list[StorageRefusal]:
        async with open_nats(settings, "up-storage") as client:
            return await refusals(client)

    return BrokerWatch(ask, lambda: free_bytes(store), restart, warn)
