"""`axonpush status`: progress of workers, streams, quotas, and the reconciliation. Changes nothing."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from clickhouse_connect.driver.exceptions import Error as ClickHouseError
from nats.js.errors import NotFoundError

from ops.cli.servers import open_clickhouse
from ops.janitor.storage import StorageRefusal, missing, refusals, servers_without_jetstream
from ops.local.disk_watch import MIN_FREE_BYTES
from ops.provisioning.streams import MIB
from ops.runtime.failures import Failed
from ops.runtime.stream_state import StreamState, stream_state, unacknowledged_since
from ops.status.quotas import QuotaListener, QuotaUse
from ops.status.reconciliation import Reconciliation, Waiting, channel_counts, read_totals, reconcile
from schemas.subjects import ALL_SOURCES, DEAD, ITEMS, RAW, REFUSED, REPLAY, SOURCES, Source

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js.api import ConsumerInfo

    from ops.runtime.settings import Settings

STREAMS: Final = (RAW, ITEMS, DEAD, REFUSED, REPLAY)
# Time between the two samples that rates are computed from.
SAMPLE_S: Final = 1.0
SHORT_DISKS: Final = "SELECT name, free_space FROM system.disks WHERE free_space < {room:UInt64}"


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One durable. `oldest_s` is the age of the oldest unacknowledged message, None if there is none.

    `rate` is acknowledged messages per second. `missing`: the broker does not have the durable.
    """

    worker: str
    pending: int = 0
    in_flight: int = 0
    redelivered: int = 0
    rate: float = 0.0
    oldest_s: float | None = None
    listeners: int = 0
    missing: bool = False


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """One stream. `rate` is stored messages per second; `oldest_s` is the age of the first message."""

    stream: str
    messages: int
    size_bytes: int
    max_bytes: int
    fill: float
    rate: float
    oldest_s: float | None


@dataclass(frozen=True, slots=True)
class Status:
    """Everything at one moment. `reconciliation` is None if ClickHouse did not answer; `trouble` says why.

    `quotas` are those in use, highest share first.
    """

    workers: list[WorkerStatus]
    streams: list[StreamStatus]
    reconciliation: Reconciliation | None
    quotas: list[QuotaUse] = field(default_factory=list)
    trouble: str = ""
    storage: list[StorageRefusal] = field(default_factory=list)
    short_disks: dict[str, int] = field(default_factory=dict)
    missing_streams: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """What an operator must look at; shown first."""
        missing = [worker.worker for worker in self.workers if worker.missing]
        texts = [f"{refusal}. What to do: {refusal.remedy}" for refusal in self.storage]
        texts += [
            f"ClickHouse's disk {name} has {free // MIB} MiB free: make room. Rows wait in the broker and are inserted "
            "by themselves then"
            for name, free in self.short_disks.items()
        ]
        texts += [f"stream {name} is missing: run `axonpush migrate`" for name in self.missing_streams]
        if missing:
            texts.append(
                f"durables are missing, so these workers get no messages: {', '.join(missing)}. The janitor makes them "
                "again within seconds; where none runs, run `axonpush migrate`"
            )
        return texts

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        totals = self.reconciliation
        return {
            "workers": [asdict(one) for one in self.workers],
            "streams": [asdict(one) for one in self.streams],
            "reconciliation": totals
            and {"total": totals.total.as_json(), "channels": [one.as_json() for one in totals.channels]},
            "quotas": [one.as_json() for one in self.quotas],
            "trouble": self.trouble,
            "storage": [asdict(one) for one in self.storage],
            "problems": self.problems,
        }


@dataclass(frozen=True, slots=True)
class Sample:
    """Numbers of the broker at one moment, by durable and by stream."""

    at_s: float
    consumers: dict[str, ConsumerInfo | None]
    streams: dict[str, StreamState]


