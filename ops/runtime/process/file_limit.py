"""How many files and connections a process may have open."""

from __future__ import annotations

import resource
from contextlib import suppress


def raise_file_limit() -> None:
    """To what the system allows: beyond the soft limit, usually 1024, a server takes no connection at all."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # some systems refuse the hard limit itself
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
