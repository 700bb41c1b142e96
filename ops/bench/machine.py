"""Resource use of processes, and a description of this machine and commit. Reads /proc: Linux only."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Final

from ops.local import stop_with_parent

TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
ROOT: Final = Path(__file__).resolve().parents[2]


def cpu_s(pid: int) -> float:
    """Processor seconds of a process so far, all threads, user and system."""
    # The name in brackets may contain anything, including blanks.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def resident_bytes(pid: int, field: str = "VmRSS") -> int:
    """Memory of a process now; with `VmHWM`, its peak."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return 0


def end_with_parent(command: list[str]) -> list[str]:
    """The command line that makes a program end with this process."""
    return [sys.executable, "-I", "-S", str(Path(stop_with_parent.__file__)), str(os.getpid()), *command]


def commit() -> str:
    """The short commit hash of this tree, with a mark if files have changed; `unknown` outside of a repository."""
    try:
        commit_hash = _git("rev-parse", "--short", "HEAD")
        return f"{commit_hash} with changes" if _git("status", "--porcelain", "--untracked-files=no") else commit_hash
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def describe() -> str:
    """The machine in one line."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return (
        f"{os.cpu_count()} cores, {_processor()}, {memory_bytes / 1e9:.0f} GB, {platform.system()} "
        f"{platform.release()}, Python {platform.python_version()}"
    )


def busy() -> float:
    """Average number of runnable processes in the last minute: figures of a busy machine mean little."""
    return os.getloadavg()[0]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
