"""One message processed once more: how it goes onto the REPLAY stream so that it makes the same rows. Who asks for it
is run.py (bodies of RAW) and actions.py (messages that died)."""

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
# What bound the first publish only, a reply nobody waits for, and what a dead letter says about its death.
_LEFT_BEHIND: Final = headers.OF_DEATH | {
    *(headers.COUNTS_TO, headers.SYNC, headers.REPLAY_TYPES, headers.TRACE_PARENT),
}


@dataclass(frozen=True, slots=True)
class Again:
    """A message to be processed again: its first subject, its bytes and the headers it had."""

    subject: str
    body: bytes
    headers: dict[str, str]


def again(stored: StoredMessage, generation: int, *, subject: str = "", types: tuple[str, ...] = ()) -> Again:
    """A stored message as it is published again; `subject` is its first one, where it is not stored under that.

    Identity and time stay the first ones: rows get their old ids, and `generation` lets them replace the old rows.
    """
    told, subject = stored.headers, subject or stored.subject
    kept = {
        name: value
        for name, value in told.items()
        if name not in _LEFT_BEHIND and not name.startswith(headers.BROKER_PREFIX)
    }
    origin_seq = told.get(headers.ORIGIN_SEQ) or str(stored.seq)
    stage, item_index = subject.partition(".")[0], told.get(headers.ITEM_INDEX, "")
    kept |= {
        headers.MESSAGE_ID: f"again:{stage}:{origin_seq}:{item_index}:{generation}",
        headers.ORIGIN_SEQ: origin_seq,
        headers.REPLAY_GENERATION: str(generation),
    }
    if origin_id := told.get(headers.ORIGIN_ID) or told.get(headers.MESSAGE_ID):
        kept[headers.ORIGIN_ID] = origin_id
    if types:
        kept[headers.REPLAY_TYPES] = ",".join(types)
    return Again(subject, stored.body, kept)


async def publish(js: JetStreamContext, message: Again, stop: asyncio.Event | None = None) -> bool:
    """Returns True when the broker has it; waits while REPLAY is full. False: `stop` was set before. Raises Failed."""
    failures = 0
    while stop is None or not stop.is_set():
        try:
            await js.publish(
                subjects.replayed(message.subject), message.body, stream=subjects.REPLAY, headers=dict(message.headers)
            )
        except NoStreamResponseError as error:
            raise Failed(f"expected stream {subjects.REPLAY}, found none: run `axonpush migrate`") from error
        except MaxPayloadError as error:
            raise Failed(f"the broker takes no message of {len(message.body)} bytes: raise its max_payload") from error
        except (NatsError, OSError):
            failures += 1
            await asyncio.sleep(_BACKOFF.pause_s(failures))
        else:
            return True
    return False
