"""Sends an event through the whole system again and again, and measures the time until its row is visible.

It sends and queries as users do, so it measures what users get: from the HTTP request to SQL.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

import aiohttp
import structlog
from prometheus_client import Counter, Gauge, Histogram
from pydantic import Field, SecretStr

from ops.runtime.failures import Failed
from ops.runtime.logs import configure_logging
from ops.runtime.process.signals import stop_event
from ops.runtime.process.start_errors import serve_metrics
from ops.runtime.settings import Settings
from ops.runtime.tasks import end

log = structlog.get_logger()

# Tag of canary events; exclude them with WHERE attributes['axonpush.canary'] = ''.
TAG: Final = "axonpush.canary"
LOOK_EVERY_S: Final = 0.1
SEND_AGAIN_S: Final = 1.0
# Timeout of one request, so that a hanging server cannot delay the next event.
REQUEST_TIMEOUT_S: Final = 10.0
SEEN: Final = (
    "SELECT count() FROM events WHERE channel_id = {channel:UInt64} AND event_id = {event_id:UUID} "
    "AND timestamp > now() - INTERVAL 1 DAY"
)
# How far a late event got: not accepted by the receiver, accepted without a row, or ClickHouse does not answer.
Stage = Literal["receiver", "workers", "query"]
STAGES: Final[tuple[Stage, ...]] = ("receiver", "workers", "query")
# What a later attempt can pass, and what the other refusals mean.
TRIED_AGAIN: Final = (408, 425, 429)
REFUSALS: Final = {
    401: "its key is unknown or revoked",
    403: "its key may not send to this channel, or the channel is archived",
    404: "there is no such channel",
}
NO_ROW: Final = "its row is not visible"

SECONDS: Final = Histogram(
    "axonpush_canary_seconds",
    "time from sending an event until its row is visible, late events included",
    buckets=(0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120),
)
LATE: Final = Counter(
    "axonpush_canary_late", "events whose row was not visible in time, by how far they got", ["stage"]
)
SUCCESS: Final = Gauge(
    "axonpush_canary_success_timestamp_seconds", "Unix time of the last event whose row was visible in time"
)


class CanarySettings(Settings):
    """Settings of the canary. Its ClickHouse user needs SELECT on the view `events` only."""

    canary_url: str = Field(
        "http://127.0.0.1:8080", description="address that the canary sends to: use the load balancer, as users do"
    )
    canary_key: SecretStr = Field(SecretStr(""), description="the canary's own key")
    canary_channel: int = Field(0, ge=0, le=2**63 - 1, description="the canary's own channel")
    canary_metrics_port: int = Field(0, ge=0, le=65535, description="port of /metrics; 0 = off")


@dataclass(frozen=True, slots=True)
class CanaryTarget:
    """Where the canary sends to. The key goes into a header only, never into a log or message."""

    url: str
    key: str
    channel: int

    def __repr__(self) -> str:
        return f"CanaryTarget({self.url!r}, channel={self.channel})"


@dataclass(frozen=True, slots=True)
class CanaryResult:
    """One event: `seconds` until its row was visible, or None; `stage` and `error` say how far it got."""

    event_id: str
    seconds: float | None
    deadline_s: float
    stage: Stage | None = None
    error: str = ""
    # The receiver will not accept it, however often it is sent.
    is_refused: bool = False

    @property
    def in_time(self) -> bool:
        """Whether the row was visible within the deadline."""
        return self.seconds is not None and self.seconds <= self.deadline_s


def target_of_dsn(dsn: str) -> CanaryTarget:
    """Parses a DSN (Sentry SDK overview, "Parsing the DSN"). Raises Failed; the message does not quote the DSN."""
    parts = urlsplit(dsn)
    prefix, _, channel = parts.path.rpartition("/")
    if parts.scheme not in {"http", "https"} or not parts.username or not parts.hostname or not channel.isdigit():
        raise Failed("expected a DSN like https://KEY@HOST/CHANNEL, found something else")
    return CanaryTarget(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{prefix}", parts.username, int(channel))


def target_of_settings(settings: CanarySettings) -> CanaryTarget:
    """The target from AXONPUSH_CANARY_*. Raises Failed if key or channel are missing."""
    key = settings.canary_key.get_secret_value()
    given = {"AXONPUSH_CANARY_KEY": bool(key), "AXONPUSH_CANARY_CHANNEL": bool(settings.canary_channel)}
    if absent := [name for name, is_given in given.items() if not is_given]:
        actual = "neither" if len(absent) == len(given) else f"no {absent[0]}"
        raise Failed(
            f"expected --dsn, or AXONPUSH_CANARY_KEY and AXONPUSH_CANARY_CHANNEL, found {actual}. "
            "Create them: `axonpush channels create --name canary`, "
            "`axonpush keys mint --environment canary --channel N`."
        )
    return CanaryTarget(settings.canary_url.rstrip("/"), key, settings.canary_channel)


@dataclass(slots=True)
class _Attempt:
    """What is known of one event so far."""

    event_id: str
    stage: Stage = "receiver"
    error: str = "no answer yet"
    is_refused: bool = False


class Canary:
    """Sends events and looks for their rows. The caller closes `session`."""

    def __init__(
        self, session: aiohttp.ClientSession, settings: Settings, target: CanaryTarget, *, ends_refused: bool = False
    ) -> None:
        # One event for a person ends with a refusal; one of many is sent again, because a refusal can be mended.
        self._ends_refused = ends_refused
        self._session = session
        self._settings = settings
        self._target = target

    async def send_and_wait(
        self, deadline_s: float, patience_s: float, late: Callable[[CanaryResult], object]
    ) -> CanaryResult:
        """Sends one event and waits up to `patience_s` for its row; calls `late` if `deadline_s` passes first."""
        attempt, began_s = _Attempt(uuid.uuid4().hex), time.perf_counter()
        for until_s, tell in ((deadline_s, late), (patience_s, None)):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(began_s + until_s - time.perf_counter()):
                    await self._wait_for_row(attempt)
                    if attempt.is_refused:
                        return _missed(attempt, deadline_s)
                    return CanaryResult(attempt.event_id, time.perf_counter() - began_s, deadline_s)
            if tell:
                tell(_missed(attempt, deadline_s))
        return _missed(attempt, deadline_s)

    async def _wait_for_row(self, attempt: _Attempt) -> None:
        """Returns when the row is visible. Sends the event again, with the same id, until the receiver accepts it."""
        while attempt.stage == "receiver":
            if not (error := await self._error_of(self._send(attempt))):
                attempt.stage, error = "workers", NO_ROW
            attempt.error = error
            if attempt.is_refused and self._ends_refused:
                return
            if attempt.stage == "receiver":
                await asyncio.sleep(SEND_AGAIN_S)
        while error := await self._error_of(self._look(attempt.event_id)):
            attempt.stage, attempt.error = ("workers" if error == NO_ROW else "query"), error
            await asyncio.sleep(LOOK_EVERY_S)

    async def _error_of(self, request: Awaitable[str]) -> str:
        try:
            return await request
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return str(error) or type(error).__name__

    async def _send(self, attempt: _Attempt) -> str:
        url = f"{self._target.url}/api/{self._target.channel}/envelope/"
        auth = f"Sentry sentry_version=7, sentry_client=axonpush-canary/1, sentry_key={self._target.key}"
        async with self._session.post(url, data=envelope(attempt.event_id), headers={"X-Sentry-Auth": auth}) as answer:
            attempt.is_refused = 400 <= answer.status < 500 and answer.status not in TRIED_AGAIN
            why = f": {REFUSALS[answer.status]}" if answer.status in REFUSALS else ""
            return "" if answer.status == 200 else f"the receiver answered {answer.status}{why}"

    async def _look(self, event_id: str) -> str:
        parameters = {
            "database": self._settings.clickhouse_database,
            "param_channel": str(self._target.channel),
            "param_event_id": str(uuid.UUID(event_id)),
        }
        headers = {
            "X-ClickHouse-User": self._settings.clickhouse_user,
            "X-ClickHouse-Key": self._settings.clickhouse_password.get_secret_value(),
        }
        url = self._settings.clickhouse_url
        async with self._session.post(url, params=parameters, data=SEEN.encode(), headers=headers) as answer:
            text = (await answer.text()).strip()
            if answer.status != 200:
                return f"ClickHouse answered {answer.status}: {text[:200]}"
            return "" if text != "0" else NO_ROW


def _missed(attempt: _Attempt, deadline_s: float) -> CanaryResult:
    return CanaryResult(attempt.event_id, None, deadline_s, attempt.stage, attempt.error, attempt.is_refused)


def envelope(event_id: str) -> bytes:
    """An envelope with one event that is tagged as a canary."""
    event = {
        "message": "canary",
        "level": "info",
        "logger": TAG,
        "platform": "other",
        "tags": {TAG: "true"},
    }
    lines = ({"event_id": event_id}, {"type": "event"}, event)
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def _tell_late(result: CanaryResult) -> None:
    LATE.labels(result.stage or "workers").inc()
    log.error("late", stage=result.stage, error=result.error, event_id=result.event_id, deadline_s=result.deadline_s)


def _tell(result: CanaryResult) -> None:
    if result.seconds is not None:
        SECONDS.observe(result.seconds)
        log.info("seen", seconds=round(result.seconds, 3), in_time=result.in_time, event_id=result.event_id)
    if result.in_time:
        SUCCESS.set(time.time())


def _session() -> aiohttp.ClientSession:
    # A new connection for each event: a kept one would not notice a load balancer that refuses new connections.
    connector = aiohttp.TCPConnector(force_close=True)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S))


async def once(settings: CanarySettings, target: CanaryTarget, deadline_s: float) -> CanaryResult:
    """Sends one event and reports whether its row was visible within the deadline."""
    async with _session() as session:
        return await Canary(session, settings, target, ends_refused=True).send_and_wait(
            deadline_s, deadline_s, lambda _found: None
        )


async def run(settings: CanarySettings, target: CanaryTarget, every_s: float, deadline_s: float) -> None:
    """Sends one event every `every_s`, until SIGTERM or SIGINT."""
    configure_logging(settings)
    for stage in STAGES:
        LATE.labels(stage)  # exported as 0 from the start: otherwise the first increment is not seen as an increase
    if settings.canary_metrics_port:
        serve_metrics(settings.canary_metrics_port, "AXONPUSH_CANARY_METRICS_PORT")
    stop = stop_event()
    sending = asyncio.create_task(_send_for_ever(settings, target, every_s, deadline_s))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({sending, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if sending.done():
        sending.result()
    await end(sending, stopping)


async def _send_for_ever(settings: CanarySettings, target: CanaryTarget, every_s: float, deadline_s: float) -> None:
    log.info("canary_started", url=target.url, channel=target.channel, every_s=every_s, deadline_s=deadline_s)
    async with _session() as session:
        canary = Canary(session, settings, target)
        while True:
            began_s = time.monotonic()
            _tell(await canary.send_and_wait(deadline_s, max(deadline_s, every_s), _tell_late))
            await asyncio.sleep(max(0.0, began_s + every_s - time.monotonic()))
