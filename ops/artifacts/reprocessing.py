"""Late uploads: events that came before their source maps are processed again, slowly, beside live traffic.

The console writes an entry into the bucket `control` for each upload. The janitor finds the events that lacked it and
publishes their bodies to REPLAY; workers make the same rows again, with readable stack traces. An interrupted job
continues where it stopped.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import structlog
from nats.js.errors import BucketNotFoundError, KeyNotFoundError, KeyWrongLastSequenceError, NoKeysError, NotFoundError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ops.cli.servers import open_clickhouse
from ops.replay import reprocess
from ops.replay.control import Control
from ops.runtime.stream_reader import StoredMessage
from schemas.subjects import CONTROL_BUCKET, RAW, REPROCESSING_PREFIX

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js import JetStreamContext
    from nats.js.kv import KeyValue

    from ops.runtime.settings import Settings

# Bodies that were on their way when the upload came are rows by then, and every worker knows the artifact.
SETTLE_S: Final = 10.0
# Bodies a second: a hundredth of what one core normalises.
DEFAULT_RATE: Final = 50.0
# Of one upload, the newest first.
MAX_EVENTS: Final = 200_000
LOOK_EVERY_S: Final = 0.5
# More live messages than this wait for workers: the job waits too.
MAX_LIVE_PENDING: Final = 1_000
# A finished job is shown for so long.
SHOWN_S: Final = 7 * 24 * 3600.0
# Longest search in ClickHouse; longer than the default replay horizon of 7 days. Bodies that RAW deleted are counted.
SEARCH_BACK_S: Final = 30 * 24 * 3600.0

WAITING, RUNNING, DONE = "waiting", "running", "done"

log = structlog.get_logger()

# `received_at` bounds the search to what can still be replayed. An event is searched by the debug ids of its files, and
# by its release if the artifact is of one; an OpenTelemetry error by its release, with or without the service's name
# (workers/symbolicate/otlp_symbolicator.py). `symbolicated` is `all` where nothing was missing.
_LACKING: Final = """
SELECT DISTINCT source_seq FROM event_rows FINAL
WHERE organisation = {organisation:String}
  AND (empty({channels:Array(UInt64)}) OR has({channels:Array(UInt64)}, channel_id))
  AND (item_type = 'event' AND event_type = 'agent.error'
       OR item_type IN ('otlp_span', 'otlp_log') AND group_hash != '')
  AND received_at >= {since:DateTime64(9, 'UTC')} AND received_at < {until:DateTime64(9, 'UTC')}
  AND attributes_string['symbolicated'] != 'all'
  AND (({release:String} != '' AND {release:String} IN (release, concat(service_name, '@', release)))
       OR hasAny(splitByChar(' ', attributes_string['debug_ids']),
                 (SELECT groupUniqArray(debug_id) FROM artifact_file_rows
                  WHERE organisation = {organisation:String} AND artifact = {artifact:String} AND debug_id != '')))
