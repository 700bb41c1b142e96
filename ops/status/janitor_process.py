"""Whether a janitor runs: the broker knows whether somebody listens, and the janitor answers."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from nats.errors import NoRespondersError

from schemas.subjects import JANITOR_ASK

if TYPE_CHECKING:
    from nats.aio.client import Client

ANSWER_S: Final = 3.0


class JanitorState(StrEnum):
    """What a question to the janitor gives."""

    ANSWERS = "answers"
    # It has a connection to the broker, and does not answer on it.
    SILENT = "says nothing"
    NONE = "does not run"


async def janitor_state(client: Client) -> JanitorState:
    """Whether one runs. Raises NatsError for a broker that is away."""
    try:
        await client.request(JANITOR_ASK, b"", timeout=ANSWER_S)
    except NoRespondersError:
        return JanitorState.NONE
    except TimeoutError:
        return JanitorState.SILENT
    return JanitorState.ANSWERS
