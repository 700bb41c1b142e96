"""`axonpush janitor`: makes room in RAW. The only code that deletes raw bodies; never one that nobody has worked on.

It also makes durables again that somebody deleted, and says when the broker does not store.

What lies behind the acknowledgements of every reader of RAW may go, once it is older than the replay horizon. When the
stream is nearly full it may go earlier: it is rows by then, and a full stream refuses what is new.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy
from prometheus_client import Counter, Gauge, start_http_server
from pydantic import Field

from ops.janitor.broker_metrics import keep_measuring
from ops.janitor.storage_metrics import keep_checking_storage
from ops.provisioning.durables import Durables
from ops.replay.control import open_control
from ops.runtime.failures import Failed
from ops.runtime.logs import configure_logging
from ops.runtime.nats_options import nats_options
from ops.runtime.process.signals import on_stop
from ops.runtime.settings import Settings
from ops.runtime.settled import floor
from ops.runtime.stream_state import StreamState, consumers_of, first_seq_since, stream_state
from schemas.subjects import RAW, SOURCES

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js.api import ConsumerInfo

log = structlog.get_logger()

_MORE_ROOM: Final = "raise AXONPUSH_RAW_MAX_BYTES and run `axonpush migrate`, or lower AXONPUSH_REPLAY_HORIZON_S"

TRIMMED: Final = Counter("axonpush_janitor_trimmed", "raw bodies removed, by why they might go", ["why"])
HELD_BY: Final = Gauge("axonpush_janitor_behind", "bodies between a reader's acknowledgements and the end", ["reader"])
MISSING: Final = Gauge(
    "axonpush_janitor_missing_durables", "readers that should be there and are not: nothing is trimmed"
)
RAW_FILL: Final = Gauge("axonpush_janitor_raw_fill", "share of RAW's budget that is taken")
RAW_OLDEST: Final = Gauge("axonpush_janitor_raw_oldest_seconds", "age of the oldest body: how far a replay can reach")


class JanitorSettings(Settings):
    """What tunes the janitor."""

    replay_horizon_s: float = Field(604_800, ge=0, description="raw bodies are kept this long for a replay")
    janitor_interval_s: float = Field(10, gt=0, description="pause between two looks at RAW")
    # Refusing live data to keep what is rows already would be the worse loss; 1 keeps the horizon whatever it costs.
    janitor_pressure: float = Field(
        0.9, gt=0, le=1, description="above this fill of RAW acknowledged bodies go before the horizon; 1 = never"
    )
    # A purge holds the stream's lock: small steps keep publishers waiting for milliseconds.
    janitor_step_messages: int = Field(10_000, ge=1, description="raw bodies removed at once")
    janitor_metrics_port: int = Field(0, ge=0, le=65535, description="port of /metrics; 0 = off")


@dataclass(frozen=True, slots=True)
class TrimPlan:
    """What one look has found: bodies below `keep_from` may go. `why` names what decides, for a person."""

    first_seq: int
    keep_from: int
    why: str

    @property
    def messages(self) -> int:
        """How many bodies may go, as far as sequences tell."""
        return max(0, self.keep_from - self.first_seq)


def missing(readers: list[ConsumerInfo]) -> list[str]:
    """Durables of RAW that the workers need and that are not there."""
    found = {reader.name for reader in readers}
    return [source.durable for source in SOURCES.values() if source.stream == RAW and source.durable not in found]


def acknowledged(last_seq: int, readers: list[ConsumerInfo]) -> tuple[int, str]:
    """The lowest floor of all readers that acknowledge, and whose it is; other people's durables count as ours do."""
    floors = [(floor(last_seq, one), one.name) for one in readers if one.config.ack_policy != AckPolicy.NONE]
    for seq, name in floors:
        HELD_BY.labels(name).set(last_seq - seq)
    return min(floors, default=(0, "nobody"))


def under_pressure(state: StreamState, fraction: float, step: int) -> int:
    """How many bodies to remove because the stream is too full: about what is above `fraction`, at most `step`."""
    if fraction >= 1 or state.fill <= fraction or not state.messages:
        return 0
    above_bytes = state.size_bytes - fraction * state.max_bytes
    return min(step, int(above_bytes / (state.size_bytes / state.messages)) + 1)


