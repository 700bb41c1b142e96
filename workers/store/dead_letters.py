"""Dead letters: a message that cannot become rows is stored in DEAD whole, with the reason."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import structlog
from nats.errors import Error as NatsError

from schemas import headers, subjects
from schemas.rows import Row
from workers import metrics
from workers.clock import Clock
from workers.consume.message import Dead, Message, channel_id, item_type
from workers.normalise import dead_letter as dead_rows
from workers.store.shares import Shares

log = structlog.get_logger()

# Headers that are not copied: the reply subject, for which nobody waits, and conditions of the first publish.
_LEFT_BEHIND: Final = frozenset({headers.MESSAGE_ID, headers.COUNTS_TO, headers.SYNC})

# A larger body is only in RAW, where a replay finds it.
MAX_INVALID_BYTES: Final = 1_000_000
# After the broker did not store a refused body, none is tried for this long, because a batch would wait each time.
INVALID_PAUSE_S: Final = 30.0

# (subject, body, headers): returns when the broker has stored it, raises NatsError if it has not.
PublishDead = Callable[[str, bytes, dict[str, str]], Awaitable[object]]


class DeadLetterNotStored(Exception):
    """The broker has not stored the dead letter.

    A message for DEAD is retried; an invalid body is dropped and counted (InvalidBodies).
    """


class DeadLetterSink(Protocol):
    """Where a worker's dead letters go."""

    async def store(self, message: Message, dead: Dead) -> None:
        """Returns when the message is stored; raises DeadLetterNotStored."""


class DeadStreamSink:
    """Stores dead letters in the stream DEAD, and invalid bodies of senders in the stream REFUSED (`refusals`)."""

    def __init__(self, publish: PublishDead, stage: str, refusals: InvalidBodies | None = None) -> None:
        self._publish = publish
        self._stage = stage
        self._refusals = refusals

    async def store(self, message: Message, dead: Dead) -> None:
        """Storing the same message twice makes one dead letter: its id is derived from the message."""
        if dead.by_sender and self._refusals is not None:
            await self._refusals.keep(message, self._stage, dead)
            return
        subject = subjects.dead(self._stage, item_type(message), channel_id(message))
        try:
            await self._publish(subject, message.body, dead_headers(message, self._stage, dead))
        except (NatsError, OSError) as error:
            metrics.DEAD_UNSTORED.labels(self._stage).inc()
            raise DeadLetterNotStored(str(error) or type(error).__name__) from error
        metrics.DEAD.labels(self._stage, dead.reason).inc()


class InvalidBodies:
    """Keeps invalid bodies, whose senders got an error, within each key's share and without delaying other messages."""

    def __init__(self, publish: PublishDead, shares: Shares, clock: Clock) -> None:
        self._publish = publish
        self._shares = shares
        self._clock = clock
        self._next_try_s = 0.0

    async def keep(self, message: Message, stage: str, dead: Dead) -> None:
        """Returns when the broker has it.

        Raises DeadLetterNotStored: the body is not kept, and no retry follows.
        """
        if self._clock.now_s() < self._next_try_s:
            raise DeadLetterNotStored("the broker did not take the last one")
        key_id = message.headers.get(headers.KEY_ID, "")
        if len(message.body) > MAX_INVALID_BYTES:
            raise DeadLetterNotStored(f"larger than {MAX_INVALID_BYTES} bytes")
        # A body that an operator processes again was kept before, and must be kept again.
        is_replayed = headers.REPLAY_GENERATION in message.headers
        if not is_replayed and not self._shares.take(
            (message.headers.get(headers.ORGANISATION, ""), key_id), len(message.body)
        ):
            raise DeadLetterNotStored("the key's share is used up")
        subject = subjects.refused(stage, item_type(message), key_id, channel_id(message))
        try:
            await self._publish(subject, message.body, dead_headers(message, stage, dead))
        except (NatsError, OSError) as error:
            self._next_try_s = self._clock.now_s() + INVALID_PAUSE_S
            log.warning("refused_not_kept", stage=stage, error=str(error) or type(error).__name__)
            raise DeadLetterNotStored(str(error) or type(error).__name__) from error
        metrics.INVALID_BODIES.labels(stage, "yes").inc()


class StaysInStream:
    """The sink of dead letters of the worker that reads DEAD: a message it cannot store is in DEAD already, and stays
    there.
    """

    def __init__(self, stage: str) -> None:
        self._stage = stage

    async def store(self, message: Message, dead: Dead) -> None:
        metrics.DEAD.labels(self._stage, dead.reason).inc()
        log.error(
            "dead_letter_not_in_sql", stream=message.stream, seq=message.seq, reason=dead.reason, error=dead.error
        )


def dead_headers(message: Message, stage: str, dead: Dead) -> dict[str, str]:
    """The message's headers and the reason. A retry publishes the message to `Origin-Subject`."""
    kept = {
        name: headers.clean(value)
        for name, value in message.headers.items()
        if name not in _LEFT_BEHIND and not name.startswith(headers.BROKER_PREFIX)
    }
    message_id = message.headers.get(headers.MESSAGE_ID) or f"{message.stream}:{message.seq}"
    kept.setdefault(headers.ORIGIN_ID, headers.clean(message_id))
    kept.setdefault(headers.ORIGIN_SEQ, str(message.seq))
    return kept | {
        headers.MESSAGE_ID: headers.clean(f"dead:{stage}:{message_id}"),
        headers.DEAD_REASON: headers.clean(dead.reason),
        headers.DEAD_STAGE: stage,
        headers.DEAD_ERROR: headers.clean(dead.error),
        headers.ORIGIN_STREAM: message.stream,
        headers.ORIGIN_SUBJECT: message.subject,
        headers.DELIVERIES: str(message.deliveries),
    }


def dead_row(message: Message, stage: str, dead: Dead) -> Row:
    """The row of a dead letter that DEAD had no room for: it has no number in the stream."""
    row_headers = dead_headers(message, stage, dead)
    subject = subjects.dead(stage, item_type(message), channel_id(message))
    dead_message = Message(
        subject, row_headers, message.body, subjects.DEAD, 0, message.deliveries, message.stored_at_ns, message.receipt
    )
    return dead_rows.normalise(dead_rows.origin_of(dead_message), dead_message).rows[0]
