"""Stops a process on SIGTERM (from a supervisor) and SIGINT (Ctrl-C)."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Final

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def on_stop(react: Callable[[], object]) -> None:
    """Calls `react` in the running event loop for each of these signals."""
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, react)


def stop_event() -> asyncio.Event:
    """An event that the first of these signals sets."""
    stop = asyncio.Event()
    on_stop(stop.set)
    return stop
