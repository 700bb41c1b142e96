"""Counts the errors of days that are over, so that lists of issues need not read them again.

A day whose errors change afterwards (late ones, a replay) is counted again when it is quiet; until then lists read its
errors. Two janitors do no harm: each counting has rows of its own. docs/decisions/0094-counted-days.md
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import structlog
from clickhouse_connect.driver.exceptions import Error as ClickHouseError

from ops.cli.servers import open_clickhouse
from ops.runtime.failures import Failed
from schemas.issues.day_counts import COUNTED_DAYS, COUNTS_TABLE, DAYS_NOW, ORDER_KEY, PARTS, PARTS_HASH

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client as ClickHouseClient

    from ops.runtime.settings import Settings

log = structlog.get_logger()

LOOK_EVERY_S: Final = 60.0
# A day is counted when nothing has changed it for so long, and if it has so many errors.
QUIET_S: Final = 600
FEWEST_ERRORS: Final = 1_000
DAYS_AT_ONCE: Final = 10
COUNT_TIMEOUT_S: Final = 120.0
# Counts that do not hold any more stay so long, because a list may have begun to read them.
KEPT_NS: Final = 3_600 * 10**9
CLEAN_EVERY_NS: Final = 600 * 10**9

_WAITING: Final = f"""
SELECT day, parts_hash FROM
(
    SELECT toDate(partition) AS day, {PARTS_HASH} AS parts_hash, sum(rows) AS errors,
           max(modification_time) AS changed_at
    FROM {PARTS} GROUP BY partition
)
WHERE day < toDate(now('UTC')) AND errors >= {{fewest:UInt64}} AND changed_at <= now() - {{quiet_s:UInt32}}
  AND (day, parts_hash) NOT IN (SELECT day, parts_hash FROM {COUNTS_TABLE} WHERE organisation = '')
ORDER BY day DESC"""
_COUNT: Final = f"""
INSERT INTO {COUNTS_TABLE} (organisation, channel_id, issue_id, day, counting_id, environment, release, severity_number,
                            times, users, first_seen, last_seen, last_received_at, first_key, last_key, last_event_id)
SELECT organisation, channel_id, issue_id, {{day:Date}}, {{counting:UInt64}}, environment, release, severity_number,
       count(), groupUniqArrayIf(user_hash, user_hash != 0), min(timestamp), max(timestamp), max(received_at),
       min(order_key), max(order_key), argMax(event_id, order_key)
FROM
(
    SELECT organisation, channel_id, issue_id, environment, release, severity_number, user_hash, timestamp, received_at,
           event_id, {ORDER_KEY} AS order_key
    FROM error_rows FINAL WHERE toDate(timestamp) = {{day:Date}}
)
GROUP BY organisation, channel_id, issue_id, environment, release, severity_number
SETTINGS max_threads = 1"""
# Writes nothing if the day has changed since, or if its counts were inserted twice.
_FINISH: Final = f"""
INSERT INTO {COUNTS_TABLE} (organisation, channel_id, issue_id, day, counting_id, parts_hash)
SELECT '', 0, 0, day, {{counting:UInt64}}, parts_hash FROM ({DAYS_NOW})
WHERE day = {{day:Date}} AND parts_hash = {{hash:UInt64}}
  AND (SELECT sum(times) FROM {COUNTS_TABLE} WHERE counting_id = {{counting:UInt64}})
      = (SELECT count() FROM error_rows FINAL WHERE toDate(timestamp) = {{day:Date}})"""
_IS_FINISHED: Final = (
    f"SELECT count() FROM {COUNTS_TABLE} WHERE organisation = '' AND counting_id = {{counting:UInt64}}"
)
_COUNTINGS: Final = f"SELECT DISTINCT counting_id FROM {COUNTS_TABLE}"
# First what says that they hold.
_FORGET: Final = (
    f"DELETE FROM {COUNTS_TABLE} WHERE organisation = '' AND counting_id IN {{countings:Array(UInt64)}}",
    f"DELETE FROM {COUNTS_TABLE} WHERE counting_id IN {{countings:Array(UInt64)}}",
)


class IssueCounter:
    """Remembers which days could not be counted, and which counts did not hold at the last look."""

    def __init__(self, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._now_ns = now_ns
        self._failed: set[tuple[dt.date, int]] = set()
        self._outdated: set[int] = set()
        self._cleaned_at_ns = 0

    def work(self, client: ClickHouseClient, *, quiet_s: int = QUIET_S, fewest: int = FEWEST_ERRORS) -> int:
        """Counts the days that wait, some at once, and deletes old counts. Returns the number of counted days.

        Raises what the client raises.
        """
        asked = {"quiet_s": quiet_s, "fewest": fewest}
        waiting = [(day, int(parts_hash)) for day, parts_hash in client.query(_WAITING, parameters=asked).result_rows]
        chosen = [day for day in waiting if day not in self._failed][:DAYS_AT_ONCE]
        counted = sum(self._is_counted(client, *day) for day in chosen)
        if counted:
            log.info("issue_days_counted", days=counted)
        if self._now_ns() - self._cleaned_at_ns >= CLEAN_EVERY_NS:
            self._clean(client)
            self._cleaned_at_ns = self._now_ns()
        return counted

    def _is_counted(self, client: ClickHouseClient, day: dt.date, parts_hash: int) -> bool:
        """One that could not be counted is tried again when its errors have changed."""
        parameters = {"day": day, "hash": parts_hash, "counting": self._now_ns()}
        error_text = "it has changed meanwhile"
        try:
            client.command(_COUNT, parameters=parameters)
            client.command(_FINISH, parameters=parameters)
            if client.query(_IS_FINISHED, parameters=parameters).result_rows[0][0]:
                return True
        except ClickHouseError as error:
            error_text = str(error)[:300]
        self._failed.add((day, parts_hash))
        log.warning("issue_day_not_counted", day=str(day), error=error_text)
        return False

    def _clean(self, client: ClickHouseClient) -> None:
        """Deletes counts that did not hold at the last look either."""
        holding = {int(counting) for _, counting in client.query(COUNTED_DAYS).result_rows}
        countings = {int(row[0]) for row in client.query(_COUNTINGS).result_rows}
        latest = self._now_ns() - KEPT_NS
        outdated = {counting for counting in countings - holding if counting < latest}
        if gone := sorted(outdated & self._outdated):
            for statement in _FORGET:
                client.command(statement, parameters={"countings": gone})
        self._outdated = outdated


async def keep_days_counted(settings: Settings) -> None:
    """For ever; each failure is logged once and tried again after the pause."""
    counter, last_error = IssueCounter(), ""
    while True:
        try:
            await asyncio.to_thread(_look, counter, settings)
            last_error = ""
        except (ClickHouseError, OSError, Failed) as error:
            text = f"{type(error).__name__}: {str(error)[:300]}"
            if text != last_error:
                log.warning("issue_days_not_counted", error=text)
            last_error = text
        await asyncio.sleep(LOOK_EVERY_S)


def _look(counter: IssueCounter, settings: Settings) -> None:
    client = open_clickhouse(settings, COUNT_TIMEOUT_S)
    try:
        client.database = settings.clickhouse_database
        counter.work(client)
    finally:
        client.close()
