"""Runs a command that the kernel stops when its parent process dies. `axonpush up` starts its children this way.

Usage: `python -I -S stop_with_parent.py PARENT_PID COMMAND…`. It execs the command, so the process id stays the same,
and imports nothing slow. On platforms without PR_SET_PDEATHSIG (all but Linux) it only starts the command.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent_pid: int, command: list[str]) -> None:
    """Asks the kernel for SIGTERM when the parent dies, then execs `command`."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent_pid:  # the parent died before we asked
        sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
