"""Puts an uploaded artifact together from its chunks, checks it, and publishes it to workers and ClickHouse."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

import nats.errors
import nats.js.errors
import orjson
import structlog

from console.api.errors import ApiError
from console.artifacts.bodies import CHUNK_BYTES
from console.storage.times import time_text
from ops.runtime.artifacts.library import MissingChunk
from ops.runtime.artifacts.object_store import DamagedObject, StoreFull
from schemas.artifacts.bundle import BundledFile, InvalidBundle, read_bundle
from schemas.artifacts.entry import BUNDLE, Artifact, entry_name
from schemas.artifacts.zip_directory import STORED, Member, ZipLimits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from console.access.bearer import Caller
    from console.services import Services
    from ops.runtime.artifacts.library import ArtifactLibrary

LIMITS: Final = ZipLimits()
# A file up to this size is kept in memory while it is checked.
_SPOOLED_BYTES: Final = 16 * 1024 * 1024
_CHECKS_AT_ONCE: Final = 8
_USED: Final = """
SELECT DISTINCT arrayJoin(chunks) AS sha1 FROM artifacts
WHERE organisation = {organisation:String} AND hasAny(chunks, {chunks:Array(String)})"""
FULL: Final = (
    "artifacts: expected room for this upload, found none: `axonpush artifacts prune` frees room, "
    "`axonpush cluster set --artifacts-max-bytes` makes more"
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """What an upload is for: the SHA-1 of the whole, its chunks, and where it belongs."""

    checksum: str
    chunks: tuple[str, ...]
    kind: str = BUNDLE
    release: str = ""
    dist: str = ""
    channel_ids: tuple[int, ...] = ()
    label: str = ""
    debug_id: str = ""
    # Of a single file: its address, what it is, the source map that it names.
    url: str = ""
    file_kind: str = ""
    source_map: str = ""


class Uploads:
    """The uploads of one caller's organisation. Methods raise ApiError; 503 while the broker does not answer."""

    def __init__(self, services: Services, caller: Caller) -> None:
        self._services = services
        self._caller = caller
        self._organisation = caller.organisation

    @property
    def _library(self) -> ArtifactLibrary:
        if self._services.artifacts is None:
            raise unavailable()
        return self._services.artifacts

    async def put_chunk(self, data: bytes) -> None:
        """Stores one chunk."""
        try:
            await self._library.put_chunk(self._organisation, data)
        except StoreFull:
            raise ApiError(413, FULL) from None
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise unavailable() from error

    async def put_file(self, content: bytes) -> tuple[str, list[str]]:
        """Stores a whole file as chunks; returns its SHA-1 and theirs."""
        chunks = []
        for start in range(0, max(1, len(content)), CHUNK_BYTES):
            chunk = content[start : start + CHUNK_BYTES]
            await self.put_chunk(chunk)
            chunks.append(_sha1(chunk))
        return _sha1(content), chunks

    async def missing(self, chunks: Sequence[str]) -> list[str]:
        """Those of these chunks that are not stored."""
        library, waiting = self._library, asyncio.Semaphore(_CHECKS_AT_ONCE)

        async def is_stored(sha1: str) -> bool:
            async with waiting:
                return await library.has_chunk(self._organisation, sha1)

        distinct = list(dict.fromkeys(chunks))
        try:
            stored = await asyncio.gather(*(is_stored(sha1) for sha1 in distinct))
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise unavailable() from error
        return [sha1 for sha1, is_there in zip(distinct, stored, strict=True) if not is_there]

    async def known(self, upload: UploadRequest) -> Artifact | None:
        """The artifact, if it was uploaded before for the same release and projects."""
        artifact = _artifact(self._organisation, upload, 0, (), (), self._services.now_ns())
        try:
            stored = await self._library.entry(self._organisation, artifact.id)
        except (ValueError, DamagedObject):  # unreadable: it is made again
            return None
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise unavailable() from error
        return stored if stored and set(upload.channel_ids) <= set(stored.channel_ids or upload.channel_ids) else None

    async def assemble(self, upload: UploadRequest) -> Artifact:
        """Reads the chunks, checks everything, and makes the artifact known. What is refused leaves nothing behind."""
        try:
            with tempfile.SpooledTemporaryFile(_SPOOLED_BYTES) as spooled:
                file = cast("BinaryIO", spooled)
                sizes = await self._read_chunks(upload, file)
                artifact = await asyncio.to_thread(self._checked, upload, file, sizes)
            await self._write(artifact)
        except ApiError as error:
            if error.status == 400:
                await self._drop(upload.chunks)
            raise
        except StoreFull:
            raise ApiError(413, FULL) from None
        except (nats.errors.Error, nats.js.errors.Error, OSError, TimeoutError) as error:
            raise unavailable() from error
        return artifact

    async def _read_chunks(self, upload: UploadRequest, file: BinaryIO) -> tuple[tuple[str, int], ...]:
        most, digest = self._services.settings.console_artifact_bytes, hashlib.sha1(usedforsecurity=False)
        sizes: list[tuple[str, int]] = []
        for sha1 in upload.chunks:
            try:
                data = await self._library.chunk(self._organisation, sha1)
            except (MissingChunk, DamagedObject) as error:
                raise ApiError(400, f"chunks: expected {sha1} to be uploaded before, found it missing") from error
            sizes.append((sha1, len(data)))
            if sum(size for _, size in sizes) > most:
                raise ApiError(400, f"artifact: expected at most {most} bytes, found more")
            digest.update(data)
            file.write(data)
        if digest.hexdigest() != upload.checksum:
            raise ApiError(400, f"checksum: expected that of the chunks, {digest.hexdigest()}, found {upload.checksum}")
        return tuple(sizes)

    def _checked(self, upload: UploadRequest, file: BinaryIO, sizes: tuple[tuple[str, int], ...]) -> Artifact:
        """In a thread: reading a bundle of thousands of files takes seconds."""
        size_bytes, now_ns = sum(size for _, size in sizes), self._services.now_ns()
        if upload.kind != BUNDLE:
            file.seek(0)
            member = Member(upload.label or upload.checksum, 0, size_bytes, size_bytes, STORED, _crc32(file))
            only = BundledFile(upload.url, upload.file_kind or upload.kind, upload.debug_id, upload.source_map, member)
            return _artifact(self._organisation, upload, size_bytes, sizes, (only,), now_ns)
        try:
            bundle = read_bundle(file, LIMITS)
        except InvalidBundle as error:
            raise ApiError(400, f"artifact bundle: {error}") from None
        release, dist = upload.release or bundle.release, upload.dist or bundle.dist
        request_with_release = replace(upload, release=release, dist=dist, debug_id=bundle.debug_id)
        return _artifact(self._organisation, request_with_release, size_bytes, sizes, bundle.files, now_ns)

    async def _write(self, artifact: Artifact) -> None:
        """Writes file rows, then the artifact row, then the entry that workers follow.

        So nobody sees an artifact without its files.
        """
        clickhouse, version = self._services.clickhouse, artifact.uploaded_at_ns
        if files := [file_row(artifact, file, version) for file in artifact.files]:
            await clickhouse.insert("artifact_file_rows", files)
        await clickhouse.insert("artifact_rows", [artifact_row(artifact, self._caller.token.id, version)])
        await self._library.put_entry(artifact)
        await self._request_reprocessing(artifact)
        log.info("artifact_stored", kind=artifact.kind, files=len(artifact.files), size_bytes=artifact.size_bytes)

    async def _request_reprocessing(self, artifact: Artifact) -> None:
        """Asks the janitor to reprocess earlier events."""
        publish = self._services.request_reprocessing
        if publish is None or (not any(file.debug_id for file in artifact.files) and not artifact.release):
            return
        request = {
            "organisation": artifact.organisation,
            "artifact": artifact.id,
            "release": artifact.release,
            "projects": artifact.channel_ids,
            "uploaded_at_ns": artifact.uploaded_at_ns,
        }
        await publish(reprocessing_name(artifact.organisation, artifact.id), orjson.dumps(request))

    async def _drop(self, chunks: Sequence[str]) -> None:
        """Removes the chunks of a refused upload that no artifact uses."""
        try:
            rows = await self._services.clickhouse.query(
                _USED, organisation=self._organisation, chunks=list(dict.fromkeys(chunks))
            )
            for sha1 in dict.fromkeys(chunks).keys() - {row["sha1"] for row in rows}:
                await self._library.drop_chunk(self._organisation, sha1)
        except (ApiError, nats.errors.Error, OSError, TimeoutError) as error:
            log.warning("refused_chunks_left", error=type(error).__name__)


