"""A stream's configuration, asked for from whichever account the asker is in."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final

from nats.js.api import StreamInfo
from nats.js.errors import APIError, NotFoundError

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js.api import StreamConfig

_NO_JETSTREAM: Final = 10039
_NOT_FOUND: Final = 404


async def stream_config(client: Client, stream: str, timeout_s: float) -> StreamConfig:
    """What STREAM.INFO says. Raises NotFoundError, APIError, TimeoutError.

    Two answer a receiver that has an account of its own (ops/deploy/nats/accounts.conf): that account, which has no
    JetStream, and the one that the streams are in. Which comes first is chance.
    """
    inbox = client.new_inbox()
    answers = await client.subscribe(inbox)
    try:
        await client.publish(f"$JS.API.STREAM.INFO.{stream}", b"", inbox)
        async with asyncio.timeout(timeout_s):
            while True:
                answer = json.loads((await answers.next_msg(timeout_s)).data or b'{"error":{"code":503}}')
                error = answer.get("error")
                if not error:
                    config: StreamConfig = StreamInfo.from_response(answer).config
                    return config
                if error.get("err_code") != _NO_JETSTREAM:
                    raise NotFoundError(**error) if error.get("code") == _NOT_FOUND else APIError(**error)
    finally:
        await answers.unsubscribe()
