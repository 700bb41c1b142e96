"""Ends of the process that readers' queries forced: remembered in a file, for the next process is to know of them.

No list can name every expression that the engine cannot stop (a search of thousands of words in one long text is one),
and each costs a restart. So who forces one after the other is kept out for a while; workers go on.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

FILE: Final = "forced-ends.json"
# So many ends within this time are no accident any more.
MAX_ENDS: Final = 3
WITHIN_S: Final = 900.0
# How long readers are refused after the last of them.
PAUSE_S: Final = 600.0


class ForcedEnds:
    """The last ends, as times of the wall clock. A file that cannot be read or written counts as none."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._file = folder / FILE
        self._clock = clock
        self._ends_s = self._read()

    def _read(self) -> list[float]:
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(self._file.read_bytes())
            if isinstance(found, list):
                return [float(one) for one in found if isinstance(one, int | float)][-MAX_ENDS:]
        return []

    def note(self) -> None:
        """The process ends now because a reader's query did not."""
        self._ends_s = [*self._ends_s, self._clock()][-MAX_ENDS:]
        with contextlib.suppress(OSError):  # a full disk must not keep the process from ending
            self._file.write_text(json.dumps(self._ends_s), encoding="ascii")

    def pause(self) -> str:
        """Why readers are refused now, and until when; empty when they are not."""
        if len(self._ends_s) < MAX_ENDS or self._ends_s[-1] - self._ends_s[0] > WITHIN_S:
            return ""
        left_s = self._ends_s[-1] + PAUSE_S - self._clock()
        if not 0 < left_s <= PAUSE_S:  # over, or the clock was set back
            return ""
        return (
            f"queries that did not stop have ended the engine {MAX_ENDS} times in {WITHIN_S / 60:.0f} minutes: readers "
            f"are refused for {left_s:.0f} s more; workers and the operator are not"
        )
