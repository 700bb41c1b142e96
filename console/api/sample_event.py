"""A test event: sent to the receiver with the key that a person has pasted, so that they see the whole way work.

Only to AXONPUSH_CONSOLE_RECEIVER_URL or else AXONPUSH_CONSOLE_INGEST_URL: no parameter chooses where a request goes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import aiohttp
import orjson

from console.api.answers import json_answer
from console.api.errors import ApiError
from console.api.request import text_field
from console.api.routes import ApiRoute

if TYPE_CHECKING:
    from starlette.responses import Response

    from console.api.request import ApiRequest

TIMEOUT_S: Final = 10.0
MAX_ANSWER: Final = 4_000
_KEY: Final = re.compile(r"(?:ak|pt)_[A-Za-z0-9_]{1,120}")


async def send_test_event(request: ApiRequest) -> Response:
    """`{"key": …}`, a key or a whole DSN. Answers with the event's id and what the receiver said."""
    channel = request.project
    key = _key_of(text_field(await request.fields(frozenset({"key"})), "key", 500))
    settings = request.services.settings
    url = settings.console_receiver_url or settings.console_ingest_url
    if not url:
        raise ApiError(400, "console: expected AXONPUSH_CONSOLE_RECEIVER_URL, the address of the receivers, found none")
    event_id = request.services.new_id().hex
    event = {
        "event_id": event_id,
        "level": "error",
        "platform": "other",
        "exception": {"values": [{"type": "TestEvent", "value": "sent from the settings of the console"}]},
        "timestamp": request.services.now().timestamp(),
    }
    status, said = await _post(f"{url}/api/{channel.id}/store/", orjson.dumps(event), key)
    return json_answer({"eventID": event_id, "status": status, "detail": said}, 201 if status == 200 else 200)


def _key_of(text: str) -> str:
    """The key itself, or that of a DSN. Raises ApiError 400 without repeating the text."""
    text = text.strip()
    key = (urlsplit(text).username or "") if text.startswith(("http://", "https://")) else text
    if not _KEY.fullmatch(key):
        raise ApiError(400, "key: expected a key like pt_… or ak_…, or a DSN with one, found another text")
    return key


async def _post(url: str, body: bytes, key: str) -> tuple[int, str]:
    headers = {"Content-Type": "application/json", "X-Sentry-Auth": f"Sentry sentry_key={key}"}
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
            session.post(url, data=body, headers=headers, allow_redirects=False) as response,
        ):
            return response.status, _detail_of(await response.content.read(MAX_ANSWER))
    except (aiohttp.ClientError, TimeoutError, OSError):
        return 0, "The receiver does not answer."


def _detail_of(body: bytes) -> str:
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    return str(document.get("detail", ""))[:500] if isinstance(document, dict) else ""


ROUTES: Final = (ApiRoute("POST", "/projects/{organisation}/{project}/sample-event/", "project:read", send_test_event),)