class Janitor:
    """Looks and trims. Two of them do no harm: removing what lies below a sequence twice is removing it once."""

    def __init__(self, client: Client, settings: JanitorSettings) -> None:
        self._client = client
        self._js = client.jetstream(timeout=5)
        self._settings = settings

    async def tidy(self) -> int:
        """Trims in steps until nothing is left to trim; returns how many bodies went. Raises NatsError, Failed."""
        removed = 0
        while (plan := await self.plan()).messages:
            seq = min(plan.keep_from, plan.first_seq + self._settings.janitor_step_messages)
            await self._js.purge_stream(RAW, seq=seq)
            TRIMMED.labels(plan.why).inc(seq - plan.first_seq)
            removed += seq - plan.first_seq
            if plan.why == "pressure":
                log.warning("trimmed_before_horizon", bodies=seq - plan.first_seq, below_seq=seq, remedy=_MORE_ROOM)
        if removed:
            log.info("trimmed", bodies=removed)
        return removed

    async def plan(self) -> TrimPlan:
        """What may go now. Raises NatsError, and Failed when a reader that should be there is missing."""
        state = await stream_state(self._client, RAW)  # before the readers: what comes after it is not judged
        _tell_state(state)
        readers = await consumers_of(self._js, RAW)
        gone = missing(readers)
        MISSING.set(len(gone))
        if gone:
            raise Failed(
                f"expected durables {', '.join(gone)} on {RAW}, found none: nothing is trimmed, because nobody knows "
                "what they have worked on. Run `axonpush migrate`."
            )
        settled, _ = acknowledged(state.last_seq, readers)
        limit = await self._not_replayed(settled + 1)
        horizon = await self._horizon(state)
        if limit <= horizon:
            return TrimPlan(state.first_seq, limit, "acknowledged")
        early = under_pressure(state, self._settings.janitor_pressure, self._settings.janitor_step_messages)
        if early and state.first_seq + early > horizon:
            return TrimPlan(state.first_seq, min(limit, state.first_seq + early), "pressure")
        return TrimPlan(state.first_seq, horizon, "horizon")

    async def _horizon(self, state: StreamState) -> int:
        """The first body a replay may still want."""
        oldest = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=self._settings.replay_horizon_s)
        if state.first_at is None or state.first_at >= oldest:
            return state.first_seq
        return await first_seq_since(self._js, RAW, oldest)

    async def _not_replayed(self, limit: int) -> int:
        """`limit`, or the first body that a replay under way has still to read."""
        now = dt.datetime.now(dt.UTC)
        replays = await (await open_control(self._js)).replays()
        return min([limit, *(one.next_seq for one in replays if one.is_alive(now))])


def _tell_state(state: StreamState) -> None:
    RAW_FILL.set(state.fill)
    age_s = (dt.datetime.now(dt.UTC) - state.first_at).total_seconds() if state.first_at else 0.0
    RAW_OLDEST.set(max(0.0, age_s))


async def keep_tidy(client: Client, settings: JanitorSettings) -> None:
    """Tidies for ever; whatever goes wrong is said once, and tried again after the pause."""
    janitor, durables = Janitor(client, settings), Durables(client)
    told = ""
    while True:
        try:
            await durables.keep()
            await janitor.tidy()
            told = ""
        except (NatsError, OSError, TimeoutError, Failed) as error:
            text = str(error) or type(error).__name__
            if text != told:
                log.error("not_trimmed", error=text)
            told = text
        await asyncio.sleep(settings.janitor_interval_s)


async def run(settings: JanitorSettings | None = None) -> None:
    """The process: until SIGTERM or SIGINT, also while it still waits for the broker to appear."""
    settings = settings or JanitorSettings()
    configure_logging(settings)
    if settings.janitor_metrics_port:
        # It runs wherever the broker does, so it is also who says how the broker is.
        start_http_server(settings.janitor_metrics_port)
    working = asyncio.create_task(work(settings))
    on_stop(working.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await working


async def work(settings: JanitorSettings) -> None:
    """Connects, waiting for NATS as long as it takes, and keeps RAW tidy until cancelled."""
    import nats  # noqa: PLC0415 (0.2 s which only who talks to a broker should pay)

    async def quiet(_error: Exception) -> None:
        """Whatever it means for us is raised where we ask."""

    options = nats_options(settings, "janitor") | {"allow_reconnect": True}
    client = await nats.connect(settings.nats_servers(), error_cb=quiet, **options)
    log.info("janitor_started", nats=settings.nats_addresses(), horizon_s=settings.replay_horizon_s)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(keep_tidy(client, settings))
            tasks.create_task(keep_checking_storage(client, settings))
            if settings.janitor_metrics_port:
                tasks.create_task(keep_measuring(client, settings.janitor_interval_s))
    finally:
        await client.close()
