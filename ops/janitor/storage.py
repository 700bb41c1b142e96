"""Checks whether the broker can store messages.

After a full disk, a stream refuses everything until its server restarts, even when there is room again (nats-server
2.14 and later keep the error); a server in a cluster turns JetStream off. The check leaves no message in a stream:
purging a subject without messages returns the stream's write error. One small write to the bucket `control` shows
whether the disk accepts data now.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
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
# Last token of a subject that nothing is published to; each stream has one.
UNUSED: Final = "storage-check"
# One message; each check replaces it.
WRITTEN_STREAM: Final = f"KV_{CONTROL_BUCKET}"
WRITTEN_SUBJECT: Final = f"$KV.{CONTROL_BUCKET}.{UNUSED}"
NO_ANSWER: Final = f"no answer within {ANSWER_TIMEOUT_S:.0f} s"
JETSTREAM_OFF: Final = "JetStream is off on this server: its disk was full or not writable"
_FULL: Final = "free disk space, then restart the server (`axonpush up` does that itself)"
_SILENT: Final = "the broker is starting, busy or away: check that its process runs, and read its log"
# What is found instead of a greeting. The kernel accepts connections for a stopped process (SIGSTOP) too.
SAYS_NOTHING: Final = "accepts connections and says nothing: it is stopped or hangs"
REFUSES_CONNECTIONS: Final = "does not accept connections"
NO_CONNECTION: Final = "no answer to a connection: its machine is away, or a firewall is between"
UNKNOWN_HOST: Final = "unknown host"
NO_BROKER: Final = "is no NATS server"
_STREAM_NOT_FOUND: Final = 10059
# JetStream of a cluster without a leader.
_UNAVAILABLE: Final = 10008


@dataclass(frozen=True, slots=True)
class StorageRefusal:
    """A stream that refuses writes, or a server without JetStream (`stream` is then empty).

    `answered` is False if there was no answer in time: the broker may be busy or away. `is_starting` is True if the
    server answers but JetStream does not yet, as after a kill.
    """

    stream: str
    server: str
    error: str
    answered: bool = True
    is_starting: bool = False

    @property
    def remedy(self) -> str:
        """What the operator must do. Only a broker that reported an error of its disk needs free space."""
        return _FULL if self.answered and not self.is_starting else _SILENT

    def __str__(self) -> str:
        what = f"stream {self.stream}" if self.stream else "the broker"
        where = f" on server {self.server}" if self.server else ""
        return f"{what}{where} refuses to store: {self.error}"


async def refusals(client: Client) -> list[StorageRefusal]:
    """Our streams that refuse writes. Missing streams are not reported here."""
    checks = [_refusal_of(client, stream, subject) for stream, subject in unused_subjects().items()]
    results = await asyncio.gather(*checks, _refused_write(client))
    return [refusal for refusal in results if refusal is not None]


async def missing(client: Client) -> list[str]:
    """Our streams and buckets that do not exist. Raises NatsError, TimeoutError.

    Brokers without a majority know of no stream, and one that was just started not of all: only a broker that says of
    a stream that it does not exist is believed.
    """
    answer = await _request(client, "STREAM.NAMES", {})
    if error := answer.get("error"):
        APIError.from_error(error)
    unlisted = sorted({str(stream.name) for stream in streams(Budgets(), 1)} - set(answer.get("streams") or ()))
    answers = await asyncio.gather(*(_request(client, f"STREAM.INFO.{name}", {}) for name in unlisted))
    return [
        name
        for name, answer in zip(unlisted, answers, strict=True)
        if (answer.get("error") or {}).get("err_code") == _STREAM_NOT_FOUND
    ]


def unused_subjects() -> dict[str, str]:
    """For each of our streams, a subject that nothing is published to."""
    subjects_by_stream = {str(stream.name): str((stream.subjects or [""])[0]) for stream in streams(Budgets(), 1)}
    return {
        name: subject.replace(">", UNUSED) for name, subject in subjects_by_stream.items() if name != WRITTEN_STREAM
    }


async def servers_without_jetstream(addresses: list[str]) -> list[StorageRefusal]:
    """Servers that can be reached and have JetStream off. Unreachable servers are not reported here."""
    greetings = await asyncio.gather(*map(greeting, addresses))
    return [
        StorageRefusal("", str(info.get("server_name", "")), JETSTREAM_OFF)
        for info in greetings
        if info and not info.get("jetstream")
    ]


async def _refusal_of(client: Client, stream: str, subject: str) -> StorageRefusal | None:
    try:
        answer = await _request(client, f"STREAM.PURGE.{stream}", {"filter": subject})
    except (TimeoutError, NatsError) as error:
        is_starting = isinstance(error, NoRespondersError)
        return StorageRefusal(stream, "", _text(error), answered=is_starting, is_starting=is_starting)
    refused = answer.get("error") or {}
    if not refused or refused.get("err_code") == _STREAM_NOT_FOUND:
        return None
    text, no_leader = str(refused.get("description", refused)), refused.get("err_code") == _UNAVAILABLE
    server = "" if no_leader else await _leader(client, stream)
    return StorageRefusal(stream, server, text, is_starting=no_leader)


async def _refused_write(client: Client) -> StorageRefusal | None:
    """Tries a real write; if the bucket is missing, does nothing."""
    js = client.jetstream(timeout=ANSWER_TIMEOUT_S)
    try:
        await js.publish(WRITTEN_SUBJECT, b"{}", stream=WRITTEN_STREAM)
    except NoStreamResponseError:
        return None
    except APIError as error:
        return StorageRefusal(WRITTEN_STREAM, await _leader(client, WRITTEN_STREAM), str(error.description))
    except (TimeoutError, NatsError) as error:
        # A stream with a write error does not answer a publish, but it answers a purge.
        refused = await _refusal_of(client, WRITTEN_STREAM, WRITTEN_SUBJECT + ".none")
        return refused or StorageRefusal(WRITTEN_STREAM, "", _text(error), answered=False)
    return None


async def _leader(client: Client, stream: str) -> str:
    with contextlib.suppress(TimeoutError, NatsError):
        answer = await _request(client, f"STREAM.INFO.{stream}", {})
        return str((answer.get("cluster") or {}).get("leader", ""))
    return ""


async def _request(client: Client, what: str, body: dict[str, str]) -> dict[str, dict[str, object]]:
    reply = await client.request(f"$JS.API.{what}", json.dumps(body).encode(), timeout=ANSWER_TIMEOUT_S)
    answer: dict[str, dict[str, object]] = json.loads(reply.data)
    return answer


async def greeting(address: str) -> dict[str, object]:
    """The INFO that a server sends on connect; empty if it cannot be reached."""
    return (await greeting_or_error(address))[0]


async def greeting_or_error(address: str) -> tuple[dict[str, object], str]:
    """The same, and without one what was found instead."""
    parts = urlsplit(address if "://" in address else f"nats://{address}")
    is_connected = False
    try:
        async with asyncio.timeout(GREETING_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port or DEFAULT_PORT)
            is_connected = True
            try:
                line = await reader.readline()
            finally:
                writer.close()
        info: dict[str, object] = json.loads(line.removeprefix(b"INFO "))
    except TimeoutError:
        return {}, SAYS_NOTHING if is_connected else NO_CONNECTION
    except socket.gaierror:
        return {}, UNKNOWN_HOST
    except OSError:
        return {}, REFUSES_CONNECTIONS
    except ValueError:
        return {}, NO_BROKER
    return info, ""


def _text(error: Exception) -> str:
    if isinstance(error, NoRespondersError):
        return "no server answers for JetStream"
    return NO_ANSWER if isinstance(error, TimeoutError) else str(error) or type(error).__name__
