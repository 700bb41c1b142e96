"""The broker for the console: entries that consoles share, in the bucket `control`; requests to the janitor."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import nats.errors
from nats.js.api import Header
from nats.js.errors import APIError, NotFoundError

from console.access.state import StateChanged, StateUnavailable
from schemas.operator_requests.messages import ANSWER_LIMIT_S
from schemas.subjects import CONSOLE_PREFIX, CONTROL_BUCKET, OPERATOR_REQUESTS

if TYPE_CHECKING:
    from nats.aio.client import Client

TIMEOUT_S: Final = 3.0
_WRONG_LAST_SEQUENCE: Final = 10071


class NobodyAnswers(Exception):
    """A request was not answered. `may_be_done`: somebody has got it."""

    def __init__(self, *, may_be_done: bool) -> None:
        self.may_be_done = may_be_done
        super().__init__("no answer")


class OperatorProcess:
    """The janitor, which has the operator's rights."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def ask(self, body: bytes) -> bytes:
        """Its answer. Raises NobodyAnswers."""
        try:
            return (await self._client.request(OPERATOR_REQUESTS, body, timeout=ANSWER_LIMIT_S)).data
        except nats.errors.NoRespondersError as error:
            raise NobodyAnswers(may_be_done=False) from error
        except (TimeoutError, nats.errors.Error) as error:
            raise NobodyAnswers(may_be_done=True) from error


class BrokerEntries:
    """Reads and writes them; a reader of access/state.py says what is in them."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def get(self, name: str) -> tuple[bytes, int]:
        """Value and revision; b"" and 0 if there is none. Raises StateUnavailable."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                message = await self._client.jetstream().get_last_msg(
                    f"KV_{CONTROL_BUCKET}", f"$KV.{CONTROL_BUCKET}.{CONSOLE_PREFIX}{name}", direct=True
                )
        except NotFoundError:
            return b"", 0
        except (TimeoutError, APIError, nats.errors.Error) as error:
            raise StateUnavailable from error
        return message.data or b"", message.seq or 0

    async def put(self, name: str, value: bytes, revision: int) -> None:
        """Raises StateChanged, StateUnavailable."""
        subject = f"$KV.{CONTROL_BUCKET}.{CONSOLE_PREFIX}{name}"
        headers = {str(Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value): str(revision)}
        try:
            await self._client.jetstream().publish(subject, value, timeout=TIMEOUT_S, headers=headers)
        except APIError as error:
            raise (StateChanged if error.err_code == _WRONG_LAST_SEQUENCE else StateUnavailable) from error
        except (TimeoutError, nats.errors.Error) as error:
            raise StateUnavailable from error
