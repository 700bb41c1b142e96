"""Removes artifacts that are too old, chunks that no artifact uses, and what half uploads left behind."""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from ops.artifacts.rows import delete_rows
from ops.runtime.artifacts.library import ArtifactLibrary
from ops.runtime.artifacts.object_store import DamagedObject, ObjectInfo, ObjectStore
from schemas.artifacts.entry import InvalidEntry, chunk_name, is_chunk, is_entry
from schemas.subjects import ARTIFACTS_BUCKET

if TYPE_CHECKING:
    from nats.aio.client import Client

    from ops.runtime.settings import Settings

# An upload is assembled within minutes, so a chunk older than this that no artifact uses stays unused. Names of deleted
# objects are kept as long, so that every worker hears of them.
UNUSED_CHUNK_AGE_S: Final = 24 * 3600.0
# An object is written within this time.
SETTLE_S: Final = 60.0

log = structlog.get_logger()


@dataclass(slots=True)
class Pruned:
    """What was removed."""

    artifacts: int = 0
    chunks: int = 0
    pieces: int = 0


async def prune(
    client: Client, settings: Settings, ttl_days: int, unused_s: float = UNUSED_CHUNK_AGE_S, *, dry_run: bool = False
) -> Pruned:
    """Removes artifacts older than `ttl_days` (0: none), and chunks that no artifact has used for `unused_s`.

    Raises NatsError, ClickHouseError.
    """
    store = ObjectStore(client, ARTIFACTS_BUCKET)
    if not await store.exists():
        return Pruned()
    objects, now = await store.objects(), dt.datetime.now(dt.UTC)
    oldest_ns = int((now - dt.timedelta(days=ttl_days)).timestamp() * 1e9) if ttl_days else 0
    used, outdated = await _used_and_outdated(ArtifactLibrary(store), objects, oldest_ns)
    old = [info for info in objects if _age_s(info, now) > unused_s]
    unused_chunks = [info for info in old if is_chunk(info.name) and not info.is_deleted and info.name not in used]
    pruned = Pruned(len(outdated), len(unused_chunks))
    if dry_run:
        return pruned
    await _delete_outdated(store, settings, outdated)
    await _delete_unused_chunks(store, unused_chunks)
    await _forget_deleted(store, old)
    pruned.pieces = await _remove_orphans(store, objects)
    if pruned != Pruned():
        log.info("artifacts_pruned", artifacts=pruned.artifacts, chunks=pruned.chunks, pieces=pruned.pieces)
    return pruned


async def _used_and_outdated(
    library: ArtifactLibrary, objects: list[ObjectInfo], oldest_ns: int
) -> tuple[set[str], list[ObjectInfo]]:
    """(names of chunks that artifacts use, entries of artifacts that are too old)."""
    used: set[str] = set()
    outdated: list[ObjectInfo] = []
    for info in objects:
        if not is_entry(info.name) or info.is_deleted:
            continue
        try:
            artifact = await library.entry_of(info)
        except (InvalidEntry, DamagedObject) as error:
            log.error("artifact_unreadable", name=info.name, error=str(error))
            continue
        if artifact is None:
            continue
        if artifact.uploaded_at_ns < oldest_ns:
            outdated.append(info)
        else:
            used |= {chunk_name(artifact.organisation, sha1) for sha1, _ in artifact.chunks}
    return used, outdated


async def _delete_outdated(store: ObjectStore, settings: Settings, outdated: list[ObjectInfo]) -> None:
    """Deletes artifacts: first their rows, so that nobody is told of one that is not there."""
    if outdated:
        await asyncio.to_thread(delete_rows, settings, [info.name for info in outdated])
    for info in outdated:
        await store.delete(info.name)


async def _delete_unused_chunks(store: ObjectStore, chunks: list[ObjectInfo]) -> None:
    for info in chunks:
        await store.delete(info.name)


async def _forget_deleted(store: ObjectStore, old: list[ObjectInfo]) -> None:
    """Removes the names of objects that were deleted long ago."""
    for info in old:
        if info.is_deleted and info.name:
            await store.forget(info)


async def _remove_orphans(store: ObjectStore, before: list[ObjectInfo]) -> int:
    """Pieces whose object has no description: their upload ended in the middle. Those being written now are left."""
    known = {info.nuid for info in await store.objects()} | {info.nuid for info in before}
    suspects = set(await store.orphans(known))
    if not suspects:
        return 0
    await asyncio.sleep(SETTLE_S)  # whoever is writing one now has finished by then
    finished = {info.nuid for info in await store.objects()}
    orphans = suspects & set(await store.orphans(known | finished))
    for subject in orphans:
        await store.purge_subject(subject)
    return len(orphans)


def _age_s(info: ObjectInfo, now: dt.datetime) -> float:
    try:
        changed_at = dt.datetime.fromisoformat(info.changed_at)
    except ValueError:
        return 0.0
    return (now - changed_at).total_seconds()
