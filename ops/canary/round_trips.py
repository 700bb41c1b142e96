"""`axonpush canary`: sends one event through the whole path, again and again, and tells how long its row took.

It is a sender and a reader like any other: what it measures is what users get, from the socket to SQL.
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
from prometheus_client import Counter, Gauge, Histogram, start_http_server
from pydantic import Field, SecretStr

from ops.runtime.failures import Failed
from ops.runtime.logs import configure_logging
from ops.runtime.process.signals import stop_event
from ops.runtime.settings import Settings
from ops.runtime.tasks import end

log = structlog.get_logger()

# Marks its events: WHERE attributes['axonpush.canary'] = '' leaves them out.
TAG: Final = "axonpush.canary"
LOOK_EVERY_S: Final = 0.1
SEND_AGAIN_S: Final = 1.0
# Of one request; a server that hangs must not hold the canary up past its next turn.
REQUEST_TIMEOUT_S: Final = 10.0
SEEN: Final = (
    "SELECT count() FROM events WHERE channel_id = {channel:UInt64} AND event_id = {event_id:UUID} "
    "AND timestamp > now() - INTERVAL 1 DAY"
)
# Where an event that is late was last seen: it was not stored; it was, and has no row; SQL does not answer.
Stage = Literal["door", "mill", "query"]
STAGES: Final[tuple[Stage, ...]] = ("door", "mill", "query")
NO_ROW: Final = "its row is not there"

SECONDS: Final = Histogram(
    "axonpush_canary_seconds",
    "from sending an event to its row in SQL; late ones too, once they come",
    buckets=(0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120),
)
LATE: Final = Counter("axonpush_canary_late", "events whose row was not there in time, by where they were", ["stage"])
SUCCESS: Final = Gauge("axonpush_canary_success_timestamp_seconds", "Unix time of the last event that came in time")


class CanarySettings(Settings):
    """What the canary sends with. Its ClickHouse user needs to read the view `events`, nothing else."""

    canary_url: str = Field("http://127.0.0.1:8080", description="where the canary sends to: the balancer, as users do")
    canary_key: SecretStr = Field(SecretStr(""), description="key of the canary's own")
    canary_channel: int = Field(0, ge=0, le=2**63 - 1, description="channel of the canary's own")
    canary_metrics_port: int = Field(0, ge=0, le=65535, description="port of /metrics; 0 = off")


@dataclass(frozen=True, slots=True)
class CanaryTarget:
    """Where the canary sends to. The key is for a header, and stands in no text."""

    url: str
    key: str
    channel: int

    def __repr__(self) -> str:
        return f"Target({self.url!r}, channel={self.channel})"


@dataclass(frozen=True, slots=True)
class Sighting:
    """One event: `seconds` until its row was there, None if it did not come; `stage` and `error` say where it was."""

    event_id: str
    seconds: float | None
    deadline_s: float
    stage: Stage | None = None
    error: str = ""

    @property
    def in_time(self) -> bool:
        """Whether the row was there within the deadline."""
        return self.seconds is not None and self.seconds <= self.deadline_s


def target_of_dsn(dsn: str) -> CanaryTarget:
    """What a DSN says (Sentry SDK overview, Parsing the DSN). Raises Failed; its text does not quote the DSN."""
    parts = urlsplit(dsn)
    prefix, _, channel = parts.path.rpartition("/")
    if parts.scheme not in {"http", "https"} or not parts.username or not parts.hostname or not channel.isdigit():
        raise Failed("expected a DSN like https://KEY@HOST/CHANNEL, found another form")
    return CanaryTarget(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{prefix}", parts.username, int(channel))


def target_of_settings(settings: CanarySettings) -> CanaryTarget:
    """What AXONPUSH_CANARY_* say. Raises Failed when key or channel are missing."""
    key = settings.canary_key.get_secret_value()
    if not key or not settings.canary_channel:
        raise Failed(
            "expected --dsn, or AXONPUSH_CANARY_KEY and AXONPUSH_CANARY_CHANNEL, found neither. "
            "`axonpush channels create --name canary`, `axonpush keys mint --environment canary --channel N` make them."
        )
    return CanaryTarget(settings.canary_url.rstrip("/"), key, settings.canary_channel)


@dataclass(slots=True)
class _Flight:
    """What is known of one event while it is under way."""

    event_id: str
    stage: Stage = "door"
    error: str = "no answer yet"


class Canary:
    """Sends and looks. `session` is closed by whoever opened it."""

    def __init__(self, session: aiohttp.ClientSession, settings: Settings, target: CanaryTarget) -> None:
        self._session = session
        self._settings = settings
        self._target = target

    async def fly(self, deadline_s: float, patience_s: float, late: Callable[[Sighting], object]) -> Sighting:
        """One event, until its row is there or `patience_s` is over; `late` is told when `deadline_s` is over first."""
        flight, began_s = _Flight(uuid.uuid4().hex), time.perf_counter()
        for until_s, tell in ((deadline_s, late), (patience_s, None)):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(began_s + until_s - time.perf_counter()):
                    await self._arrive(flight)
                    return Sighting(flight.event_id, time.perf_counter() - began_s, deadline_s)
            if tell:
                tell(_missed(flight, deadline_s))
        return _missed(flight, deadline_s)

    async def _arrive(self, flight: _Flight) -> None:
        """Returns when the row is there. Until it is stored an event is sent again, with its id: it stays one row."""
        while flight.stage == "door":
            if not (error := await self._tried(self._send(flight.event_id))):
                flight.stage, error = "mill", NO_ROW
            flight.error = error
            if flight.stage == "door":
                await asyncio.sleep(SEND_AGAIN_S)
        while error := await self._tried(self._look(flight.event_id)):
            flight.stage, flight.error = ("mill" if error == NO_ROW else "query"), error
            await asyncio.sleep(LOOK_EVERY_S)

    async def _tried(self, request: Awaitable[str]) -> str:
        try:
            return await request
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return str(error) or type(error).__name__

    async def _send(self, event_id: str) -> str:
        url = f"{self._target.url}/api/{self._target.channel}/envelope/"
        auth = f"Sentry sentry_version=7, sentry_client=axonpush-canary/1, sentry_key={self._target.key}"
        async with self._session.post(url, data=envelope(event_id), headers={"X-Sentry-Auth": auth}) as answer:
            return "" if answer.status == 200 else f"the receiver answered {answer.status}"

    async def _look(self, event_id: str) -> str:
        told = {
            "database": self._settings.clickhouse_database,
            "param_channel": str(self._target.channel),
            "param_event_id": str(uuid.UUID(event_id)),
        }
        headers = {
            "X-ClickHouse-User": self._settings.clickhouse_user,
            "X-ClickHouse-Key": self._settings.clickhouse_password.get_secret_value(),
        }
        url = self._settings.clickhouse_url
        async with self._session.post(url, params=told, data=SEEN.encode(), headers=headers) as answer:
            text = (await answer.text()).strip()
            if answer.status != 200:
                return f"ClickHouse answered {answer.status}: {text[:200]}"
            return "" if text != "0" else NO_ROW


def _missed(flight: _Flight, deadline_s: float) -> Sighting:
    return Sighting(flight.event_id, None, deadline_s, flight.stage, flight.error)


def envelope(event_id: str) -> bytes:
    """An envelope with one event that says what it is."""
    event = {
        "message": "canary",
        "level": "info",
        "logger": TAG,
        "platform": "other",
        "tags": {TAG: "true"},
    }
    lines = ({"event_id": event_id}, {"type": "event"}, event)
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def _tell_late(found: Sighting) -> None:
    LATE.labels(found.stage or "mill").inc()
    log.error("late", stage=found.stage, error=found.error, event_id=found.event_id, deadline_s=found.deadline_s)


def _tell(found: Sighting) -> None:
    if found.seconds is not None:
        SECONDS.observe(found.seconds)
        log.info("seen", seconds=round(found.seconds, 3), in_time=found.in_time, event_id=found.event_id)
    if found.in_time:
        SUCCESS.set(time.time())


def _session() -> aiohttp.ClientSession:
    # A connection each time, as most senders come: one that is kept would not notice a balancer that takes nobody new.
    connector = aiohttp.TCPConnector(force_close=True)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S))


async def once(settings: CanarySettings, target: CanaryTarget, deadline_s: float) -> Sighting:
    """One event, and what became of it within the deadline."""
    async with _session() as session:
        return await Canary(session, settings, target).fly(deadline_s, deadline_s, lambda _found: None)


async def run(settings: CanarySettings, target: CanaryTarget, every_s: float, deadline_s: float) -> None:
    """The process: one event every `every_s`, until SIGTERM or SIGINT."""
    configure_logging(settings)
    for stage in STAGES:
        LATE.labels(stage)  # served from the first moment on, or the first late one would be no increase
    if settings.canary_metrics_port:
        start_http_server(settings.canary_metrics_port)
    stop = stop_event()
    flying = asyncio.create_task(_keep_flying(settings, target, every_s, deadline_s))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({flying, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if flying.done():
        flying.result()
    await end(flying, stopping)


async def _keep_flying(settings: CanarySettings, target: CanaryTarget, every_s: float, deadline_s: float) -> None:
    log.info("canary_started", url=target.url, channel=target.channel, every_s=every_s, deadline_s=deadline_s)
    async with _session() as session:
        canary = Canary(session, settings, target)
        while True:
            began_s = time.monotonic()
            _tell(await canary.fly(deadline_s, max(deadline_s, every_s), _tell_late))
            await asyncio.sleep(max(0.0, began_s + every_s - time.monotonic()))
