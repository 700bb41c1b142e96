"""Whether the broker stores. A stream whose disk was full refuses everything until its server is started again, also
when there is room once more (nats-server 2.14 and later keep the error); a server of a cluster turns JetStream off.

Asked without leaving anything in a stream: a purge of a subject that nothing is published on is answered with the
stream's write error. One small write, into the bucket `control`, shows that the disk takes something now.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.js.errors import APIError, NoStreamResponseError

from ops.provisioning.streams import Budgets, streams
from schemas.subjects import CONTROL_BUCKET

if TYPE_CHECKING:
    from nats.aio.client import Client

ANSWER_TIMEOUT_S: Final = 5.0
GREETING_TIMEOUT_S: Final = 2.0
DEFAULT_PORT: Final = 4222
# What no message is ever published on; a subject of each stream ends with it.
UNUSED: Final = "storage-check"
# One message, replaced by each check.
WRITTEN_STREAM: Final = f"KV_{CONTROL_BUCKET}"
WRITTEN_SUBJECT: Final = f"$KV.{CONTROL_BUCKET}.{UNUSED}"
NO_ANSWER: Final = f"no answer within {ANSWER_TIMEOUT_S:.0f} s"
JETSTREAM_OFF: Final = "JetStream is off on this server: its disk was full or not writable"
_FULL: Final = "give its disk room, then restart the server (`axonpush up` does that by itself)"
_SILENT: Final = "the broker is starting, busy or away: look whether its process runs, and into its log"
_STREAM_NOT_FOUND: Final = 10059


@dataclass(frozen=True, slots=True)
class StorageRefusal:
    """A stream that takes no writes, or a server without JetStream (`stream` is empty then).

    `answered` is False where nothing came back in time, which may be a broker that is busy or away. `is_starting`: it
    answers, and JetStream not yet, as after a kill.
    """

    stream: str
    server: str
    error: str
    answered: bool = True
    is_starting: bool = False

    @property
    def remedy(self) -> str:
        """What a person is to do: only a broker that answered with an error of its disk needs room on it."""
        return _FULL if self.answered and not self.is_starting else _SILENT

    def __str__(self) -> str:
        what = f"stream {self.stream}" if self.stream else "the broker"
        where = f" on server {self.server}" if self.server else ""
        return f"{what}{where} refuses to store: {self.error}"


async def refusals(client: Client) -> list[StorageRefusal]:
    """Every stream of ours that takes no writes; streams that do not exist are no matter of storage."""
    asked = [_refusal_of(client, stream, subject) for stream, subject in unused_subjects().items()]
    found = await asyncio.gather(*asked, _refused_write(client))
    return [one for one in found if one is not None]


async def missing(client: Client) -> list[str]:
    """Streams and buckets of ours that do not exist. Raises NatsError, TimeoutError."""
    reply = await client.request("$JS.API.STREAM.NAMES", b"{}", timeout=ANSWER_TIMEOUT_S)
    there = set(json.loads(reply.data).get("streams") or ())
    return sorted({str(stream.name) for stream in streams(Budgets(), 1)} - there)


def unused_subjects() -> dict[str, str]:
    """A subject of each stream of ours that no message is ever published on."""
    found = {str(one.name): str((one.subjects or [""])[0]) for one in streams(Budgets(), 1)}
    return {name: subject.replace(">", UNUSED) for name, subject in found.items() if name != WRITTEN_STREAM}


async def servers_without_jetstream(addresses: list[str]) -> list[StorageRefusal]:
    """Servers that greet and have JetStream off. One that does not greet is away, which is no matter of storage."""
    greetings = await asyncio.gather(*map(_greeting, addresses))
    return [
        StorageRefusal("", str(one.get("server_name", "")), JETSTREAM_OFF)
        for one in greetings
        if one and not one.get("jetstream")
    ]


async def _refusal_of(client: Client, stream: str, subject: str) -> StorageRefusal | None:
    try:
        answer = await _asked(client, f"STREAM.PURGE.{stream}", {"filter": subject})
    except (TimeoutError, NatsError) as error:
        is_starting = isinstance(error, NoRespondersError)
        return StorageRefusal(stream, "", _text(error), answered=is_starting, is_starting=is_starting)
    refused = answer.get("error") or {}
    if not refused or refused.get("err_code") == _STREAM_NOT_FOUND:
        return None
    return StorageRefusal(stream, await _leader(client, stream), str(refused.get("description", refused)))


async def _refused_write(client: Client) -> StorageRefusal | None:
    """A real write; where the bucket is missing, none is tried."""
    js = client.jetstream(timeout=ANSWER_TIMEOUT_S)
    try:
        await js.publish(WRITTEN_SUBJECT, b"{}", stream=WRITTEN_STREAM)
    except NoStreamResponseError:
        return None
    except APIError as error:
        return StorageRefusal(WRITTEN_STREAM, await _leader(client, WRITTEN_STREAM), str(error.description))
    except (TimeoutError, NatsError) as error:
        # A stream with a write error does not answer a publish at all; asked for a purge, it does.
        refused = await _refusal_of(client, WRITTEN_STREAM, WRITTEN_SUBJECT + ".none")
        return refused or StorageRefusal(WRITTEN_STREAM, "", _text(error), answered=False)
    return None


async def _leader(client: Client, stream: str) -> str:
    with contextlib.suppress(TimeoutError, NatsError):
        answer = await _asked(client, f"STREAM.INFO.{stream}", {})
        return str((answer.get("cluster") or {}).get("leader", ""))
    return ""


async def _asked(client: Client, what: str, body: dict[str, str]) -> dict[str, dict[str, object]]:
    reply = await client.request(f"$JS.API.{what}", json.dumps(body).encode(), timeout=ANSWER_TIMEOUT_S)
    answer: dict[str, dict[str, object]] = json.loads(reply.data)
    return answer


async def _greeting(address: str) -> dict[str, object]:
    """What a server says to everybody who connects; empty when it cannot be reached."""
    parts = urlsplit(address if "://" in address else f"nats://{address}")
    try:
        async with asyncio.timeout(GREETING_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port or DEFAULT_PORT)
            try:
                line = await reader.readline()
            finally:
                writer.close()
        found: dict[str, object] = json.loads(line.removeprefix(b"INFO "))
    except (OSError, TimeoutError, ValueError):
        return {}
    return found


def _text(error: Exception) -> str:
    if isinstance(error, NoRespondersError):
        return "nobody answers for JetStream"
    return NO_ANSWER if isinstance(error, TimeoutError) else str(error) or type(error).__name__
