"""Raises the limit of open files and connections of a process."""

from __future__ import annotations

import resource
from contextlib import suppress


def raise_file_limit() -> None:
    """Raises the soft limit, usually 1024, to the hard limit: above it a server accepts no connection."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # some systems refuse the hard limit itself
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
