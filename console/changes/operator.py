"""Asks the process with the operator's rights, and turns its answer into one of ours."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from console.api.errors import ApiError
from console.storage.broker import NobodyAnswers
from schemas.operator_requests.messages import OperatorRequest, read_answer

if TYPE_CHECKING:
    from pydantic import BaseModel

    from console.api.request import ApiRequest

_KNOWN_WITHIN_S: Final = 3.0
_NOBODY: Final = "janitor: expected its answer, found none: does `axonpush janitor` run? Nothing was changed"
_LATE: Final = "janitor: expected its answer in time, found none; it may have been done: look again"


async def ask_operator(request: ApiRequest, action: str, given: BaseModel) -> dict[str, Any]:
    """The result of an action in the caller's organisation. Raises ApiError with what the janitor said."""
    asked = OperatorRequest(
        action, request.caller.organisation, request.caller.token.sha256, given.model_dump(mode="json")
    )
    operator = request.services.operator
    if operator is None:
        raise ApiError(503, _NOBODY, {"Retry-After": "5"})
    try:
        answer = read_answer(await operator.ask(asked.encoded()))
    except NobodyAnswers as error:
        raise ApiError(503, _LATE if error.may_be_done else _NOBODY, {"Retry-After": "5"}) from None
    except ValueError:
        raise ApiError(503, "janitor: expected an answer of this version, found another one") from None
    if answer.status != 200:
        raise ApiError(answer.status if 400 <= answer.status < 600 else 503, answer.detail)
    return answer.result


async def known_here(request: ApiRequest) -> None:
    """Waits until this console knows what was changed in the registry, so that the next list shows it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_KNOWN_WITHIN_S):
            await request.services.registry.caught_up()