ORDER BY source_seq DESC LIMIT {limit:UInt32}"""


class ReprocessingEntry(BaseModel):
    """Progress of reprocessing the events that arrived before one upload. The console writes the first five fields.

    Aliases are the names in the stored JSON.
    """

    model_config = ConfigDict(populate_by_name=True)

    organisation: str
    artifact: str
    release: str = ""
    channel_ids: tuple[int, ...] = Field((), alias="projects")
    uploaded_at_ns: int
    state: str = WAITING
    found: int = 0
    published: int = 0
    # Bodies that RAW does not hold any more.
    bodies_deleted: int = Field(0, alias="gone")
    # Everything from this sequence on was published.
    reached_seq: int = 0
    generation: int = 0
    changed_at: dt.datetime = Field(default_factory=lambda: dt.datetime.now(dt.UTC))

    @property
    def uploaded_at(self) -> dt.datetime:
        """When the artifact was stored."""
        return dt.datetime.fromtimestamp(self.uploaded_at_ns / 1e9, dt.UTC)


class ReprocessingStore:
    """The entries in the bucket `control`. Methods raise NatsError."""

    def __init__(self, bucket: KeyValue) -> None:
        self._bucket = bucket

    async def all(self) -> dict[str, tuple[ReprocessingEntry, int]]:
        """Every entry with its revision, by key; the oldest upload first. What cannot be read is left out."""
        try:
            keys = [key for key in await self._bucket.keys() if key.startswith(REPROCESSING_PREFIX)]
        except NoKeysError:
            return {}
        entries = {}
        for key in keys:
            try:
                entry = await self._bucket.get(key)
                entries[key] = ReprocessingEntry.model_validate_json(entry.value or b""), entry.revision or 0
            except (KeyNotFoundError, ValidationError):
                continue
        return dict(sorted(entries.items(), key=lambda item: item[1][0].uploaded_at_ns))

    async def save(self, key: str, entry: ReprocessingEntry, revision: int) -> int:
        """Stores progress; returns the new revision, 0 if the artifact was uploaded again meanwhile."""
        entry = entry.model_copy(update={"changed_at": dt.datetime.now(dt.UTC)})
        try:
            return await self._bucket.update(key, entry.model_dump_json(by_alias=True).encode(), last=revision)
        except KeyWrongLastSequenceError:
            return 0

    async def forget(self, key: str) -> None:
        """Removes an entry."""
        await self._bucket.purge(key)


async def open_reprocessing(js: JetStreamContext) -> ReprocessingStore | None:
    """The store; None if `axonpush migrate` has not made its bucket. Raises NatsError."""
    try:
        return ReprocessingStore(await js.key_value(CONTROL_BUCKET))
    except BucketNotFoundError:
        return None


class ReprocessingJob:
    """Processes events again. `live_pending` says how many live messages wait for workers."""

    def __init__(
        self, js: JetStreamContext, control: Control, settings: Settings, live_pending: Callable[[], Awaitable[int]]
    ) -> None:
        self._js = js
        self._control = control
        self._settings = settings
        self._live_pending = live_pending
        self.rate = DEFAULT_RATE
        self.settle_s = SETTLE_S

    async def run(self, store: ReprocessingStore) -> int:
        """Reprocesses the events of every waiting upload; returns how many are finished.

        Raises NatsError, Failed, ClickHouseError.
        """
        finished, now = 0, dt.datetime.now(dt.UTC)
        for key, (entry, revision) in (await store.all()).items():
            if entry.state == DONE:
                if (now - entry.changed_at).total_seconds() > SHOWN_S:
                    await store.forget(key)
            elif (now - entry.uploaded_at).total_seconds() >= self.settle_s:
                finished += await self._process(store, key, entry, revision)
        return finished

    async def _process(self, store: ReprocessingStore, key: str, entry: ReprocessingEntry, revision: int) -> bool:
        """Whether the upload was finished; not if it was uploaded again meanwhile."""
        seqs = await asyncio.to_thread(self._lacking, entry)
        if entry.reached_seq:
            seqs = [seq for seq in seqs if seq < entry.reached_seq]
        generation = entry.generation or (await self._control.next_generation() if seqs else 0)
        total = entry.published + entry.bodies_deleted + len(seqs)
        entry = entry.model_copy(update={"state": RUNNING, "found": total, "generation": generation})
        saved_s = 0.0
        for seq in seqs:
            await self._wait_for_turn()
            name = "published" if await self._publish(seq, generation) else "bodies_deleted"
            entry = entry.model_copy(update={name: getattr(entry, name) + 1, "reached_seq": seq})
            if time.monotonic() - saved_s > 1:
                saved_s, revision = time.monotonic(), await store.save(key, entry, revision)
                if not revision:
                    return False
        done = entry.model_copy(update={"state": DONE})
        log.info("reprocessing_done", artifact=entry.artifact, found=entry.found, bodies_deleted=entry.bodies_deleted)
        return bool(await store.save(key, done, revision))

    async def _publish(self, seq: int, generation: int) -> bool:
        """Publishes one body to REPLAY again; whether RAW still has it."""
        try:
            message = await self._js.get_msg(RAW, seq)
        except NotFoundError:
            return False
        stored = StoredMessage(
            seq, message.subject or "", dict(message.headers or {}), message.data or b"", len(message.data or b""), 0
        )
        return await reprocess.publish(self._js, reprocess.reprocessed(stored, generation, types=("event",)))

    async def _wait_for_turn(self) -> None:
        await asyncio.sleep(1 / self.rate if self.rate else 0)
        while await self._live_pending() > MAX_LIVE_PENDING:  # noqa: ASYNC110 (the broker has to be asked)
            await asyncio.sleep(LOOK_EVERY_S)

    def _lacking(self, entry: ReprocessingEntry) -> list[int]:
        """Sequences of the bodies of events that lacked the artifact, the newest first. Raises ClickHouseError."""
        until = entry.uploaded_at + dt.timedelta(seconds=self.settle_s)
        since = entry.uploaded_at - dt.timedelta(seconds=SEARCH_BACK_S)
        client = open_clickhouse(self._settings)
        try:
            client.database = self._settings.clickhouse_database
            result = client.query(
                _LACKING,
                parameters={
                    "organisation": entry.organisation,
                    "artifact": entry.artifact,
                    "release": entry.release,
                    "channels": list(entry.channel_ids),
                    "since": f"{since:%Y-%m-%d %H:%M:%S.%f}",
                    "until": f"{until:%Y-%m-%d %H:%M:%S.%f}",
                    "limit": MAX_EVENTS,
                },
            )
            return [int(row[0]) for row in result.result_rows]
        finally:
            client.close()


async def unfinished(client: Client) -> list[ReprocessingEntry]:
    """Uploads whose events are still to be processed again, the oldest first. Raises NatsError."""
    store = await open_reprocessing(client.jetstream(timeout=5))
    return [entry for entry, _ in (await store.all()).values() if entry.state != DONE] if store else []
