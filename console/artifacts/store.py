"""What was uploaded, from ClickHouse: lists, one file, deletion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import nats.errors

from console.api.errors import ApiError
from console.artifacts.uploads import unavailable
from schemas.artifacts.entry import entry_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from console.access.bearer import Caller
    from console.services import Services
    from console.storage.clickhouse import Row, Value

_COLUMNS: Final = "artifact, sha1, kind, release, dist, channels, label, debug_id, size_bytes, files, uploaded_at"
_PAGE: Final = f"""
SELECT {_COLUMNS} FROM artifacts WHERE organisation = {{organisation:String}} {{more}}
ORDER BY uploaded_at DESC, artifact LIMIT {{limit:UInt32}} OFFSET {{offset:UInt32}}"""
_RELEASE_FILES: Final = """
SELECT artifact_files.artifact AS artifact, path, url, artifact_files.kind AS kind, source_map,
       artifact_files.size_bytes AS size_bytes, dist, sha1, uploaded_at
FROM artifact_files INNER JOIN
(SELECT artifact, dist, sha1, uploaded_at FROM artifacts
 WHERE organisation = {organisation:String} AND release = {release:String}) AS of_release USING artifact
WHERE organisation = {organisation:String} AND artifact IN
(SELECT artifact FROM artifacts WHERE organisation = {organisation:String} AND release = {release:String})
ORDER BY url, artifact LIMIT {limit:UInt32} OFFSET {offset:UInt32}"""
_STORED: Final = """
SELECT * FROM artifact_rows FINAL WHERE organisation = {organisation:String} AND artifact = {artifact:String}"""


class ArtifactStore:
    """The artifacts of one caller's organisation. Methods raise ApiError."""

    def __init__(self, services: Services, caller: Caller) -> None:
        self._services = services
        self._organisation = caller.organisation

    async def page(
        self, kinds: Sequence[str], channel: int | None, query: str, *, limit: int, offset: int
    ) -> list[Row]:
        """Artifacts of these kinds, the newest first; of one project, or with a text in their names."""
        more = ["AND kind IN {kinds:Array(String)}"]
        parameters: dict[str, Value] = {"kinds": list(kinds)}
        if channel is not None:
            more.append("AND (empty(channels) OR has(channels, {channel:UInt64}))")
            parameters["channel"] = channel
        if query:
            more.append(
                "AND (positionCaseInsensitive(concat(release, ' ', label, ' ', artifact), {query:String}) > 0 "
                "OR debug_id = {debug_id:String})"
            )
            parameters |= {"query": query, "debug_id": query.replace("-", "").lower()}
        sql = _PAGE.replace("{more}", " ".join(more))
        return await self._services.clickhouse.query(
            sql, organisation=self._organisation, limit=limit, offset=offset, **parameters
        )

    async def release_files(self, release: str, *, limit: int, offset: int) -> list[Row]:
        """The files of a release, by address."""
        return await self._services.clickhouse.query(
            _RELEASE_FILES, organisation=self._organisation, release=release, limit=limit, offset=offset
        )

    async def delete(self, artifact: str) -> None:
        """Deletes an artifact; its chunks go with the next pruning. Raises ApiError 404."""
        rows = await self._services.clickhouse.query(_STORED, organisation=self._organisation, artifact=artifact)
        if not rows or rows[0]["is_deleted"]:
            raise ApiError(404, f"artifact: expected one that was uploaded, found {artifact[:80]!r}")
        library = self._services.artifacts
        if library is None:
            raise unavailable()
        try:
            await library.store.delete(entry_name(self._organisation, artifact))
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise unavailable() from error
        deleted: dict[str, Any] = {**rows[0], "row_version": self._services.now_ns(), "is_deleted": True}
        await self._services.clickhouse.insert("artifact_rows", [deleted])
