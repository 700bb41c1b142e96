"""Publishes one stored message to the stream REPLAY again, so that it makes the same rows.

run.py calls it for bodies of RAW, ops/dead_letters/actions.py for dead letters.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError
from nats.js.errors import NoStreamResponseError

from ops.runtime.failures import Failed
from ops.runtime.process.backoff import Backoff
from ops.runtime.stream_reader import StoredMessage
from schemas import headers, subjects

if TYPE_CHECKING:
    from nats.js import JetStreamContext

FIRST_PAUSE_S: Final = 0.1
MAX_PAUSE_S: Final = 2.0
_BACKOFF: Final = Backoff(FIRST_PAUSE_S, MAX_PAUSE_S)
# Not copied: headers of the first publish, the address for counts, and those that describe a dead letter.
_NOT_COPIED: Final = headers.OF_DEATH | {
    *(headers.COUNTS_TO, headers.SYNC, headers.REPLAY_TYPES, headers.TRACE_PARENT),
}


@dataclass(frozen=True, slots=True)
class ReprocessedMessage:
    """A message to process again: its original subject, body and headers."""

    subject: str
    body: bytes
    headers: dict[str, str]


def reprocessed(
    stored: StoredMessage, generation: int, *, subject: str = "", types: tuple[str, ...] = ()
) -> ReprocessedMessage:
    """Prepares a stored message for another processing; `subject` is the original one, if it was stored under another.

    It keeps its identity and time, so rows get the same ids; `generation` lets them replace the old rows.
    """
    stored_headers, subject = stored.headers, subject or stored.subject
    kept = {
        name: value
        for name, value in stored_headers.items()
        if name not in _NOT_COPIED and not name.startswith(headers.BROKER_PREFIX)
    }
    origin_seq = stored_headers.get(headers.ORIGIN_SEQ) or str(stored.seq)
    stage, item_index = subject.partition(".")[0], stored_headers.get(headers.ITEM_INDEX, "")
    kept |= {
        headers.MESSAGE_ID: f"again:{stage}:{origin_seq}:{item_index}:{generation}",
        headers.ORIGIN_SEQ: origin_seq,
        headers.REPLAY_GENERATION: str(generation),
    }
    if origin_id := stored_headers.get(headers.ORIGIN_ID) or stored_headers.get(headers.MESSAGE_ID):
        kept[headers.ORIGIN_ID] = origin_id
    if types:
        kept[headers.REPLAY_TYPES] = ",".join(types)
    return ReprocessedMessage(subject, stored.body, kept)


async def publish(js: JetStreamContext, message: ReprocessedMessage, stop: asyncio.Event | None = None) -> bool:
    """Publishes the message; waits while REPLAY is full. Returns False if `stop` was set first. Raises Failed."""
    failures = 0
    while stop is None or not stop.is_set():
        try:
            await js.publish(
                subjects.replayed(message.subject), message.body, stream=subjects.REPLAY, headers=dict(message.headers)
            )
        except NoStreamResponseError as error:
            raise Failed(f"expected stream {subjects.REPLAY}, found none: run `axonpush migrate`") from error
        except MaxPayloadError as error:
            raise Failed(
                f"expected the broker to accept {len(message.body)} bytes, found a lower max_payload: raise it"
            ) from error
        except (NatsError, OSError):
            failures += 1
            await asyncio.sleep(_BACKOFF.pause_s(failures))
        else:
            return True
    return False
