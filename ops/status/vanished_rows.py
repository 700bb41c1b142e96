"""Tells rows that another body replaced from rows that are missing. docs/decisions/0033-missing-rows.md says how.

ClickHouse keeps of each message the identities of its rows, in a table of their own. A row that is gone is `merged` if
a row with the same identity and the same or a higher version is there, `expired` if its day is older than the table's
TTL, and `missing` otherwise.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client as ClickHouseClient

# The identity of a row within its channel, as in schemas/tables/0007_identities.sql.
IDENTITY: Final = (
    "bitOr(bitShiftLeft(toUInt64(toUInt16(toDate(timestamp))), 48), "
    "bitShiftRight(sipHash64(item_type, timestamp, event_id), 16))"
)
# Rows of one query: it keeps their identities in memory.
MAX_ROWS_OF_A_QUERY: Final = 5_000_000
SECONDS_OF_A_DAY: Final = 86_400

# Stored rows and rows that are there, by channel and by the hour in which their bodies came.
STORED_BY_HOUR: Final = """
SELECT channel_id, toStartOfHour(minute) AS hour, sum(finalizeAggregation(ordinals)) FROM stored_messages
WHERE source_seq >= {begin:UInt64} GROUP BY channel_id, hour"""
ROWS_BY_HOUR: Final = """
SELECT channel_id, toStartOfHour(toDateTime(received_at, 'UTC')) AS hour, count() FROM event_rows FINAL
WHERE source_seq >= {begin:UInt64} GROUP BY channel_id, hour"""

# Rows of a channel's bodies of some hours of which neither the row nor a newer one of the same identity is there.
# Of these, by day of their timestamp: their number, and when the first and the last of their bodies came.
_VANISHED: Final = f"""
WITH replayed AS
(
    SELECT origin_seq AS source_seq, item_index AS source_item, max(taken_rows.generation) AS least
    FROM taken_rows
    WHERE generation > 0 AND stage != 'unpack' AND channel_id = {{channel:UInt64}}
          AND minute >= {{since:DateTime('UTC')}} AND minute < {{until:DateTime('UTC')}}
    GROUP BY source_seq, source_item
),
messages AS
(
    SELECT source_seq, source_item, generation, came, stored, made
    FROM
    (
        SELECT source_seq, source_item, generation, max(minute) AS came,
               groupBitmapMerge(ordinals) AS stored, groupUniqArrayMerge(identities) AS made
        FROM stored_rows
        WHERE channel_id = {{channel:UInt64}} AND source_seq >= {{begin:UInt64}}
              AND minute >= {{since:DateTime('UTC')}} AND minute < {{until:DateTime('UTC')}}
        GROUP BY source_seq, source_item, generation
    ) AS stored_sets
    GLOBAL ANY LEFT JOIN replayed USING (source_seq, source_item)
    WHERE generation >= least
    ORDER BY generation DESC
    LIMIT 1 BY source_seq, source_item
),
present AS
(
    SELECT source_seq, source_item, toUInt32(bitAnd(version, 1048575)) AS generation, count() AS rows
    FROM event_rows FINAL
    WHERE channel_id = {{channel:UInt64}} AND received_at >= {{since:DateTime('UTC')}}
          AND received_at < {{until:DateTime('UTC')}}
    GROUP BY source_seq, source_item, generation
),
incomplete AS
(
    SELECT arrayJoin(made) AS identity, max(bitOr(bitShiftLeft(source_seq, 20), generation)) AS made_version,
           min(came) AS first_at, max(came) AS last_at
    FROM messages GLOBAL ANY LEFT JOIN present USING (source_seq, source_item, generation)
    WHERE stored > rows
    GROUP BY identity
)
SELECT toUInt16(bitShiftRight(identity, 48)) AS day, count() AS vanished, min(first_at), max(last_at)
FROM incomplete GLOBAL ANY LEFT JOIN
(
    SELECT {IDENTITY} AS identity, max(version) AS newest
    FROM event_rows FINAL
    WHERE channel_id = {{channel:UInt64}} AND {IDENTITY} GLOBAL IN (SELECT identity FROM incomplete)
    GROUP BY identity
) AS there USING (identity)
WHERE newest < made_version
GROUP BY day"""

Hour = tuple[int, dt.datetime]


@dataclass(slots=True)
class VanishedRows:
    """Rows of one channel, or of all, that are gone from ClickHouse and were not replaced.

    `unexamined` rows are gone too; there was no time to find out why. `first_at` and `last_at` say when the bodies of
    the missing rows came.
    """

    missing: int = 0
    expired: int = 0
    unexamined: int = 0
    first_at: dt.datetime | None = None
    last_at: dt.datetime | None = None

    def add(self, other: VanishedRows) -> None:
        """Adds the rows of another count."""
        self.missing += other.missing
        self.expired += other.expired
        self.unexamined += other.unexamined
        times = [at for at in (self.first_at, other.first_at) if at]
        self.first_at = min(times, default=None)
        times = [at for at in (self.last_at, other.last_at) if at]
        self.last_at = max(times, default=None)


@dataclass(frozen=True, slots=True)
class _Span:
    """Some hours of one channel that one query examines; `gone` rows of them are not there."""

    channel: int
    since: dt.datetime
    until: dt.datetime
    gone: int


@dataclass(slots=True)
class Examination:
    """Examines what is gone, newest hours first, until `until_s` of the clock. `ttl_days` 0: no row expires."""

    client: ClickHouseClient
    begin: int
    ttl_days: int
    today: dt.date
    until_s: float
    clock: Callable[[], float] = time.monotonic
    by_channel: dict[int, VanishedRows] = field(default_factory=dict)

    def run(self, stored: Mapping[Hour, int], rows: Mapping[Hour, int]) -> dict[int, VanishedRows]:
        """Vanished rows by channel. Raises what the client raises."""
        for span in spans(stored, rows):
            vanished = self.by_channel.setdefault(span.channel, VanishedRows())
            vanished.add(VanishedRows(unexamined=span.gone) if self.clock() >= self.until_s else self._examine(span))
        return self.by_channel

    def _examine(self, span: _Span) -> VanishedRows:
        parameters = {"channel": span.channel, "since": span.since, "until": span.until, "begin": self.begin}
        vanished = VanishedRows()
        for day, number, first_at, last_at in self.client.query(_VANISHED, parameters=parameters).result_rows:
            if self.ttl_days and dt.date(1970, 1, 1) + dt.timedelta(days=day + self.ttl_days) <= self.today:
                vanished.add(VanishedRows(expired=number))
            else:
                vanished.add(VanishedRows(missing=number, first_at=first_at, last_at=last_at))
        return vanished


def spans(stored: Mapping[Hour, int], rows: Mapping[Hour, int]) -> Iterator[_Span]:
    """The hours in which rows are gone, newest first, neighbours of one channel together as far as one query can."""
    lacking = [hour for hour, number in stored.items() if number > rows.get(hour, 0)]
    pending: _Span | None = None
    size = 0
    for channel, hour in sorted(lacking, key=lambda group: (-group[1].timestamp(), group[0])):
        number = stored[channel, hour]
        gone = number - rows.get((channel, hour), 0)
        end = hour + dt.timedelta(hours=1)
        if pending and pending.channel == channel and size + number <= MAX_ROWS_OF_A_QUERY:
            pending = _Span(channel, hour, pending.until, pending.gone + gone)
            size += number
            continue
        if pending:
            yield pending
        pending, size = _Span(channel, hour, end, gone), number
    if pending:
        yield pending
