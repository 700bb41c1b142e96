"""Answers the requests of consoles on the subject OPERATOR_REQUESTS.

Nothing is stored: a request that nobody takes is answered by the broker, one whose answer is lost is tried again by a
person. Every action may be repeated without harm.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog
from nats.errors import Error as NatsError
from nats.js.errors import BucketNotFoundError
from pydantic import ValidationError

from ops.operator_requests import dead_letters
from ops.operator_requests.dead_letters import DeadLetterActions
from ops.operator_requests.places import RequestPlaces
from ops.operator_requests.registry_changes import RegistryActions
from ops.operator_requests.who_asks import NotAllowed, asking_token
from ops.registry.changes import RegistryWriter
from ops.registry.entries import RegistryEntries
from ops.runtime.failures import Conflict, Failed, broker_failure
from schemas.operator_requests.actions import (
    problem_of,
)
from schemas.operator_requests.messages import WORK_LIMIT_S, OperatorAnswer, OperatorRequest, read_request
from schemas.subjects import OPERATOR_REQUESTS, REGISTRY_BUCKET

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from ops.runtime.settings import Settings

# Where answers may go: the inbox of consoles, and what the broker makes of it between two accounts. This process may
# publish anywhere, so any other subject would lend its rights to whoever names it.
ANSWER_SUBJECTS: Final = ("_INBOX.console.", "_R_.")
_QUEUE: Final = "operators"
# Of a result, what the log has beside who asked and for what.
_COUNTS: Final = ("retried", "dropped", "left", "gone", "generation")
_TOO_LONG: Final = (
    f"janitor: expected to be done within {WORK_LIMIT_S:.0f} s, and was not; a part may be done: look again"
)

log = structlog.get_logger()


class OperatorRequests:
    """Does what a request asks and answers, few at the same time (places.py); more are told to come again."""

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client = client
        self._dead_letters = DeadLetterActions(client, settings)
        self._registry = RegistryActions(settings)
        self._running: set[asyncio.Task[None]] = set()
        self._places = RequestPlaces()

    async def take(self, message: Msg) -> None:
        """Begins to work on a message. One that could not be answered is left out."""
        if not message.reply.startswith(ANSWER_SUBJECTS):
            log.warning("operator_request_refused", reason="its answer would go to a subject that is no inbox")
            return
        place = self._places.take(_request_of(message.data))
        if place is None:
            await message.respond(OperatorAnswer(503, "janitor: expected fewer requests at once; try again").encoded())
            return
        task = asyncio.create_task(self._answer(message))
        task.add_done_callback(lambda _task: self._places.give_back(place))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def finish(self) -> None:
        """Waits for what has begun."""
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._dead_letters.finish()

    async def _answer(self, message: Msg) -> None:
        answer = await self.answer_to(message.data)
        try:
            await message.respond(answer.encoded())
        except NatsError as error:
            log.warning("operator_request_not_answered", error=type(error).__name__)

    async def answer_to(self, body: bytes) -> OperatorAnswer:
        """The answer to a request; never raises."""
        try:
            request = read_request(body)
        except ValueError as error:
            return OperatorAnswer(400, f"request: {error}")
        try:
            async with asyncio.timeout(WORK_LIMIT_S):
                return OperatorAnswer(200, result=await self._do(request))
        except ValidationError as error:
            return OperatorAnswer(400, problem_of(error))
        except NotAllowed as error:
            return OperatorAnswer(error.status, str(error))
        except Conflict as error:
            return OperatorAnswer(409, str(error))
        except Failed as error:
            return OperatorAnswer(400, str(error))
        except TimeoutError:
            return OperatorAnswer(503, _TOO_LONG)
        except NatsError as error:
            return OperatorAnswer(503, f"the broker did not complete the request: {broker_failure(error)}")
        except Exception:
            log.exception("operator_request_failed", action=request.action)
            return OperatorAnswer(500, "janitor: internal error; it is in its log")

    async def _do(self, request: OperatorRequest) -> dict[str, Any]:
        js = self._client.jetstream(timeout=10)
        try:
            bucket = await js.key_value(REGISTRY_BUCKET)
        except BucketNotFoundError as error:
            raise NotAllowed(503, f"broker: expected the bucket {REGISTRY_BUCKET}, found none") from error
        entries = RegistryEntries(js, bucket)
        token = await asking_token(entries, request)
        if request.action in dead_letters.ACTIONS:
            result = await self._dead_letters.do(request, entries)
        else:
            result = await self._registry.do(request, RegistryWriter(js, bucket, request.organisation))
        counts = {name: result[name] for name in _COUNTS if name in result}
        what = {"action": request.action, "organisation": request.organisation, "entry": result.get("id", "")}
        log.info("operator_request_done", token=token.id, token_name=token.name, **what, **counts)
        return result


def _request_of(body: bytes) -> OperatorRequest | None:
    """None: its answer will say what is wrong with it."""
    try:
        return read_request(body)
    except ValueError:
        return None


async def answer_operator_requests(client: Client, settings: Settings) -> None:
    """Answers until cancelled. Of several janitors, one takes a request."""
    requests = OperatorRequests(client, settings)
    subscription = await client.subscribe(OPERATOR_REQUESTS, queue=_QUEUE, cb=requests.take, pending_msgs_limit=256)
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        await subscription.unsubscribe()
        await requests.finish()
