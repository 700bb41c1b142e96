"""Releases and deploys in ClickHouse: written as whole rows, read from the view `releases`."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from console.api.errors import ApiError
from console.storage.times import NEVER, time_text

if TYPE_CHECKING:
    from console.access.bearer import Caller
    from console.services import Services
    from console.storage.clickhouse import Row, Value

_COLUMNS: Final = (
    "version, channels, created_at, started_at, released_at, url, ref, status, refs, commits, errors, first_event, "
    "last_event, new_issues, sessions, crashed_sessions, users, crashed_users, crash_free_sessions, crash_free_users"
)
_STORED: Final = """
SELECT release, channels, created_at, started_at, released_at, url, ref, status, refs, commits, created_by, is_deleted,
       row_version
FROM release_rows FINAL WHERE organisation = {organisation:String} AND release = {release:String}"""
_ONE: Final = f"""
SELECT {_COLUMNS} FROM releases WHERE organisation = {{organisation:String}} AND version = {{version:String}}"""
_MADE_AT: Final = """
SELECT made_at FROM release_dates WHERE organisation = {organisation:String} AND release = {release:String}"""
_DEPLOYS: Final = """
SELECT deploy_id, release, environment, name, url, created_at, started_at, finished_at FROM deploy_rows FINAL
WHERE organisation = {organisation:String} AND release IN {releases:Array(String)}
ORDER BY created_at DESC, deploy_id DESC LIMIT 1000"""
_PREVIOUS: Final = f"""
SELECT {_COLUMNS} FROM releases
WHERE organisation = {{organisation:String}} AND created_at < toDateTime64({{before:String}}, 9, 'UTC')
  AND version != {{release:String}} AND (commits NOT IN ('', '[]') OR refs NOT IN ('', '[]'))
ORDER BY created_at DESC, version LIMIT 1"""
# What the view `releases` has of all projects together, by project. Only asked of releases of several.
_NEW_ISSUES_BY_PROJECT: Final = """
SELECT toString(first_release) AS version, channel_id, count() AS new_issues
FROM
(
    SELECT channel_id, issue_id, argMin(release, (timestamp, cityHash64(event_id))) AS first_release
    FROM error_rows FINAL
    WHERE organisation = {organisation:String} AND channel_id IN {channels:Array(UInt64)}
    GROUP BY channel_id, issue_id
)
WHERE first_release IN {releases:Array(String)} GROUP BY version, channel_id
SETTINGS do_not_merge_across_partitions_select_final = 1"""
_SESSIONS_BY_PROJECT: Final = """
SELECT version, channel_id, uniqExactIf(sid, is_one) + sumIf(of_all, NOT is_one) AS sessions,
       uniqExactIf(sid, is_one AND has_crashed) + sumIf(of_crashed, NOT is_one) AS crashed_sessions,
       uniqExactIf(user_id, user_id != '') AS users,
       uniqExactIf(user_id, user_id != '' AND has_crashed) AS crashed_users,
       if(sessions = 0, NULL, 1 - crashed_sessions / sessions) AS crash_free_sessions,
       if(users = 0, NULL, 1 - crashed_users / users) AS crash_free_users
