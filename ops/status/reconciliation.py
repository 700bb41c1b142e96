"""The reconciliation: accounts for every row that should come of a received body.

docs/decisions/0004-reconciliation.md defines it.

Left side: bodies by the broker's sequences, and what workers found in each. Right side: rows in ClickHouse, outcomes,
and what is still queued. Neither side is computed from the other.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ops.runtime.stream_state import StreamState
from ops.status.vanished_rows import ROWS_BY_HOUR, STORED_BY_HOUR, Examination, Hour, VanishedRows
from schemas.subjects import RAW, SOURCES

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client as ClickHouseClient

_BODY_STAGES: Final = tuple(name for name, source in SOURCES.items() if source.stream == RAW)

# First body that is counted, where rows expire. It is a sequence, because minutes and sequences may overlap.
_BEGIN: Final = """
SELECT min(origin_seq) FROM taken_rows WHERE stage IN {stages:Array(String)} AND minute >= {since:DateTime('UTC')}"""

# Opened bodies (including those already deleted from RAW), and their expected rows beyond one.
_TAKEN: Final = """
SELECT channel_id,
       uniqExactIf(origin_seq, stage IN {stages:Array(String)} AND origin_seq >= {first:UInt64}) AS opened,
       uniqExactIf(origin_seq, stage IN {stages:Array(String)} AND origin_seq < {first:UInt64}) AS trimmed,
       sum(toInt64(units) - 1) AS more
FROM taken_rows FINAL WHERE origin_seq >= {begin:UInt64} GROUP BY channel_id"""

# Like the view `outcomes`, which does not have the sequence of the body.
_OUTCOMES: Final = """
SELECT channel_id, if(outcome = 'invalid', 'dead', outcome) AS counted_as, sum(quantity) FROM outcome_rows FINAL
LEFT ANY JOIN
(
    SELECT organisation, channel_id, minute, stage, origin_seq, item_index, generation AS newest
    FROM taken_rows FINAL WHERE generation > 0
) AS replayed USING (organisation, channel_id, minute, stage, origin_seq, item_index)
WHERE outcome IN ('rejected', 'dropped', 'invalid', 'dead') AND generation >= newest AND origin_seq >= {begin:UInt64}
GROUP BY channel_id, counted_as"""


_FROM_BEGIN: Final = re.compile(r"(?P<column>\w+) >= {begin:UInt64}")


@dataclass(slots=True)
class Account:
    """One channel, or all. Every number counts expected rows.

    Of rows that ClickHouse has stored, `merged` were replaced by a row of the same identity, `expired` are older than
    the TTL, and `missing` are gone without a reason. `unexamined` of the merged ones could also be missing or expired:
    there was no time to look.
    """

    channel: int | None
    received: int = 0
    rows: int = 0
    merged: int = 0
    expired: int = 0
    rejected: int = 0
    dropped: int = 0
    dead: int = 0
    queued: int = 0
    missing: int = 0
    unexamined: int = 0

    @property
    def difference(self) -> int:
        """Expected rows without a result, missing rows included; negative for results that nothing was received for.

        0 means nothing is lost.
        """
        accounted = self.rows + self.merged + self.expired + self.rejected + self.dropped + self.dead + self.queued
        return self.received - accounted

    def as_json(self) -> dict[str, Any]:
        """For scripts; `channel` is null in the total."""
        return asdict(self) | {"difference": self.difference}


@dataclass(frozen=True, slots=True)
class Waiting:
    """What the broker still has to deliver: messages of RAW in total, messages of ITEMS by channel."""

    raw: int
    items: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class ReconciledTotals:
    """Numbers of ClickHouse by channel. Read after the broker's, so the broker's numbers include everything counted
    here.

    `begin` is the sequence of the first counted body.
    """

    opened: Mapping[int, int]
    trimmed: Mapping[int, int]
    more: Mapping[int, int]
    stored: Mapping[int, int]
    rows: Mapping[int, int]
    outcomes: Mapping[tuple[int, str], int]
    begin: int = 1
    vanished: Mapping[int, VanishedRows] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The total, and one account for each channel with data.

    `is_idle`: nothing was under way, so that a difference is no matter of time. RAW has bodies since `held_since`.
    """

    total: Account
    channels: list[Account] = field(default_factory=list)
    vanished: VanishedRows = field(default_factory=VanishedRows)
    is_idle: bool = True
    held_since: dt.datetime | None = None
    # Of bodies that came before a table was lost and made again: those without a result; None if that is not known.
    lost_before: int | None = None

    @property
    def unexplained(self) -> int:
        """The difference without missing rows, while nothing is under way; else 0."""
        return self.total.difference - self.total.missing if self.is_idle else 0


