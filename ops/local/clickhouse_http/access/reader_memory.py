"""Limits the memory of readers' temporary tables. They outlive statements, so no query limit covers them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ops.local.clickhouse_http.errors import MEMORY_LIMIT_EXCEEDED, ServerError, refusal

MAX_SESSION_BYTES: Final = 256 << 20
_STATM: Final = Path("/proc/self/statm")


def used_bytes() -> int:
    """Memory of this process without file pages; 0 if the system does not report it."""
    try:
        _, resident, shared = _STATM.read_text(encoding="ascii").split()[:3]
    except OSError:
        return 0
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


class ReaderMemory:
    """The limits for an engine with `cap_bytes`: all readers' tables together may use a quarter of it."""

    def __init__(self, cap_bytes: int, used: Callable[[], int] = used_bytes) -> None:
        self.cap_bytes = cap_bytes
        self.sessions_bytes = cap_bytes // 4
        self.session_bytes = min(MAX_SESSION_BYTES, self.sessions_bytes)
        self.used = used

    def is_short(self) -> bool:
        """Whether the process uses more than allowed: the rest is for workers."""
        return self.used() > self.cap_bytes


def out_of_memory(text: str) -> ServerError:
    """ClickHouse's error for lack of memory."""
    return refusal(MEMORY_LIMIT_EXCEEDED, "MEMORY_LIMIT_EXCEEDED", f"Memory limit for readers exceeded: {text}")