FROM
(
    SELECT toString(release) AS version, channel_id, item_type = 'session' AS is_one, user_id,
           attributes_string['session.id'] AS sid, attributes_int['session.crashed'] AS of_crashed,
           attributes_int['session.exited'] + attributes_int['session.errored'] + attributes_int['session.abnormal']
           + attributes_int['session.unhandled'] + of_crashed AS of_all,
           if(is_one, status = 'crashed', of_crashed > 0) AS has_crashed
    FROM event_rows FINAL
    WHERE organisation = {organisation:String} AND channel_id IN {channels:Array(UInt64)}
      AND release IN {releases:Array(String)} AND item_type IN ('session', 'sessions')
)
GROUP BY version, channel_id SETTINGS do_not_merge_across_partitions_select_final = 1"""
NO_NUMBERS: Final = {
    **dict.fromkeys(("new_issues", "sessions", "crashed_sessions", "users", "crashed_users"), 0),
    **dict.fromkeys(("crash_free_sessions", "crash_free_users"), None),
}
SORTS: Final = {
    "date": "created_at DESC",
    "sessions": "sessions DESC",
    "users": "users DESC",
    "crash_free_sessions": "crash_free_sessions DESC",
    "crash_free_users": "crash_free_users DESC",
}
_MAX_DEPLOY_ID: Final = 2**53 - 1  # numbers of JavaScript


class ReleaseStore:
    """The releases of one caller's organisation."""

    def __init__(self, services: Services, caller: Caller) -> None:
        self._clickhouse = services.clickhouse
        self._services = services
        self._caller = caller
        self._organisation = caller.organisation

    async def page(  # noqa: PLR0913 (one for each part of the question)
        self,
        channels: Sequence[int] | None,
        *,
        query: str,
        order: str,
        status: str,
        limit: int,
        offset: int,
    ) -> list[Row]:
        """Releases, the newest first; of some projects only, or with a text in their name."""
        where = ["organisation = {organisation:String}"]
        parameters: dict[str, Value] = {}
        if channels is not None:
            where.append("hasAny(channels, {channels:Array(UInt64)})")
            parameters["channels"] = list(channels)
        if query:
            where.append("positionCaseInsensitiveUTF8(version, {query:String}) > 0")
            parameters["query"] = query
        if status:
            where.append("status = {status:String}")
            parameters["status"] = status
        sql = (
            f"SELECT {_COLUMNS} FROM releases WHERE {' AND '.join(where)} ORDER BY {order}, version "
            "LIMIT {limit:UInt32} OFFSET {offset:UInt32}"
        )
        return await self._clickhouse.query(
            sql, organisation=self._organisation, limit=limit, offset=offset, **parameters
        )

    async def one(self, version: str) -> Row:
        """A release that a tool described or that has events. Raises ApiError 404."""
        rows = await self._clickhouse.query(_ONE, organisation=self._organisation, version=version)
        if not rows:
            raise ApiError(404, f"release: expected one of {self._organisation}, found none named {version[:80]!r}")
        return rows[0]

    async def exists(self, version: str) -> bool:
        """Whether a tool has described it; a release that only has events can still be described."""
        stored = await self._stored(version)
        return stored is not None and not stored["is_deleted"]

    async def write(self, version: str, channels: Sequence[int], values: Row) -> None:
        """Creates the release, or changes what `values` names; `channels` are added to those it has."""
        stored = await self._stored(version)
        if stored is None or stored["is_deleted"]:
            created_at = await self._first_seen(version) or time_text(self._services.now_ns())
            stored = _new_release(created_at, self._caller.token.id, stored)
        row = {**stored, **values, "organisation": self._organisation, "release": version, "is_deleted": False}
        row["channels"] = sorted({*stored["channels"], *channels})
        await self._insert(row, int(stored["row_version"]))

    async def delete(self, version: str) -> None:
        """Removes what tools said; events keep the name of their release. Raises ApiError 404."""
        stored = await self._stored(version)
        if stored is None or stored["is_deleted"]:
            await self.one(version)
            stored = _new_release(time_text(self._services.now_ns()), self._caller.token.id, stored)
        row = {**stored, "organisation": self._organisation, "release": version, "is_deleted": True}
        await self._insert(row, int(stored["row_version"]))

    async def previous_with_commits(self, release: Row) -> Row | None:
        """The release before this one that has commits."""
        rows = await self._clickhouse.query(
            _PREVIOUS, organisation=self._organisation, before=release["created_at"], release=release["version"]
        )
        return rows[0] if rows else None

    async def by_project(self, rows: Sequence[Row]) -> dict[tuple[str, int], Row]:
        """New issues and sessions of each project of these releases, by version and channel."""
        numbers = {(str(row["version"]), int(row["channels"][0])): row for row in rows if len(row["channels"]) == 1}
        shared = [row for row in rows if len(row["channels"]) > 1]
        for row in shared:
            numbers |= {(str(row["version"]), int(channel)): dict(NO_NUMBERS) for channel in row["channels"]}
        for sql in (_NEW_ISSUES_BY_PROJECT, _SESSIONS_BY_PROJECT) if shared else ():
            counted = await self._clickhouse.query(
                sql,
                organisation=self._organisation,
                channels=sorted({int(channel) for row in shared for channel in row["channels"]}),
                releases=[str(row["version"]) for row in shared],
            )
            for row in counted:
                numbers.setdefault((str(row["version"]), int(row["channel_id"])), dict(NO_NUMBERS)).update(row)
        return numbers

    async def deploys(self, versions: Sequence[str]) -> list[Row]:
        """The deploys of releases, the newest first."""
        if not versions:
            return []
        return await self._clickhouse.query(_DEPLOYS, organisation=self._organisation, releases=list(versions))

    async def add_deploy(self, version: str, values: Row) -> Row:
        """Stores a deploy and returns it."""
        now_ns = self._services.now_ns()
        row = {
            "organisation": self._organisation,
            "release": version,
            "deploy_id": 1 + secrets.randbelow(_MAX_DEPLOY_ID),
            "row_version": now_ns,
            "created_at": time_text(now_ns),
            **values,
        }
        if row["finished_at"] == NEVER:
            row["finished_at"] = row["created_at"]
        await self._clickhouse.insert("deploy_rows", [row])
        return row

    async def _stored(self, version: str) -> Row | None:
        rows = await self._clickhouse.query(_STORED, organisation=self._organisation, release=version)
        return rows[0] if rows else None

    async def _first_seen(self, version: str) -> str | None:
        rows = await self._clickhouse.query(_MADE_AT, organisation=self._organisation, release=version)
        return str(rows[0]["made_at"]) if rows else None

    async def _insert(self, row: dict[str, Any], before: int) -> None:
        # Above the stored one even if this machine's clock is behind: the last change wins.
        row["row_version"] = max(self._services.now_ns(), before + 1)
        await self._clickhouse.insert("release_rows", [row])


def _new_release(created_at: str, created_by: str, deleted: Row | None) -> Row:
    return {
        "channels": [],
        "created_at": created_at,
        "started_at": NEVER,
        "released_at": NEVER,
        **dict.fromkeys(("url", "ref"), ""),
        "status": "open",
        "refs": "[]",
        "commits": "[]",
        "created_by": created_by,
        "row_version": deleted["row_version"] if deleted else 0,
    }
