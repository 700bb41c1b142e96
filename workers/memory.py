"""What this process does with memory it no longer needs: rows are many objects that live for a moment, by the batch."""

from __future__ import annotations

import ctypes
import gc
import sys
from typing import Final

# Python's own (700, 10, 10) starts a collection every few spans and walks all rows of the batch again and again: 85k
# against 128k spans/s with a batch of 50,000 rows in hand. Cycles are only made by connections and exceptions.
THRESHOLDS: Final = (50_000, 20, 100)
# glibc gives every freed block of some size back to the system, and the next batch has it cleared page by page again:
# 65 of 550 us that an error of 30 KB cost a worker. Kept is what one batch needed, not more.
_KEPT_BYTES: Final = 512 * 1024 * 1024
# The most that glibc takes for what a single allocation may be to come from kept memory.
_LARGEST_BYTES: Final = 32 * 1024 * 1024
_STEP_BYTES: Final = 16 * 1024 * 1024
_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_THRESHOLD: Final = -3


def keep_freed_memory() -> None:
    """Has glibc's allocator keep what is freed, for the next batch. Other C libraries are left as they are."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_TOP_PAD, _STEP_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_BYTES)


def collect_seldom() -> None:
    """For the process's whole life; what is there by now (modules, classes) is never looked at again."""
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
