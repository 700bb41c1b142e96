"""Artifacts in ClickHouse, for commands: list them, mark them as deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from ops.cli.servers import open_clickhouse

if TYPE_CHECKING:
    from ops.runtime.settings import Settings

_LIST: Final = """
SELECT organisation, artifact, kind, release, dist, channels, label, debug_id, size_bytes, files, uploaded_at
FROM artifacts
WHERE ({organisation:String} = '' OR organisation = {organisation:String})
  AND ({release:String} = '' OR release = {release:String})
ORDER BY uploaded_at DESC, artifact LIMIT {limit:UInt32}"""
# The whole row again, with a newer version.
_DELETE: Final = """
INSERT INTO artifact_rows (organisation, artifact, row_version, sha1, kind, release, dist, channels, label, debug_id,
                           size_bytes, files, chunks, uploaded_at, uploaded_by, is_deleted)
SELECT organisation, artifact, toUnixTimestamp64Nano(now64(9)), sha1, kind, release, dist, channels, label, debug_id,
       size_bytes, files, chunks, uploaded_at, uploaded_by, true
FROM artifact_rows FINAL
WHERE concat('index/', organisation, '/', artifact) IN {names:Array(String)} AND NOT is_deleted"""
_COUNT: Final = """
SELECT count() FROM artifacts WHERE concat('index/', organisation, '/', artifact) IN {names:Array(String)}"""


def list_artifacts(settings: Settings, organisation: str, release: str, limit: int) -> list[dict[str, Any]]:
    """Artifacts, the newest first. Raises ClickHouseError."""
    client = open_clickhouse(settings)
    try:
        client.database = settings.clickhouse_database
        parameters = {"organisation": organisation, "release": release, "limit": limit}
        return list(client.query(_LIST, parameters=parameters).named_results())
    finally:
        client.close()


def delete_rows(settings: Settings, names: Sequence[str]) -> int:
    """Marks artifacts (by the names of their objects) as deleted; returns how many were not before."""
    client = open_clickhouse(settings)
    try:
        client.database = settings.clickhouse_database
        count = int(client.query(_COUNT, parameters={"names": list(names)}).result_rows[0][0])
        client.command(_DELETE, parameters={"names": list(names)})
        return count
    finally:
        client.close()
