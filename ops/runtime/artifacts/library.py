"""Artifacts in the object store: chunks, entries, and single files out of a bundle."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from schemas.artifacts.entry import Artifact, chunk_name, decode_artifact, encode_artifact, entry_name

if TYPE_CHECKING:
    from ops.runtime.artifacts.object_store import ObjectInfo, ObjectStore
    from schemas.artifacts.zip_directory import Member


class MissingChunk(Exception):
    """A chunk is not in the store, or not with the bytes of its name."""


class ArtifactLibrary:
    """Reads and writes artifacts. Methods raise what ObjectStore's do."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    async def has_chunk(self, organisation: str, sha1: str) -> bool:
        """Whether a chunk is stored."""
        info = await self.store.info(chunk_name(organisation, sha1))
        return info is not None and not info.is_deleted

    async def put_chunk(self, organisation: str, data: bytes) -> str:
        """Stores a chunk once; returns its SHA-1. Raises StoreFull."""
        sha1 = hashlib.sha1(data, usedforsecurity=False).hexdigest()
        if not await self.has_chunk(organisation, sha1):
            await self.store.put(chunk_name(organisation, sha1), data)
        return sha1

    async def chunk(self, organisation: str, sha1: str) -> bytes:
        """A chunk's bytes. Raises MissingChunk, DamagedObject."""
        data = await self.store.get(chunk_name(organisation, sha1))
        if data is None:
            raise MissingChunk(sha1)
        return data

    async def drop_chunk(self, organisation: str, sha1: str) -> None:
        """Removes a chunk that no artifact uses."""
        await self.store.delete(chunk_name(organisation, sha1))

    async def put_entry(self, artifact: Artifact) -> None:
        """Makes an artifact known: from now on workers find it. Raises StoreFull."""
        await self.store.put(artifact.object_name, encode_artifact(artifact))

    async def entry(self, organisation: str, artifact_id: str) -> Artifact | None:
        """An artifact; None if there is none. Raises InvalidEntry, DamagedObject."""
        data = await self.store.get(entry_name(organisation, artifact_id))
        return None if data is None else decode_artifact(data)

    async def entry_of(self, info: ObjectInfo) -> Artifact | None:
        """The artifact that an object describes; None if it is gone. Raises InvalidEntry, DamagedObject."""
        data = await self.store.content(info)
        return None if data is None else decode_artifact(data)

    async def packed(self, artifact: Artifact, member: Member) -> bytes:
        """The packed bytes of one file of an artifact; only the chunks that it lies in are read. Raises MissingChunk,
        DamagedObject.
        """
        packed, start = bytearray(), 0
        end = member.offset + member.packed_bytes
        for sha1, size_bytes in artifact.chunks:
            if start < end and start + size_bytes > member.offset:
                chunk = await self.chunk(artifact.organisation, sha1)
                packed += chunk[max(0, member.offset - start) : end - start]
            start += size_bytes
        return bytes(packed)
