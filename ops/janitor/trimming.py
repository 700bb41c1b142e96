"""`axonpush janitor`: deletes processed bodies from RAW. Nothing else deletes them, and none before all workers are
done.

It also recreates deleted durables, and reports when the broker cannot store. A body may be deleted once every consumer
of RAW has acknowledged it and it is older than the replay horizon. When the stream is nearly full, acknowledged bodies
are deleted earlier: their rows are stored, and a full stream refuses new data.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy
from prometheus_client import Counter, Gauge
from pydantic import Field

from ops.artifacts.housekeeping import keep_artifacts
from ops.janitor.broker_metrics import keep_measuring
from ops.janitor.issue_counts import keep_days_counted
from ops.janitor.presence import answer_presence
from ops.janitor.same_tables import worked_on
from ops.janitor.storage_metrics import keep_checking_storage
from ops.provisioning.desired_state import FIELDS, JANITOR_FIELDS, Asked, open_state, stored_state
from ops.provisioning.durables import Durables
from ops.replay.control import open_control
from ops.runtime.ack_floor import acknowledged_up_to
from ops.runtime.failures import Failed, broker_failure
from ops.runtime.logs import configure_logging
from ops.runtime.nats_options import nats_options
from ops.runtime.process.nats_errors import NatsErrorLog
from ops.runtime.process.signals import stop_event
from ops.runtime.process.start_errors import serve_metrics
from ops.runtime.settings import Settings
from ops.runtime.stream_state import StreamState, consumers_of, first_seq_since, stream_state
from ops.runtime.tasks import end, run_together
from schemas.subjects import RAW, SOURCES

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js.api import ConsumerInfo

log = structlog.get_logger()

_MORE_ROOM: Final = "`axonpush cluster set --raw-max-bytes SIZE` raises the limit; or lower --replay-horizon there"

TRIMMED: Final = Counter("axonpush_janitor_trimmed", "raw bodies removed, by reason", ["why"])
HELD_BY: Final = Gauge("axonpush_janitor_behind", "bodies that a consumer has not acknowledged", ["reader"])
MISSING: Final = Gauge("axonpush_janitor_missing_durables", "missing durables; while there are any, nothing is trimmed")
RAW_FILL: Final = Gauge("axonpush_janitor_raw_fill", "used fraction of RAW's size limit")
RAW_OLDEST: Final = Gauge(
    "axonpush_janitor_raw_oldest_seconds", "age of the oldest body: how far back a replay can start"
)


class JanitorSettings(Settings):
    """Settings of the janitor."""

    # Stored in the desired state by the first janitor that runs.
    replay_horizon_s: float = Field(
        604_800,
        ge=0,
        description="raw bodies of a new system are kept this long for replays; later "
        "`axonpush cluster set --replay-horizon`",
    )
    janitor_interval_s: float = Field(10, gt=0, description="pause between two checks of RAW")
    # Keeping processed bodies is worth less than accepting live data. 1 keeps the horizon whatever happens.
    janitor_pressure: float = Field(
        0.9,
        gt=0,
        le=1,
        description="above this fill of RAW, processed requests of a new system are deleted early; 1 = never; later "
        "`axonpush cluster set --janitor-pressure`",
    )
    # A purge locks the stream. Small steps delay publishers by milliseconds only.
    janitor_step_messages: int = Field(10_000, ge=1, description="raw bodies removed in one step")
    janitor_metrics_port: int = Field(0, ge=0, le=65535, description="port of /metrics; 0 = off")
    # Off: a console that is taken over can neither make keys nor drop dead letters; people use the commands.
    janitor_console_requests: bool = Field(
        True, description="retry and drop dead letters, make and revoke keys, create channels for people on the page"
    )


@dataclass(frozen=True, slots=True)
class TrimPlan:
    """Result of one check: bodies below `keep_from` may be deleted. `why` names the reason for that limit."""

    first_seq: int
    keep_from: int
    why: str

    @property
    def messages(self) -> int:
        """How many bodies may be deleted, judged by sequences."""
        return max(0, self.keep_from - self.first_seq)


def missing(readers: list[ConsumerInfo]) -> list[str]:
    """Durables of RAW that workers need and that do not exist."""
    present = {reader.name for reader in readers}
    return [source.durable for source in SOURCES.values() if source.stream == RAW and source.durable not in present]


def acknowledged(last_seq: int, consumers: list[ConsumerInfo]) -> tuple[int, str]:
    """The lowest ack floor of all consumers that acknowledge, and its consumer's name. Foreign consumers count too."""
    floors = [
        (acknowledged_up_to(last_seq, consumer), consumer.name)
        for consumer in consumers
        if consumer.config.ack_policy != AckPolicy.NONE
    ]
    for seq, name in floors:
        HELD_BY.labels(name).set(last_seq - seq)
    return min(floors, default=(0, "nobody"))


def under_pressure(state: StreamState, fraction: float, step: int) -> int:
    """How many bodies to delete because the stream is too full: about the part above `fraction`, at most `step`."""
    if fraction >= 1 or state.fill <= fraction or not state.messages:
        return 0
    above_bytes = state.size_bytes - fraction * state.max_bytes
    return min(step, int(above_bytes / (state.size_bytes / state.messages)) + 1)


