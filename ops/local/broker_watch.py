"""`up` and its broker's disk: a broker that refuses to store although there is room is started again."""

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
from ops.local.disk_watch import ROOM_BYTES, room_bytes
from ops.provisioning.streams import MIB
from ops.runtime.failures import Failed
from ops.runtime.process.backoff import Backoff

if TYPE_CHECKING:
    from ops.runtime.settings import Settings

LOOK_EVERY_S: Final = 5.0
# A broker may be slow for a moment, or still reading its streams; one that answers with an error means it.
LOOKS_WITHOUT_ANSWER: Final = 10
# Between two restarts, doubled each time: a disk that is full again at once is not helped by more of them.
FIRST_PAUSE_S: Final = 5.0
MAX_PAUSE_S: Final = 120.0
# One broker is restarted by one process: nobody comes at the same time.
_BACKOFF: Final = Backoff(FIRST_PAUSE_S, MAX_PAUSE_S, jitter=lambda: 1.0)

Ask = Callable[[], Awaitable[list[StorageRefusal]]]


class BrokerWatch:
    """Decides when the broker is to be started again. `restart` does it, `warn` tells a person one line."""

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
        """Looks for ever. A broker that cannot be reached is the supervisor's business."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            with contextlib.suppress(Failed, NatsError, OSError, TimeoutError):
                await self.look()

    async def look(self) -> None:
        """One look: tells what is new, and has the broker restarted where that helps."""
        found = await self._ask()
        if not found:
            self._well()
            return
        self._silent_looks = 0 if any(one.answered for one in found) else self._silent_looks + 1
        if 0 < self._silent_looks < LOOKS_WITHOUT_ANSWER:
            return
        if self._free_bytes() < ROOM_BYTES:  # a broker that starts without any room cannot read its streams
            self._tell(f"{found[0]}. Its disk has too little room: with {ROOM_BYTES // MIB} MiB it goes on by itself")
        elif self._clock() >= self._next_restart_s:
            self._tell(f"{found[0]}. There is room on its disk: restarting the broker")
            self._restarts += 1
            self._next_restart_s = self._clock() + _BACKOFF.pause_s(self._restarts)
            self._silent_looks = 0
            await self._restart()

    def _well(self) -> None:
        self._silent_looks = 0
        if self._told:
            self._warn("the broker stores again")
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
    """The watch over the broker that `up` runs, whose files are in `store`."""

    async def ask() -> list[StorageRefusal]:
        async with open_nats(settings, "up-storage") as client:
            return await refusals(client)

    return BrokerWatch(ask, lambda: room_bytes(store), restart, warn)