class Observer:
    """Takes samples, and makes a Status of two samples."""

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client = client
        self._js = client.jetstream(timeout=10)
        self._settings = settings
        self._quotas = QuotaListener(client)

    async def open(self) -> None:
        """Starts to listen to quota reports."""
        await self._quotas.open()

    async def sample(self) -> Sample:
        """Samples every stream and durable. Raises Failed when there are no streams, NatsError."""
        await self._quotas.ask()
        try:
            states = [await stream_state(self._client, name, by_subject=name in {RAW, ITEMS}) for name in STREAMS]
        except NotFoundError as error:
            raise Failed(
                f"expected streams {', '.join(STREAMS)}, found some missing: run `axonpush migrate`"
            ) from error
        infos = await asyncio.gather(*(self._info(source) for source in ALL_SOURCES))
        info_by_worker = {source.worker: info for source, info in zip(ALL_SOURCES, infos, strict=True)}
        return Sample(time.monotonic(), info_by_worker, {state.name: state for state in states})

    async def status(self, before: Sample, now: Sample) -> Status:
        """Computes rates from both samples, everything else from `now`."""
        workers = [await self._worker(source, before, now) for source in ALL_SOURCES]
        streams = [_stream(before.streams[name], now.streams[name], now.at_s - before.at_s) for name in STREAMS]
        try:
            totals, trouble = await asyncio.to_thread(self._reconcile, now), ""
        except (ClickHouseError, Failed) as error:
            totals, trouble = None, f"the reconciliation cannot be read: {error}"
        short_disks = await asyncio.to_thread(self._short_disks)
        quotas, storage = await self._quotas.uses(), await self._storage()
        missing_streams = await missing(self._client)
        return Status(workers, streams, totals, quotas, trouble, storage, short_disks, missing_streams)

    def _short_disks(self) -> dict[str, int]:
        """ClickHouse's disks without enough space, by name; empty if ClickHouse refuses or does not answer."""
        try:
            client = open_clickhouse(self._settings)
        except Failed:
            return {}
        try:
            disks = client.query(SHORT_DISKS, parameters={"room": MIN_FREE_BYTES}).result_rows
        except ClickHouseError:
            return {}
        finally:
            client.close()
        return {str(name): int(free) for name, free in disks}

    async def _storage(self) -> list[StorageRefusal]:
        servers, streams = await asyncio.gather(
            servers_without_jetstream(self._settings.nats_servers()), refusals(self._client)
        )
        return [*servers, *streams]

    async def _info(self, source: Source) -> ConsumerInfo | None:
        try:
            info: ConsumerInfo = await self._js.consumer_info(source.stream, source.durable)
        except NotFoundError:
            return None
        return info

    async def _worker(self, source: Source, before: Sample, now: Sample) -> WorkerStatus:
        info, earlier = now.consumers[source.worker], before.consumers[source.worker]
        if info is None:
            return WorkerStatus(source.worker, missing=True)
        return WorkerStatus(
            source.worker,
            pending=info.num_pending or 0,
            in_flight=info.num_ack_pending or 0,
            redelivered=info.num_redelivered or 0,
            rate=_per_second(_settled(info) - _settled(earlier), now.at_s - before.at_s),
            oldest_s=_age_s(await unacknowledged_since(self._js, source, info)),
            listeners=info.num_waiting or 0,
        )

    def _since(self) -> dt.datetime | None:
        """Where rows expire, leaves out the last day before expiry: some rows of a body may be gone already."""
        days = self._settings.clickhouse_ttl_days
        return dt.datetime.now(dt.UTC) - dt.timedelta(days=days - min(1, days / 2)) if days else None

    def _reconcile(self, now: Sample) -> Reconciliation:
        raw, items = now.streams[RAW], now.streams[ITEMS]
        infos = [now.consumers[name] for name, source in SOURCES.items() if source.stream == RAW]
        queued = sum((info.num_pending or 0) + (info.num_ack_pending or 0) for info in infos if info)
        client = open_clickhouse(self._settings)
        try:
            client.database = self._settings.clickhouse_database
            totals = read_totals(client, raw.first_seq, self._since())
        finally:
            client.close()
        return reconcile(raw, Waiting(queued, channel_counts(items)), totals)


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
    )


def _age_s(time_: dt.datetime | None) -> float | None:
    return None if time_ is None else round(max(0.0, (dt.datetime.now(dt.UTC) - time_).total_seconds()), 1)
