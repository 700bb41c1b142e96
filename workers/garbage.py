"""When this process looks for garbage cycles. Rows are many objects that live for a moment and never form a cycle."""

from __future__ import annotations

import gc
from typing import Final

# Python's own (700, 10, 10) starts a collection every few spans and walks all rows of the batch again and again: 85k
# against 128k spans/s with a batch of 50,000 rows in hand. Cycles are only made by connections and exceptions.
THRESHOLDS: Final = (50_000, 20, 100)


def collect_seldom() -> None:
    """For the process's whole life; what is there by now (modules, classes) is never looked at again."""
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
