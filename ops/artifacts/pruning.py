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
from schemas.artifacts.index import InvalidEntry, chunk_name, is_chunk, is_index
from schemas.subjects import ARTIFACTS_BUCKET

if TYPE_CHECKING:
    from nats.aio.client import Client

    from ops.runtime.settings import Settings

# An upload is put together within minutes; a chunk older than this that no artifact uses was left behind. Names of
# deleted objects are kept as long, so that every worker hears of them.
LEFT_BEHIND_S: Final = 24 * 3600.0
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
    client: Client, settings: Settings, ttl_days: int, left_behind_s: float = LEFT_BEHIND_S, *, dry_run: bool = False
) -> Pruned:
    """Removes artifacts older than `ttl_days` (0: none), and chunks without an artifact. Raises NatsError,
    ClickHouseError.
    """
    store = ObjectStore(client, ARTIFACTS_BUCKET)
    if not await store.exists():
        return Pruned()
    library, pruned, now = ArtifactLibrary(store), Pruned(), dt.datetime.now(dt.UTC)
    objects = await store.objects()
    oldest_ns = int((now - dt.timedelta(days=ttl_days)).timestamp() * 1e9) if ttl_days else 0
    used, outdated = await _sorted(library, objects, oldest_ns)
    pruned.artifacts = len(outdated)
    left = [info for info in objects if is_chunk(info.name) and not info.is_deleted and info.name not in used]
    left = [info for info in left if _age_s(info, now) > left_behind_s]
    pruned.chunks = len(left)
    if dry_run:
        return pruned
    if outdated:
        await asyncio.to_thread(delete_rows, settings, [info.name for info in outdated])
    for info in (*outdated, *left):
        await store.delete(info.name)
    for info in objects:
        if info.is_deleted and info.name and _age_s(info, now) > left_behind_s:
            await store.forget(info)
    pruned.pieces = await _remove_orphans(store, objects)
    if pruned != Pruned():
        log.info("artifacts_pruned", artifacts=pruned.artifacts, chunks=pruned.chunks, pieces=pruned.pieces)
    return pruned


async def _sorted(
    library: ArtifactLibrary, objects: list[ObjectInfo], oldest_ns: int
) -> tuple[set[str], list[ObjectInfo]]:
    """(names of chunks that artifacts use, entries of artifacts that are too old)."""
    used: set[str] = set()
    outdated: list[ObjectInfo] = []
    for info in objects:
        if not is_index(info.name) or info.is_deleted:
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
