"""What is said when NATS cannot be used: one line for each kind of error, with the variable that mends it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import structlog

from ops.runtime.settings import Settings

log = structlog.get_logger()

# While NATS is away, attempts come four times a second.
REPORT_EVERY_S: Final = 60.0
_MAX_KINDS: Final = 100
_REFUSED_WORDS: Final = ("authorization violation", "authorization failed", "authentication")


def is_refused_user(error: BaseException) -> bool:
    """Whether the server refused user, password or token."""
    return any(word in str(error).lower() for word in _REFUSED_WORDS)


def refused_text(settings: Settings) -> str:
    """What was expected, found, and what to do."""
    return (
        f"expected NATS at {settings.nats_addresses()} to accept user and password, found them refused. Set "
        "AXONPUSH_NATS_USER and AXONPUSH_NATS_PASSWORD (or AXONPUSH_NATS_TOKEN), or write them into AXONPUSH_NATS_URL"
    )


class NatsErrorLog:
    """Logs each kind of error of a connection at once and then once a minute; a refused user with the remedy."""

    def __init__(self, settings: Settings, now_s: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._now_s = now_s
        self._told_s: dict[str, float] = {}

    async def report(self, error: Exception) -> None:
        """The error callback of a NATS client."""
        is_refused = is_refused_user(error)
        text = "refused" if is_refused else str(error) or type(error).__name__
        now_s = self._now_s()
        if now_s - self._told_s.get(text, -REPORT_EVERY_S) < REPORT_EVERY_S:
            return
        if len(self._told_s) >= _MAX_KINDS:
            self._told_s.clear()
        self._told_s[text] = now_s
        if is_refused:
            log.error("nats_refused", error=refused_text(self._settings))
        else:
            log.warning("nats_error", error=text)
