"""Runs a command that is told to stop when its parent dies, however it dies. `axonpush up` starts its children with it.

Started as `python -I -S tethered.py PARENT_PID COMMAND…`; becomes the command, so its process id stays the same.
Imports nothing that takes time. Where the kernel has no such wish (anything but Linux) it only starts the command.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent_pid: int, command: list[str]) -> None:
    """Ask for SIGTERM at the parent's death, then become `command`."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before we asked
        sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
