"""Reads the configuration of a stream, also from another account than the stream's."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

from nats.js.api import StreamInfo
from nats.js.errors import APIError, NotFoundError

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js.api import StreamConfig

_NO_JETSTREAM: Final = 10039
_NOT_FOUND: Final = 404


async def stream_config(client: Client, stream: str, timeout_s: float) -> StreamConfig:
    """The configuration in the answer to STREAM.INFO. Raises NotFoundError, APIError, TimeoutError."""
    answer = await api_answer(client, f"$JS.API.STREAM.INFO.{stream}", b"", timeout_s)
    config: StreamConfig = StreamInfo.from_response(answer).config
    return config


async def api_answer(client: Client, subject: str, request: bytes, timeout_s: float) -> dict[str, Any]:
    """The answer of JetStream's API. Raises NotFoundError, APIError, TimeoutError.

    A receiver or console with its own account (ops/deploy/nats/accounts.conf) gets two answers, in any order: one from
    its own account, which has no JetStream, and one from the account of the streams. The first kind is ignored.
    """
    inbox = client.new_inbox()
    answers = await client.subscribe(inbox)
    try:
        await client.publish(subject, request, inbox)
        async with asyncio.timeout(timeout_s):
            while True:
                data = (await answers.next_msg(timeout_s)).data or b'{"error":{"code":503}}'
                answer: dict[str, Any] = json.loads(data)
                error = answer.get("error")
                if not error:
                    return answer
                if error.get("err_code") != _NO_JETSTREAM:
                    raise NotFoundError(**error) if error.get("code") == _NOT_FOUND else APIError(**error)
    finally:
        await answers.unsubscribe()
