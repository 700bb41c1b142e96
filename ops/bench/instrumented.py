"""Runs a receiver or a worker that measures itself: the longest block of its event loop, and its processor time.

`python -m ops.bench.instrumented receiver|worker FILE`. A block is the processor time between two turns of the loop,
so other programs on a busy machine add nothing. The process writes its figures to FILE; another process reads them.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import mmap
import struct
import sys
import time
from pathlib import Path
from typing import Final

import uvloop

from ops.bench.encoding_writer import EncodingWriter, encoded_bytes
from ops.runtime.process.signals import stop_event
from ops.runtime.tasks import end

EVERY_S: Final = 0.001
# Longest block since the last `begin`, processor time so far, number of requested and of seen `begin` calls.
_LAYOUT: Final = struct.Struct("<ddqq")
SIZE_BYTES: Final = _LAYOUT.size


class SharedFigures:
    """The figures, shared between two processes by a file."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), SIZE_BYTES)

    @classmethod
    def create(cls, path: Path) -> SharedFigures:
        """A new file with zeros."""
        path.write_bytes(bytes(SIZE_BYTES))
        return cls(path)

    def read(self) -> tuple[float, float, int, int]:
        """Returns (longest block in s, processor time in s, requested begins, seen begins)."""
        held_s, cpu_s, asked, seen = _LAYOUT.unpack(self._memory[:SIZE_BYTES])
        return held_s, cpu_s, asked, seen

    def write(self, held_s: float, cpu_s: float, seen: int) -> None:
        """Called by the measured process."""
        self._memory[:16] = struct.pack("<dd", held_s, cpu_s)
        self._memory[24:32] = struct.pack("<q", seen)

    @property
    def has_begun(self) -> bool:
        """Whether the last `begin` was seen."""
        return self.read()[2] == self.read()[3]

    def begin(self) -> None:
        """Called by the measuring process: resets the longest block, and frees memory."""
        self._memory[16:24] = struct.pack("<q", self.read()[2] + 1)


async def watch(board: SharedFigures) -> None:
    """Measures for ever: every EVERY_S, or as soon as the loop is free again."""
    longest_s, last_s, seen = 0.0, time.process_time(), 0
    while True:
        await asyncio.sleep(EVERY_S)
        now_s = time.process_time()
        longest_s = max(longest_s, now_s - last_s)
        asked = board.read()[2]
        if asked != seen:
            gc.collect()
            ctypes.CDLL(None).malloc_trim(0)
            longest_s, seen = 0.0, asked
            now_s = time.process_time()
        board.write(longest_s, now_s, seen)
        last_s = now_s


async def receiver(board: SharedFigures) -> None:
    """Runs the whole receiver until it is told to stop."""
    from ops.runtime.logs import configure_logging  # noqa: PLC0415
    from receiver import server  # noqa: PLC0415
    from receiver.settings import ReceiverSettings  # noqa: PLC0415

    settings = ReceiverSettings()
    configure_logging(settings)
    watching = asyncio.create_task(watch(board))
    await server.run(settings)
    await end(watching)


async def worker(board: SharedFigures) -> None:
    """Runs all workers in one process; rows are encoded and discarded."""
    from ops.runtime.logs import configure_logging  # noqa: PLC0415
    from workers import memory, process  # noqa: PLC0415
    from workers.settings import WorkerSettings  # noqa: PLC0415

    settings = WorkerSettings()
    configure_logging(settings)
    encoded_bytes("outcome_rows", ("reason",), [("warm",)])  # imports what the client imports at its first use
    memory.collect_seldom()
    stop = stop_event()
    running = await process.startup([process.ALL], settings, EncodingWriter())
    watching = asyncio.create_task(watch(board))
    await stop.wait()
    await end(watching)
    await process.shutdown(running)


def main() -> None:
    """Exit code 2 for bad usage."""
    programs = {"receiver": receiver, "worker": worker}
    if len(sys.argv) != 3 or sys.argv[1] not in programs:
        sys.exit(2)
    uvloop.run(programs[sys.argv[1]](SharedFigures(Path(sys.argv[2]))))


if __name__ == "__main__":
    main()