def read_totals(
    client: ClickHouseClient,
    first_seq: int,
    ttl_days: int = 0,
    until_s: float = math.inf,
    *,
    first_held: int | None = None,
) -> ReconciledTotals:
    """Reads the numbers. `first_seq` is RAW's: earlier bodies were deleted. Raises what the client raises.

    Where rows expire, after `ttl_days`, only bodies count that came since a day before the first expiry. Rows that are
    gone are examined until `until_s` of the monotonic clock. `held`: the oldest of such bodies that RAW holds; tables
    that were lost know only younger ones.
    """
    today, since = dt.datetime.now(dt.UTC), counted_since(ttl_days)
    oldest_held = max(1, first_seq if first_held is None else first_held)
    parameters: dict[str, object] = {"stages": list(_BODY_STAGES), "first": first_seq, "begin": 1}
    if since is not None:
        first = client.query(_BEGIN, parameters={**parameters, "since": since}).result_rows[0][0]
        parameters["begin"] = min(int(first) or oldest_held, oldest_held)
    taken, stored, rows, outcomes = (
        client.query(sql, parameters=parameters).result_rows
        for sql in (_TAKEN, STORED_BY_HOUR, ROWS_BY_HOUR, _OUTCOMES)
    )
    begin = int(str(parameters["begin"]))
    stored_by_hour, rows_by_hour = ({(row[0], row[1]): int(row[2]) for row in counted} for counted in (stored, rows))
    examination = Examination(client, begin, ttl_days, today.date(), until_s)
    return ReconciledTotals(
        opened={row[0]: row[1] for row in taken},
        trimmed={row[0]: row[2] for row in taken},
        more={row[0]: row[3] for row in taken},
        stored=_by_first(stored_by_hour),
        rows=_by_first(rows_by_hour),
        outcomes={(row[0], row[1]): row[2] for row in outcomes},
        begin=begin,
        vanished=examination.run(stored_by_hour, rows_by_hour),
    )


def unexplained_before(client: ClickHouseClient, begin: int, end: int) -> int:
    """As the difference without missing rows, of the bodies from `begin` to before `end` alone: however much comes now.

    Raises what the client raises.
    """
    parameters = {"stages": list(_BODY_STAGES), "first": begin, "begin": begin, "end": end}
    taken, stored, outcomes = (
        client.query(_bounded(sql), parameters=parameters).result_rows for sql in (_TAKEN, STORED_BY_HOUR, _OUTCOMES)
    )
    results = sum(int(row[2]) for row in (*stored, *outcomes))
    return end - begin + sum(int(row[3]) for row in taken) - results


def _bounded(sql: str) -> str:
    return _FROM_BEGIN.sub(r"\g<0> AND \g<column> < {end:UInt64}", sql)


def counted_since(ttl_days: int) -> dt.datetime | None:
    """Where rows expire, only bodies count that came since a day before the first expiry; None if all count."""
    now = dt.datetime.now(dt.UTC)
    return now - dt.timedelta(days=ttl_days - min(1, ttl_days / 2)) if ttl_days else None


def _by_first(counts: Mapping[Hour, int]) -> dict[int, int]:
    """The sum of each channel."""
    sums: dict[int, int] = {}
    for (channel, _), number in counts.items():
        sums[channel] = sums.get(channel, 0) + number
    return sums


def reconcile(raw: StreamState, waiting: Waiting, totals: ReconciledTotals) -> Reconciliation:
    """Both sides by channel and in total. Channels add up to the total, except bodies whose channel is unknown."""
    bodies = _by_channel(raw.by_subject.items())
    channels = sorted(
        {*bodies, *totals.more, *totals.stored, *waiting.items, *(channel for channel, _ in totals.outcomes)}
    )
    accounts = [_account(channel, bodies.get(channel, 0), waiting, totals) for channel in channels]
    total = Account(None)
    for account in accounts:
        for name in ("rows", "merged", "expired", "rejected", "dropped", "dead", "missing", "unexamined"):
            setattr(total, name, getattr(total, name) + getattr(account, name))
    # Stream's last sequence: counts every body the broker ever acknowledged.
    total.received = raw.last_seq - totals.begin + 1 + sum(totals.more.values())
    total.queued = waiting.raw + sum(waiting.items.values())
    vanished = VanishedRows()
    for of_channel in totals.vanished.values():
        vanished.add(of_channel)
    return Reconciliation(total, accounts, vanished, held_since=raw.first_at)


def _account(channel: int, held_bodies: int, waiting: Waiting, totals: ReconciledTotals) -> Account:
    bodies = held_bodies + totals.trimmed.get(channel, 0)
    stored, rows = totals.stored.get(channel, 0), totals.rows.get(channel, 0)
    vanished = totals.vanished.get(channel, VanishedRows())
    # A durable does not report pending messages by channel; while some are pending, count them as unopened bodies.
    unopened = max(0, held_bodies - totals.opened.get(channel, 0)) if waiting.raw else 0
    return Account(
        channel,
        received=bodies + totals.more.get(channel, 0),
        rows=rows,
        merged=stored - rows - vanished.missing - vanished.expired,
        expired=vanished.expired,
        rejected=totals.outcomes.get((channel, "rejected"), 0),
        dropped=totals.outcomes.get((channel, "dropped"), 0),
        dead=totals.outcomes.get((channel, "dead"), 0),
        queued=unopened + waiting.items.get(channel, 0),
        missing=vanished.missing,
        unexamined=vanished.unexamined,
    )


def channel_counts(state: StreamState) -> dict[int, int]:
    """Messages of a stream by channel, the last token of the subject."""
    return _by_channel(state.by_subject.items())


def _by_channel(by_subject: Iterable[tuple[str, int]]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for subject, messages in by_subject:
        channel = subject.rpartition(".")[2]
        number = int(channel) if channel.isascii() and channel.isdigit() else 0
        counts[number] = counts.get(number, 0) + messages
    return counts
