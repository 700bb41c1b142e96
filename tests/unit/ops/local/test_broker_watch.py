"""When `up` starts its broker again: only where it refuses to store, only where that helps, and not for ever."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from ops.janitor.storage import NO_ANSWER, StorageRefusal
from ops.local.broker_watch import FIRST_PAUSE_S, LOOKS_WITHOUT_ANSWER, MAX_PAUSE_S, MIN_FREE_BYTES, BrokerWatch

FULL = StorageRefusal("RAW", "axonpush", "no space left on device")
SILENT = StorageRefusal("RAW", "", NO_ANSWER, answered=False)


@dataclass
class Scene:
    """A broker as a test wants it; `now` moves only when a test moves it."""

    found: list[StorageRefusal] = field(default_factory=list)
    free_bytes: int = 100 * MIN_FREE_BYTES
    now: float = 1000.0
    restarts: int = 0
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.watch = BrokerWatch(self.ask, lambda: self.free_bytes, self.restart, self.told.append, lambda: self.now)

    async def ask(self) -> list[StorageRefusal]:
        return self.found

    async def restart(self) -> None:
        self.restarts += 1

    def look(self, times: int = 1) -> Scene:
        for _ in range(times):
            asyncio.run(self.watch.look())
        return self


def test_a_broker_that_stores_is_left_alone() -> None:
    """However often it is looked at, and without a word."""
    scene = Scene().look(50)
    assert (scene.restarts, scene.told) == (0, [])


def test_one_that_refuses_with_room_is_restarted_and_said() -> None:
    """The stream and the error are named, and when it is over."""
    scene = Scene([FULL]).look()
    assert scene.restarts == 1
    assert "RAW" in scene.told[0]
    assert "no space left" in scene.told[0]
    scene.found = []
    scene.look(3)
    assert scene.told[1:] == ["the broker can store again"]


def test_without_room_it_waits_and_says_so_once() -> None:
    """A broker that starts on a full disk cannot even read its streams."""
    scene = Scene([FULL], free_bytes=MIN_FREE_BYTES - 1).look(20)
    assert (scene.restarts, len(scene.told)) == (0, 1)
    scene.free_bytes = MIN_FREE_BYTES
    assert scene.look().restarts == 1


def test_restarts_that_do_not_help_become_rare() -> None:
    """A disk that is full again at once, a quota that statvfs does not show."""
    scene = Scene([FULL])
    for _ in range(3600):
        scene.look()
        scene.now += 1.0
    assert 3600 / MAX_PAUSE_S <= scene.restarts <= 3600 / MAX_PAUSE_S + 8
    assert FIRST_PAUSE_S < MAX_PAUSE_S
    assert len(scene.told) == 1


def test_silence_is_waited_for_longer_than_an_error() -> None:
    """A machine may be busy for a while; one answer in between starts the count again."""
    scene = Scene([SILENT]).look(LOOKS_WITHOUT_ANSWER - 1)
    scene.found = []
    scene.look()
    scene.found = [SILENT]
    assert scene.look(LOOKS_WITHOUT_ANSWER - 1).restarts == 0
    assert scene.look().restarts == 1