class Janitor:
    """Plans and trims. Two janitors do no harm: purging up to the same sequence twice is the same as once.

    Horizon and pressure are those of the desired state; of the settings where it has none. `horizon_s` is for once.
    """

    def __init__(self, client: Client, settings: JanitorSettings, horizon_s: float | None = None) -> None:
        self._client = client
        self._js = client.jetstream(timeout=5)
        self._settings = settings
        self._horizon_s = horizon_s
        self._told: list[str] = []

    async def keep_settings(self) -> None:
        """Stores this janitor's horizon and pressure if nobody has decided about them. Raises NatsError, Failed."""
        store = await open_state(self._js)
        state = await store.read() if store else None
        if store is None or state is None:
            return
        undecided = {name: getattr(self._settings, name) for name in JANITOR_FIELDS if getattr(state, name) is None}
        if undecided:
            await store.change(undecided)
            log.info("settings_kept", **undecided)

    async def _limits(self) -> tuple[float, float]:
        """Horizon in seconds, and pressure. A variable that disagrees is reported, once."""
        state = await stored_state(self._js)
        values = {name: getattr(self._settings, name) for name in JANITOR_FIELDS}
        if state is not None:
            given = {name: FIELDS[name].variable for name in JANITOR_FIELDS if name in self._settings.model_fields_set}
            disagreements = Asked(values, given).disagreements(state)
            for text in disagreements if disagreements != self._told else ():
                log.warning("setting_not_applied", what=text)
            self._told = disagreements
            values |= {name: kept for name in JANITOR_FIELDS if (kept := getattr(state, name)) is not None}
        horizon_s = values["replay_horizon_s"] if self._horizon_s is None else self._horizon_s
        return horizon_s, values["janitor_pressure"]

    async def tidy(self) -> int:
        """Trims in steps until nothing is left; returns the number of deleted bodies. Raises NatsError, Failed."""
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
        """What may be deleted now. Raises NatsError, and Failed when a needed durable is missing."""
        state = await stream_state(self._client, RAW)  # before the consumers: later messages are not considered
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
        horizon_s, pressure = await self._limits()
        horizon = await self._horizon(state, horizon_s)
        if limit <= horizon:
            return TrimPlan(state.first_seq, limit, "acknowledged")
        early = under_pressure(state, pressure, self._settings.janitor_step_messages)
        if early and state.first_seq + early > horizon:
            return TrimPlan(state.first_seq, min(limit, state.first_seq + early), "pressure")
        return TrimPlan(state.first_seq, horizon, "horizon")

    async def _horizon(self, state: StreamState, horizon_s: float) -> int:
        """The first body that a replay may still need."""
        oldest = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=horizon_s)
        if state.first_at is None or state.first_at >= oldest:
            return state.first_seq
        return await first_seq_since(self._js, RAW, oldest)

    async def _not_replayed(self, limit: int) -> int:
        """`limit`, or the first body that a running replay still has to read."""
        now = dt.datetime.now(dt.UTC)
        replays = await (await open_control(self._js)).replays()
        return min([limit, *(replay.next_seq for replay in replays if replay.is_alive(now))])


def _tell_state(state: StreamState) -> None:
    RAW_FILL.set(state.fill)
    age_s = (dt.datetime.now(dt.UTC) - state.first_at).total_seconds() if state.first_at else 0.0
    RAW_OLDEST.set(max(0.0, age_s))


async def keep_trimming(client: Client, settings: JanitorSettings) -> None:
    """Trims for ever; each failure is logged once and tried again after the pause."""
    janitor, durables = Janitor(client, settings), Durables(client)
    last_error, last_text, is_compared = "", "", False
    while True:
        try:
            await durables.keep()
            if not is_compared:
                text, is_compared = await worked_on(client, settings)
                if text != last_text:
                    log.info("janitor_works_on", what=text)
                last_text = text
            await janitor.keep_settings()
            await janitor.tidy()
            last_error = ""
        except (NatsError, OSError, TimeoutError, Failed) as error:
            text = broker_failure(error)
            if text != last_error:
                log.error("not_trimmed", error=text)
            last_error = text
        await asyncio.sleep(settings.janitor_interval_s)


async def run(settings: JanitorSettings | None = None) -> None:
    """Runs until SIGTERM or SIGINT, also while it still waits for the broker."""
    settings = settings or JanitorSettings()
    configure_logging(settings)
    if settings.janitor_metrics_port:
        # The janitor runs wherever the broker does, so it exports the broker's metrics.
        serve_metrics(settings.janitor_metrics_port, "AXONPUSH_JANITOR_METRICS_PORT")
    working = asyncio.create_task(work(settings))
    stopping = asyncio.create_task(stop_event().wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        await end(working, stopping)


async def work(settings: JanitorSettings) -> None:
    """Connects, waiting for NATS as long as needed, and trims RAW until cancelled."""
    import nats  # noqa: PLC0415 (0.2 s which only who talks to a broker should pay)

    options = nats_options(settings, "janitor") | {"allow_reconnect": True}
    client = await nats.connect(settings.nats_servers(), error_cb=NatsErrorLog(settings).report, **options)
    log.info("janitor_started", nats=settings.nats_addresses(), horizon_s=settings.replay_horizon_s)
    js = client.jetstream(timeout=10)
    from ops.delivery_report.write_report import write_delivery_reports  # noqa: PLC0415 (status imports this package)
    from ops.operator_requests.serve import answer_operator_requests  # noqa: PLC0415 (the same)

    works = [
        keep_trimming(client, settings),
        keep_checking_storage(client, settings),
        keep_artifacts(client, js, settings, settings.janitor_interval_s),
        write_delivery_reports(client, js, settings),
        answer_presence(client),
        keep_days_counted(settings),
    ]
    if settings.janitor_console_requests:
        works.append(answer_operator_requests(client, settings))
    if settings.janitor_metrics_port:
        works.append(keep_measuring(client, settings.janitor_interval_s))
    try:
        await run_together(*works)
    finally:
        await client.close()
