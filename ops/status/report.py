"""`axonpush status`: progress of workers, streams, servers, quotas, refusals, and the reconciliation. Changes nothing.

Every part has a time limit and runs beside the others, so that a server that hangs hides nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import time
from collections.abc import Awaitable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from ops.artifacts.reprocessing import unfinished
from ops.cli.servers import open_clickhouse, open_nats
from ops.cli.unreachable import HANGS, RUNS
from ops.janitor.broker_limits import BrokerLimits, broker_limits, limits_of_up
from ops.janitor.storage import StorageRefusal, missing, refusals, servers_without_jetstream
from ops.provisioning.cluster_changes import report
from ops.provisioning.system.system_id import mismatch
from ops.registry.table_channels import channel_numbers
from ops.runtime.stream_state import StreamState, first_seq_since, stream_state, unacknowledged_since
from ops.status import servers
from ops.status.alerts_process import alerts_process
from ops.status.findings import Status, StreamStatus, WorkerStatus
from ops.status.janitor_process import janitor_state
from ops.status.local_up import LocalUp, up_of
from ops.status.parts import Parts, in_thread
from ops.status.quotas import QuotaListener
from ops.status.reconciliation import (
    Reconciliation,
    Waiting,
    channel_counts,
    counted_since,
    read_totals,
    reconcile,
    unexplained_before,
)
from ops.status.servers import (
    ClickHouseState,
)
from schemas.subjects import ALL_SOURCES, DEAD, ITEMS, RAW, REFUSED, REPLAY, SOURCES, Source

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js.api import ConsumerInfo

    from ops.runtime.settings import Settings

STREAMS: Final = (RAW, ITEMS, DEAD, REFUSED, REPLAY)
# Time between the two samples that rates are computed from; receivers answer within it.
SAMPLE_S: Final = 1.0
DEFAULT_LIMIT_S: Final = 8.0
# A request to the broker; what has no leader does not answer at all.
API_TIMEOUT_S: Final = 3.0
GOODBYE_S: Final = 1.0
# A message's rows and its row in the ledger are in separate inserts; a slow one takes some seconds.
SETTLED_S: Final = 15.0
WRONG_SYSTEM: Final = "broker and tables belong to two systems"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sample:
    """Numbers of the broker at one moment, by durable and by stream; what did not answer is not in it."""

    at_s: float
    consumers: dict[str, ConsumerInfo | None]
    streams: dict[str, StreamState]


class Observer:
    """Looks at everything once, within `limit_s`."""

    def __init__(self, settings: Settings, data_dir: Path, limit_s: float = DEFAULT_LIMIT_S) -> None:
        self._settings = settings
        self._data_dir = data_dir
        self._limit_s = limit_s
        self._quotas: QuotaListener | None = None

    async def status(self) -> Status:
        """Everything that can be known within the limit. Never raises because a server is away."""
        parts = Parts(self._limit_s)
        status = Status(unknown=parts.unknown, local_disks=servers.local_disks(self._data_dir), up=self._up())
        closing = AsyncExitStack()
        try:
            clickhouse = asyncio.create_task(
                parts.get("ClickHouse", in_thread(servers.clickhouse_state, self._settings, parts.left_s))
            )
            refused = parts.get("refusals", in_thread(servers.refusals, self._settings, parts.left_s))
            addressed = parts.get("brokers", servers.brokers(self._settings))
            broker = self._broker(parts, status, clickhouse, closing)
            limits = parts.get("limits of brokers", broker_limits(self._settings))
            status.clickhouse, rates, brokers, own, _ = await asyncio.gather(
                clickhouse, refused, addressed, limits, broker
            )
            status.broker_limits = own or self._limits_of_up(status)
            status.refusals, status.refused_senders = rates or ([], [])
            await self._look_up_owners(parts, status)
            self._compare_systems(status)
            status.brokers = [*(brokers or []), *status.brokers]
            if status.up:  # it is said once, as a problem
                cut = {part: text.partition(RUNS)[0].partition(HANGS)[0] for part, text in status.unknown.items()}
                status.unknown.update(cut)
        finally:
            with contextlib.suppress(TimeoutError):  # a broker that hangs does not hear a goodbye
                async with asyncio.timeout(GOODBYE_S):
                    await closing.aclose()
        return status

    async def _look_up_owners(self, parts: Parts, status: Status) -> None:
        """Quotas that refused somebody, as they are now."""
        names = [sender.owner_name for sender in status.refused_senders if sender.owner_name]
        if self._quotas and names and "NATS" not in parts.unknown:
            owners = await parts.get("owners of quotas", self._quotas.owners(names)) or {}
            status.refused_senders = [
                replace(sender, owner=owners.get(sender.owner_name)) for sender in status.refused_senders
            ]

    def _compare_systems(self, status: Status) -> None:
        """Numbers of two systems say nothing together, so there is no reconciliation then."""
        state = status.desired.state if status.desired else None
        if state is None or status.clickhouse is None or not status.clickhouse.knows_system:
            return
        settings = self._settings
        status.wrong_system = mismatch(state, status.clickhouse.system_id, settings, status.clickhouse.ids)
        if status.wrong_system:
            status.reconciliation = None
            status.unknown["reconciliation"] = WRONG_SYSTEM

    def _limits_of_up(self, status: Status) -> list[BrokerLimits]:
        use = status.jetstream
        own = limits_of_up(self._data_dir, use.storage_bytes, use.memory_bytes) if status.up and use else None
        return [own] if own else []

    def _up(self) -> LocalUp | None:
        """The `up` of this folder, if the broker that is asked is its own."""
        up = up_of(self._data_dir, "nats_url", self._settings.nats_url)
        own = up_of(self._data_dir, "clickhouse_url", self._settings.clickhouse_url)
        return up and replace(up, has_clickhouse=own is not None)

    async def _broker(
        self, parts: Parts, status: Status, clickhouse: asyncio.Task[ClickHouseState | None], closing: AsyncExitStack
    ) -> None:
        """All that is read over a connection to the broker."""
        client = await parts.get("NATS", closing.enter_async_context(open_nats(self._settings, "status")))
        if client is None:
            parts.unknown |= dict.fromkeys(("streams", "workers", "receivers", "reconciliation"), "needs NATS")
            return
        quotas = self._quotas = QuotaListener(client)
        await parts.get("quotas", quotas.open())
        storage, absent, peers, use, desired, _ = await asyncio.gather(
            parts.get("storage", self._storage(client)),
            parts.get("list of streams", missing(client)),
            parts.get("replicas of RAW", servers.replicas(client)),
            parts.get("JetStream", servers.jetstream_use(client)),
            parts.get("desired state", report(client, self._settings, with_tables=False)),
            self._sampled(parts, status, client, quotas, clickhouse),
        )
        status.registry_channels = await parts.get("channels", channel_numbers(client))
        status.janitor = await parts.get("janitor", janitor_state(client))
        status.alerts = await parts.get("alerts", alerts_process(client))
        status.reprocessing = await parts.get("late uploads", unfinished(client)) or []
        status.storage, status.missing_streams = storage or [], absent or []
        status.brokers, status.jetstream, status.desired = peers or [], use, desired

    async def _sampled(
        self,
        parts: Parts,
        status: Status,
        client: Client,
        quotas: QuotaListener,
        clickhouse: asyncio.Task[ClickHouseState | None],
    ) -> None:
        """What needs samples: streams, workers, quotas, receivers and the reconciliation."""
        await parts.get("quotas", quotas.ask())
        before = await self._sample(parts, client)
        await asyncio.sleep(SAMPLE_S)
        now = await self._sample(parts, client)
        over_s = now.at_s - before.at_s
        status.streams = [
            _stream(before.streams[name], now.streams[name], over_s)
            for name in STREAMS
            if name in now.streams and name in before.streams
        ]
        js = client.jetstream(timeout=API_TIMEOUT_S)
        workers, uses, status.reconciliation = await asyncio.gather(
            parts.get("workers", asyncio.gather(*(_worker(js, source, before, now) for source in ALL_SOURCES))),
            parts.get("quotas", quotas.uses()),
            self._reconciliation(parts, client, now, clickhouse),
        )
        status.workers, status.quotas = list(workers or []), uses or []
        status.refused_workers = sorted(quotas.refused_workers.values(), key=lambda worker: worker.process)
        status.receivers = sorted(quotas.receivers.values(), key=lambda receiver: receiver.address)

    async def _sample(self, parts: Parts, client: Client) -> Sample:
        """Samples every stream and durable; what does not answer is named and left out."""
        js = client.jetstream(timeout=API_TIMEOUT_S)
        asked = [self._state(parts, client, name) for name in STREAMS]
        states, infos = await asyncio.gather(
            asyncio.gather(*asked),
            asyncio.gather(*(_answered(_info(js, source)) for source in ALL_SOURCES)),
        )
        consumers = {
            source.worker: info for source, (info, is_known) in zip(ALL_SOURCES, infos, strict=True) if is_known
        }
        return Sample(time.monotonic(), consumers, {state.name: state for state in states if state})

    async def _state(self, parts: Parts, client: Client, name: str) -> StreamState | None:
        try:
            return await parts.get(f"stream {name}", stream_state(client, name, by_subject=name in {RAW, ITEMS}))
        except NotFoundError:
            return None  # `missing_streams` names it

    async def _storage(self, client: Client) -> list[StorageRefusal]:
        refusing, streams = await asyncio.gather(
            servers_without_jetstream(self._settings.nats_servers()), refusals(client)
        )
        return [*refusing, *streams]

    async def _reconciliation(
        self, parts: Parts, client: Client, now: Sample, clickhouse: asyncio.Task[ClickHouseState | None]
    ) -> Reconciliation | None:
        if RAW not in now.streams or ITEMS not in now.streams:
            parts.unknown["reconciliation"] = "needs the streams RAW and ITEMS"
            return None
        state = await clickhouse
        if state is None:
            parts.unknown["reconciliation"] = "needs ClickHouse"
            return None
        ttl_days = state.ttl_days or self._settings.clickhouse_ttl_days
        first_held = await parts.get("reconciliation", held_since(client, now.streams[RAW], counted_since(ttl_days)))
        if first_held is None:
            return None
        again = await parts.get("reconciliation", first_after(client, now.streams[RAW], state.made_again))
        numbers = in_thread(self._reconcile, now, ttl_days, first_held, again, parts)
        reconciliation = await parts.get("reconciliation", numbers)
        if reconciliation is None:
            return None
        after = await parts.get("reconciliation", stream_state(client, RAW))
        return replace(
            reconciliation, is_idle=after is not None and is_idle(now.streams, after, reconciliation.total.queued)
        )

    def _reconcile(
        self, now: Sample, ttl_days: int, first_held: int, again: int | None, parts: Parts
    ) -> Reconciliation:
        raw, items = now.streams[RAW], now.streams[ITEMS]
        infos = [now.consumers.get(name) for name, source in SOURCES.items() if source.stream == RAW]
        queued = sum((info.num_pending or 0) + (info.num_ack_pending or 0) for info in infos if info)
        client = open_clickhouse(self._settings, parts.left_s)
        try:
            client.database = self._settings.clickhouse_database
            # The last fifth of the time is for the answer of the last query.
            totals = read_totals(
                client, raw.first_seq, ttl_days, parts.end_s - self._limit_s / 5, first_held=first_held
            )
            before = unexplained_before(client, totals.begin, again) if again and again > totals.begin else None
        finally:
            client.close()
        return replace(reconcile(raw, Waiting(queued, channel_counts(items)), totals), lost_before=before)


async def held_since(client: Client, raw: StreamState, since: dt.datetime | None) -> int:
    """The sequence of the oldest body in RAW that came since then. Raises NatsError."""
    if since is None or raw.first_at is None or raw.first_at >= since:
        return raw.first_seq
    return await first_seq_since(client.jetstream(timeout=API_TIMEOUT_S), RAW, since)


async def first_after(client: Client, raw: StreamState, made_again: Mapping[str, dt.datetime]) -> int | None:
    """The sequence of the first body that came after the newest of these times; None if RAW has only such, or there is
    no such time. Raises NatsError.
    """
    newest = max(made_again.values(), default=None)
    if newest is None or raw.first_at is None or raw.first_at >= newest:
        return None
    return await first_seq_since(client.jetstream(timeout=API_TIMEOUT_S), RAW, newest)


def is_idle(streams: Mapping[str, StreamState], raw_after: StreamState, queued: int) -> bool:
    """Whether nothing was under way while the numbers were read, so that a difference is none of time."""
    raw, replay = streams[RAW], streams.get(REPLAY)
    if queued or raw_after.last_seq != raw.last_seq or (replay and replay.messages):
        return False
    age_s = _age_s(raw.last_at)
    return age_s is None or age_s > SETTLED_S


async def _info(js: Any, source: Source) -> ConsumerInfo | None:
    try:
        info: ConsumerInfo = await js.consumer_info(source.stream, source.durable)
    except NotFoundError:
        return None
    return info


async def _answered(work: Awaitable[T]) -> tuple[T | None, bool]:
    """(what it gives, whether there was an answer)."""
    try:
        return await work, True
    except (TimeoutError, NatsError):
        return None, False


async def _worker(js: Any, source: Source, before: Sample, now: Sample) -> WorkerStatus:
    if source.worker not in now.consumers:
        return WorkerStatus(source.worker, unknown=True)
    info, earlier = now.consumers[source.worker], before.consumers.get(source.worker)
    if info is None:
        return WorkerStatus(source.worker, missing=True)
    oldest, _ = await _answered(unacknowledged_since(js, source, info))
    return WorkerStatus(
        source.worker,
        pending=info.num_pending or 0,
        in_flight=info.num_ack_pending or 0,
        redelivered=info.num_redelivered or 0,
        rate=_per_second(_settled(info) - _settled(earlier), now.at_s - before.at_s) if earlier else 0.0,
        oldest_s=_age_s(oldest),
        listeners=listeners(earlier, info),
        acknowledged_s=_age_s(info.ack_floor.last_active if info.ack_floor else None),
    )


def listeners(*looks: ConsumerInfo | None) -> int:
    """The most requests for messages that were open at any look: between two requests of a busy worker none is."""
    return max((look.num_waiting or 0 for look in looks if look), default=0)


def _settled(info: ConsumerInfo | None) -> int:
    """Finished deliveries: the ack floor in the consumer's own numbering."""
    return info.ack_floor.consumer_seq if info and info.ack_floor else 0


def _per_second(number: int, over_s: float) -> float:
    return round(number / over_s, 1) if over_s > 0 else 0.0


def _stream(before: StreamState, now: StreamState, over_s: float) -> StreamStatus:
    return StreamStatus(
        now.name,
        now.messages,
        now.size_bytes,
        now.max_bytes,
        round(now.fill, 4),
        _per_second(now.last_seq - before.last_seq, over_s),
        _age_s(now.first_at),
        _age_s(now.last_at) if now.messages else None,
    )


def _age_s(time_: dt.datetime | None) -> float | None:
    return None if time_ is None else round(max(0.0, (dt.datetime.now(dt.UTC) - time_).total_seconds()), 1)
