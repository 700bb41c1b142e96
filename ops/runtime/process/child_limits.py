"""Limits that a child process (child_process.py) sets for itself at its start, and the memory that it uses."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from pathlib import Path


def limit_this_process(memory_bytes: int, niceness: int) -> None:
    """Limits memory and priority. Ctrl-C is ignored: it stops the parent, which then closes the input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        os.nice(niceness)


def resident_bytes() -> int:
    """Current memory; 0 if the system does not say. Not `ru_maxrss`, which starts with the parent's memory."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0
