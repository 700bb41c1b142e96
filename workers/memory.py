"""Settings of allocator and garbage collector for rows: many small objects, freed together after each batch."""

from __future__ import annotations

import ctypes
import gc
import sys
from typing import Final

# Python's default (700, 10, 10) starts a collection every few spans, and each walks all rows of the batch. Only
# connections and exceptions make cycles. Numbers: docs/decisions/0027-tricks.md.
THRESHOLDS: Final = (50_000, 20, 100)
# glibc returns large freed blocks to the system, which clears their pages again for the next batch. This much is kept,
# about what one batch needs.
_KEPT_BYTES: Final = 512 * 1024 * 1024
# The largest allocation that glibc serves from kept memory.
_LARGEST_BYTES: Final = 32 * 1024 * 1024
_STEP_BYTES: Final = 16 * 1024 * 1024
_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_THRESHOLD: Final = -3


def keep_freed_memory() -> bool:
    """Makes glibc's allocator keep freed memory for the next batch. False with another C library."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    settings = (
        (_M_TRIM_THRESHOLD, _KEPT_BYTES),
        (_M_TOP_PAD, _STEP_BYTES),
        (_M_MMAP_THRESHOLD, _LARGEST_BYTES),
    )
    accepted = [mallopt(name, value) == 1 for name, value in settings]
    return all(accepted)


def collect_seldom() -> None:
    """Makes collections rare for the process's life. Existing objects (modules, classes) are never walked again."""
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
