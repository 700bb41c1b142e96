"""Records in a file how often readers' queries forced the process to end, for the next process.

No list can name every expression that the engine cannot stop, and each one costs a restart. So readers who force
several restarts are refused for a while; workers continue.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

FILE: Final = "forced-ends.json"
# This many forced ends in this time are no accident.
MAX_ENDS: Final = 3
WITHIN_S: Final = 900.0
# How long readers are refused after the last one.
PAUSE_S: Final = 600.0


class ForcedEnds:
    """The times of the last forced ends. A file that cannot be read or written counts as none."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._file = folder / FILE
        self._clock = clock
        self._ends_s = self._read()

    def _read(self) -> list[float]:
        with contextlib.suppress(OSError, ValueError):
            stored = json.loads(self._file.read_bytes())
            if isinstance(stored, list):
                return [float(end_s) for end_s in stored if isinstance(end_s, int | float)][-MAX_ENDS:]
        return []

    def note(self) -> None:
        """Records that the process ends because of a reader's query."""
        self._ends_s = [*self._ends_s, self._clock()][-MAX_ENDS:]
        with contextlib.suppress(OSError):  # a full disk must not keep the process from ending
            self._file.write_text(json.dumps(self._ends_s), encoding="ascii")

    def pause(self) -> str:
        """Why readers are refused now, and until when; empty if they are not."""
        if len(self._ends_s) < MAX_ENDS or self._ends_s[-1] - self._ends_s[0] > WITHIN_S:
            return ""
        left_s = self._ends_s[-1] + PAUSE_S - self._clock()
        if not 0 < left_s <= PAUSE_S:  # the pause is over, or the clock was set back
            return ""
        return (
            f"queries that did not stop have ended the engine {MAX_ENDS} times in {WITHIN_S / 60:.0f} minutes: readers "
            f"are refused for {left_s:.0f} s more; workers and the operator are not"
        )