def reprocessing_name(organisation: str, artifact_id: str) -> str:
    """The name of the entry that says how far the events of an upload are."""
    return f"{organisation}.{_sha1(entry_name(organisation, artifact_id).encode())}"


def unavailable() -> ApiError:
    """The broker does not answer."""
    return ApiError(503, "the broker does not answer; send the same again", {"Retry-After": "5"})


def artifact_row(artifact: Artifact, token_id: str, version: int, *, is_deleted: bool = False) -> dict[str, Any]:
    """The row of an artifact."""
    return {
        "organisation": artifact.organisation,
        "artifact": artifact.id,
        "row_version": version,
        "sha1": artifact.sha1,
        "kind": artifact.kind,
        "release": artifact.release,
        "dist": artifact.dist,
        "channels": list(artifact.channel_ids),
        "label": artifact.label,
        "debug_id": next((file.debug_id for file in artifact.files if file.debug_id), ""),
        "size_bytes": artifact.size_bytes,
        "files": len(artifact.files),
        "chunks": [sha1 for sha1, _ in artifact.chunks],
        "uploaded_at": time_text(artifact.uploaded_at_ns),
        "uploaded_by": token_id,
        "is_deleted": is_deleted,
    }


def file_row(artifact: Artifact, file: BundledFile, version: int) -> dict[str, Any]:
    """The row of one file."""
    return {
        "organisation": artifact.organisation,
        "artifact": artifact.id,
        "path": file.member.name,
        "row_version": version,
        "url": file.url,
        "kind": file.kind,
        "debug_id": file.debug_id,
        "source_map": file.source_map[:1_024],
        "size_bytes": file.member.size_bytes,
    }


def _artifact(  # noqa: PLR0913, PLR0917 (the parts of one record)
    organisation: str,
    upload: UploadRequest,
    size_bytes: int,
    chunks: tuple[tuple[str, int], ...],
    files: tuple[BundledFile, ...],
    now_ns: int,
) -> Artifact:
    return Artifact(
        organisation,
        upload.checksum,
        upload.kind,
        upload.release,
        upload.dist,
        upload.channel_ids,
        upload.label,
        size_bytes,
        now_ns,
        chunks,
        files,
    )


def _sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def _crc32(file: BinaryIO) -> int:
    checksum = 0
    while data := file.read(1024 * 1024):
        checksum = zlib.crc32(data, checksum)
    return checksum
