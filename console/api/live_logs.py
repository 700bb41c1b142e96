"""Logs as they arrive, as server-sent events: a browser reads them with EventSource."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import StreamingResponse

from console.access.limits import LIVE_STREAMS, OF_ONE_ORGANISATION, NoStreamFree
from console.access.sessions import Sessions
from console.api.errors import ApiError
from console.api.explore import read_question
from console.api.request import CLOCKS_AHEAD, Period
from console.api.routes import ApiRoute
from console.explore.live import LiveLines, server_sent_event, stream
from console.explore.rows import Explorer
from console.query.datasets import LOGS
from console.storage.times import time_text_of

if TYPE_CHECKING:
    from starlette.responses import Response

    from console.api.request import ApiRequest
    from console.explore.question import Question

FIELDS: Final = ("id", "timestamp", "severity", "message", "service.name", "project", "trace", "span_id")
# Lines of senders whose clocks are wrong by more than this are found by a search, not here.
REACH: Final = dt.timedelta(minutes=15)
_TOO_MANY: Final = (
    f"streams: expected at most {OF_ONE_ORGANISATION} of one organisation and {LIVE_STREAMS} of one console, found more"
)


async def live_logs(request: ApiRequest) -> Response:
    """Lines that match `query`, from now on; with `Last-Event-ID` or `lastEventId`, those since then too."""
    # The header is of a browser that reconnects by itself, and newer; a page that opens a stream anew cannot set it.
    last_seen = _last_seen(request.http.headers.get("last-event-id", "") or request.text("lastEventId"))
    _question(request, request.services.now())  # a wrong query is a 400, not a stream that ends
    streams, organisation = request.services.live_streams, request.organisation
    if streams.is_full(organisation):
        raise ApiError(429, _TOO_MANY, {"Retry-After": "10"})

    async def read(since: dt.datetime, limit: int) -> list[dict[str, Any]]:
        question = _question(request, since)
        return await Explorer(request.services.clickhouse, question.scope.projects).page(
            question, limit=limit, offset=0
        )

    async def body() -> AsyncIterator[bytes]:
        lines = LiveLines(read, request.services.now)
        try:
            with streams.opened(organisation):
                async for part in stream(lines, last_seen, request.services.live_polls, asyncio.sleep, goes_on):
                    yield part
        except ApiError as error:
            yield server_sent_event("problem", {"detail": error.detail})
        except NoStreamFree:  # of several that came together, those before this one took the last
            yield server_sent_event("problem", {"detail": _TOO_MANY})

    sessions = Sessions(request.services)

    async def goes_on() -> bool:
        return not request.services.stopping and await sessions.is_valid(request.http, request.caller)

    return StreamingResponse(body(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


def _question(request: ApiRequest, since: dt.datetime) -> Question:
    now = request.services.now()
    question = read_question(request, LOGS, FIELDS, request.text("query"), Period(now - REACH, now + CLOCKS_AHEAD))
    parameter = question.parameters.new(time_text_of(since), "String")
    received = f"received_at >= toDateTime64({parameter}, 9, 'UTC')"
    question.conditions.of_event = f"{received} AND ({question.conditions.of_event or 'true'})"
    return question


def _last_seen(text: str) -> dt.datetime | None:
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        return None
    return dt.datetime.fromtimestamp(int(text), dt.UTC)


ROUTES: Final = (ApiRoute("GET", "/organizations/{organisation}/logs/live/", "event:read", live_logs),)
