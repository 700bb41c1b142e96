"""Dead letters: what cannot become rows goes to DEAD, whole, with the reason. Who dies is decided elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import structlog
from nats.errors import Error as NatsError

from schemas import headers, subjects
from workers import metrics
from workers.letters import Dead, Letter, channel_id, item_type

log = structlog.get_logger()

# What must not travel along: a reply nobody waits for, and conditions that bound the first publish only.
_LEFT_BEHIND: Final = frozenset({headers.MESSAGE_ID, headers.COUNTS_TO, "Sync"})
_BROKER_PREFIX: Final = "Nats-"

# (subject, body, headers): returns when the broker has stored it, raises NatsError if it has not.
PublishDead = Callable[[str, bytes, dict[str, str]], Awaitable[object]]


class NotBuried(Exception):
    """The broker has not stored the dead letter: keep the message, ask for it again later."""


class Graveyard(Protocol):
    """Where a worker's dead letters go."""

    async def bury(self, letter: Letter, dead: Dead) -> None:
        """Returns when the letter is stored; raises NotBuried."""


class DeadLetters:
    """Buries in the DEAD stream."""

    def __init__(self, publish: PublishDead, stage: str) -> None:
        self._publish = publish
        self._stage = stage

    async def bury(self, letter: Letter, dead: Dead) -> None:
        """The same delivery buried twice is one dead letter: its message id comes from the message."""
        subject = subjects.dead(self._stage, item_type(letter), channel_id(letter))
        try:
            await self._publish(subject, letter.body, dead_headers(letter, self._stage, dead))
        except (NatsError, OSError) as error:
            metrics.DEAD_UNSTORED.labels(self._stage).inc()
            raise NotBuried(str(error) or type(error).__name__) from error
        metrics.DEAD.labels(self._stage, dead.reason).inc()


class StaysInStream:
    """The graveyard of the worker that reads DEAD: a letter it cannot store is in DEAD already, and stays there."""

    def __init__(self, stage: str) -> None:
        self._stage = stage

    async def bury(self, letter: Letter, dead: Dead) -> None:
        metrics.DEAD.labels(self._stage, dead.reason).inc()
        log.error("dead_letter_not_in_sql", stream=letter.stream, seq=letter.seq, reason=dead.reason, error=dead.error)


def dead_headers(letter: Letter, stage: str, dead: Dead) -> dict[str, str]:
    """The message's own headers and why it died. `Origin-Subject` is where a retry publishes it again."""
    kept = {
        name: headers.clean(value)
        for name, value in letter.headers.items()
        if name not in _LEFT_BEHIND and not name.startswith(_BROKER_PREFIX)
    }
    message_id = letter.headers.get(headers.MESSAGE_ID) or f"{letter.stream}:{letter.seq}"
    kept.setdefault(headers.ORIGIN_ID, headers.clean(message_id))
    kept.setdefault(headers.ORIGIN_SEQ, str(letter.seq))
    return kept | {
        headers.MESSAGE_ID: headers.clean(f"dead:{stage}:{message_id}"),
        "Dead-Reason": headers.clean(dead.reason),
        "Dead-Stage": stage,
        "Dead-Error": headers.clean(dead.error),
        "Origin-Stream": letter.stream,
        "Origin-Subject": letter.subject,
        "Deliveries": str(letter.deliveries),
    }
