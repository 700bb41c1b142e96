"""Is everything accepted accounted for? What the janitor counted, for the projects of one organisation; and refusals.

The numbers are read by the janitor at one moment, because a console has no right to look at streams.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from console.access.state import StateChanged, StateEntries
from schemas.subjects import DELIVERY_REPORT_ENTRY, DELIVERY_WANTED_ENTRY

if TYPE_CHECKING:
    from console.storage.clickhouse import ClickHouse
    from schemas.registry import Channel

# One console in so many seconds tells that a report is wanted.
TELL_EVERY_S: Final = 15.0
# A report that takes long is made less often: up to 95 s lie between two, and 20 s to make one.
OLD_AFTER_S: Final = 180.0
_TERMS: Final = (
    "received",
    "rows",
    "merged",
    "expired",
    "rejected",
    "dropped",
    "dead",
    "queued",
    "missing",
    "difference",
)
_REFUSED: Final = """
SELECT if(outcome = 'rate_limited', concat('429:', reason), reason) AS why, key_id, sender, channel_id,
       sum(quantity) AS requests, max(minute) AS last
FROM outcome_rows FINAL
WHERE organisation = {organisation:String} AND channel_id IN {channels:Array(UInt64)}
  AND outcome IN ('refused', 'rate_limited', 'unconfirmed') AND minute >= toDateTime({since:UInt32}, 'UTC')
GROUP BY why, key_id, sender, channel_id ORDER BY requests DESC, last DESC LIMIT 50"""
_DEAD: Final = """
SELECT stage, item_type, reason, any(error) AS said, count() AS number, max(received_at) AS last,
       argMax(substring(body, 1, 400), received_at) AS bytes, argMax(dead_seq, received_at) AS sequence,
       argMax(channel_id, received_at) AS channel
FROM dead_letters
WHERE organisation = {organisation:String} AND channel_id IN {channels:Array(UInt64)}
  AND received_at >= toDateTime64({since:UInt32}, 9, 'UTC')
GROUP BY stage, item_type, reason ORDER BY number DESC LIMIT 50"""


@dataclass(slots=True)
class DeliveryReports:
    """Reads the janitor's report, and tells the janitor that somebody looks. `clock` is seconds of the wall clock."""

    entries: StateEntries
    clock: Callable[[], float] = time.time
    _told_s: float = 0.0

    async def read(self) -> dict[str, Any]:
        """The last report; empty if there is none yet. Raises StateUnavailable."""
        now_s = self.clock()
        if now_s - self._told_s > TELL_EVERY_S:
            _, revision = await self.entries.get(DELIVERY_WANTED_ENTRY)
            with contextlib.suppress(StateChanged):  # another console has just told
                await self.entries.put(DELIVERY_WANTED_ENTRY, str(int(now_s)).encode(), revision)
            self._told_s = now_s
        value, _ = await self.entries.get(DELIVERY_REPORT_ENTRY)
        try:
            report = orjson.loads(value or b"{}")
        except orjson.JSONDecodeError:
            return {}
        return report if isinstance(report, dict) else {}


def channels_of(report: dict[str, Any]) -> set[int]:
    """All channels that a report counts; 0 stands for none."""
    return {int(account.get("channel") or 0) for account in report.get("channels", [])} - {0}


def of_organisation(
    report: dict[str, Any], projects: Sequence[Channel], *, is_only: bool, now_s: float
) -> dict[str, Any]:
    """The part of a report that an organisation may see. `is_only`: there is no other, so that the total is its own."""
    by_id = {project.id: project for project in projects}
    accounts = [account for account in report.get("channels", []) if account.get("channel") in by_id]
    counted = report.get("total")
    total = counted if is_only or not counted else _sum(accounts)
    dead = report.get("dead_letters", {})
    workers = report.get("workers", [])
    at_s = float(report.get("at_s", 0))
    return {
        "checkedSeconds": at_s or None,
        "isOld": now_s - at_s > OLD_AFTER_S,
        "isIdle": bool(report.get("is_idle")),
        "heldSince": report.get("held_since"),
        "total": _terms(total) if total else None,
        "projects": [
            {"id": str(account["channel"]), "slug": by_id[account["channel"]].project_slug, **_terms(account)}
            for account in accounts
        ],
        "deadLetters": sum(int(dead.get(str(number), 0)) for number in by_id),
        "oldestSeconds": max((worker.get("oldest_s") or 0 for worker in workers), default=0),
        "workers": workers,
        "trouble": report.get("trouble", ""),
    }


async def refusals(
    clickhouse: ClickHouse, organisation: str, projects: Sequence[Channel], since_s: int
) -> list[dict[str, Any]]:
    """Refused requests since then, by reason and sender."""
    return await _asked(clickhouse, _REFUSED, organisation, projects, since_s)


async def dead_letters(
    clickhouse: ClickHouse, organisation: str, projects: Sequence[Channel], since_s: int
) -> list[dict[str, Any]]:
    """Dead letters since then, by reason, with the first bytes of the last one."""
    return await _asked(clickhouse, _DEAD, organisation, projects, since_s)


async def _asked(
    clickhouse: ClickHouse, sql: str, organisation: str, projects: Sequence[Channel], since_s: int
) -> list[dict[str, Any]]:
    if not projects:
        return []
    channels = [project.id for project in projects]
    return await clickhouse.query(sql, organisation=organisation, channels=channels, since=since_s)


def _terms(account: dict[str, Any]) -> dict[str, int]:
    return {name: int(account.get(name, 0)) for name in _TERMS}


def _sum(accounts: Sequence[dict[str, Any]]) -> dict[str, int]:
    return {name: sum(int(account.get(name, 0)) for account in accounts) for name in _TERMS}
