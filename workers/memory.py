"""Settings of allocator and garbage collector for rows: many small objects, freed together after each batch."""

from __future__ import annotations

import ctypes
import gc
import sys
from typing import Final

# Python's own (700, 10, 10) starts a collection every few spans and walks all rows of the batch again and again. Cycles
# are only made by connections and exceptions. Numbers: docs/decisions/0027-tricks.md.
THRESHOLDS: Final = (50_000, 20, 100)
# glibc gives every freed block of some size back to the system, and the next batch has it cleared page by page again.
# Kept is what one batch needed, not more.
_KEPT_BYTES: Final = 512 * 1024 * 1024
# The most that glibc takes for what a single allocation may be to come from kept memory.
_LARGEST_BYTES: Final = 32 * 1024 * 1024
_STEP_BYTES: Final = 16 * 1024 * 1024
_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_THRESHOLD: Final = -3


def keep_freed_memory() -> bool:
    """Has glibc's allocator keep what is freed, for the next batch. False with another C library: it is left alone."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    settings = (
        (_M_TRIM_THRESHOLD, _KEPT_BYTES),
        (_M_TOP_PAD, _STEP_BYTES),
        (_M_MMAP_THRESHOLD, _LARGEST_BYTES),
    )
    taken = [mallopt(name, value) == 1 for name, value in settings]
    return all(taken)


def collect_seldom() -> None:
    """For the process's whole life; what is there by now (modules, classes) is never looked at again."""
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
