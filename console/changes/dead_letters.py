"""Dead letters: listed, opened with their bytes, retried and dropped.

Bytes are shown to those only who may decide: they came before secrets in them could be filtered.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError
from starlette.responses import Response

from console.api.answers import Page, json_answer
from console.api.delivery import since_s
from console.api.errors import ApiError
from console.api.routes import ApiRoute
from console.changes.operator import ask_operator
from console.explore.dead_letters import DeadLetterReader
from schemas.operator_requests.actions import (
    DELIVERY_WRITE,
    DROP_DEAD_LETTERS,
    RETRY_DEAD_LETTERS,
    ChosenDeadLetters,
    problem_of,
)

if TYPE_CHECKING:
    from console.api.request import ApiRequest
    from console.explore.dead_letters import DeadLetterBody

# Fields of the body, as the page writes them, and as the request has them.
_FIELDS: Final = {
    "numbers": "numbers",
    "reason": "reasons",
    "stage": "stages",
    "itemType": "item_types",
    "since": "since",
    "before": "before",
}
_MAX_WORD: Final = 200


async def list_dead_letters(request: ApiRequest) -> Response:
    """Those that wait, the newest first; `reason`, `stage` and `itemType` choose."""
    page = Page(request)
    like = {name: request.text(given)[:_MAX_WORD] for given, name in _LIKE.items()}
    letters = await _reader(request).page(since_s(request), like, page.parameters)
    return page.answer(letters[: page.limit], has_more=len(letters) > page.limit)


_LIKE: Final = {"reason": "reason", "stage": "stage", "itemType": "item_type"}


async def one_dead_letter(request: ApiRequest) -> Response:
    """One with its headers and the first of its bytes."""
    letter, body = await _one(request)
    return json_answer(letter | {"body": await asyncio.to_thread(body.shown)})


async def dead_letter_bytes(request: ApiRequest) -> Response:
    """All bytes, as a file: never shown by a browser."""
    letter, body = await _one(request)
    disposition = {"Content-Disposition": f'attachment; filename="dead-letter-{letter["number"]}.bin"'}
    return Response(body.data, 200, disposition, "application/octet-stream")


async def retry(request: ApiRequest) -> Response:
    """Processes the chosen ones again. Answers how many, and a generation to ask what became of them."""
    return json_answer(await ask_operator(request, RETRY_DEAD_LETTERS, await _chosen(request)))


async def drop(request: ApiRequest) -> Response:
    """Deletes the chosen ones and counts them as dropped."""
    return json_answer(await ask_operator(request, DROP_DEAD_LETTERS, await _chosen(request)))


async def outcome(request: ApiRequest) -> Response:
    """What became of a retry."""
    return json_answer(await _reader(request).outcome(_number(request.path("generation"), 2**31 - 1)))


async def _chosen(request: ApiRequest) -> ChosenDeadLetters:
    """What the body chooses; `project=` limits it further. An empty body is refused, so that nobody means all."""
    document = await request.fields(frozenset(_FIELDS))
    given = {name: document[name] for name in _FIELDS if document.get(name) not in (None, "", [])}
    if not given:
        raise ApiError(400, f"body: expected one of {', '.join(_FIELDS)}, found none")
    chosen = {
        _FIELDS[name]: (value,) if _FIELDS[name].endswith("s") and isinstance(value, str) else value
        for name, value in given.items()
    }
    channels = tuple(channel.id for channel in request.projects()) if request.texts("project") else ()
    try:
        return ChosenDeadLetters(**chosen, channels=channels)
    except (ValidationError, TypeError) as error:
        text = problem_of(error) if isinstance(error, ValidationError) else "body: expected texts and numbers"
        raise ApiError(400, text) from None


async def _one(request: ApiRequest) -> tuple[dict[str, Any], DeadLetterBody]:
    number = _number(request.path("number"), 2**63 - 1)
    letter = await _reader(request).one(number)
    if letter is None:
        raise ApiError(404, f"dead letter: expected one that waits, found no {number}; it may be retried or dropped")
    return letter


def _reader(request: ApiRequest) -> DeadLetterReader:
    return DeadLetterReader(request.services.clickhouse, request.organisation, request.projects())


def _number(text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or not 0 < int(text) <= most:
        raise ApiError(404, f"number: expected one from 1 to {most}, found {text[:40]!r}")
    return int(text)


_PATH: Final = "/organizations/{organisation}/delivery/dead-letters/"
ROUTES: Final = (
    ApiRoute("GET", _PATH, "project:read", list_dead_letters),
    ApiRoute("POST", f"{_PATH}retry/", DELIVERY_WRITE, retry),
    ApiRoute("POST", f"{_PATH}drop/", DELIVERY_WRITE, drop),
    ApiRoute("GET", f"{_PATH}retries/{{generation}}/", "project:read", outcome),
    ApiRoute("GET", f"{_PATH}{{number}}/", DELIVERY_WRITE, one_dead_letter),
    ApiRoute("GET", f"{_PATH}{{number}}/bytes/", DELIVERY_WRITE, dead_letter_bytes),
)
