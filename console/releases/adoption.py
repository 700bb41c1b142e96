"""Which share of the sessions of the last day each release has."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from console.storage.times import time_text_of

if TYPE_CHECKING:
    from console.storage.clickhouse import ClickHouse

DAY: Final = dt.timedelta(days=1)
MAX_RELEASES: Final = 1_000
# A session is counted once, however often its state was sent; SDKs that send sums are added.
_SESSIONS: Final = f"""
SELECT toString(release) AS version, uniqExactIf(sid, is_one) + sumIf(of_all, NOT is_one) AS sessions
FROM
(
    SELECT release, item_type = 'session' AS is_one, attributes_string['session.id'] AS sid,
           attributes_int['session.exited'] + attributes_int['session.errored'] + attributes_int['session.abnormal']
           + attributes_int['session.unhandled'] + attributes_int['session.crashed'] AS of_all
    FROM event_rows FINAL
    WHERE organisation = {{organisation:String}} AND channel_id IN {{channels:Array(UInt64)}}
      AND item_type IN ('session', 'sessions') AND timestamp >= toDateTime64({{since:String}}, 9, 'UTC')
)
GROUP BY version ORDER BY sessions DESC LIMIT {MAX_RELEASES}
SETTINGS do_not_merge_across_partitions_select_final = 1"""


async def adoption(
    clickhouse: ClickHouse, organisation: str, channels: Sequence[int], now: dt.datetime
) -> dict[str, float]:
    """The share in percent by release; empty without sessions. Sessions without a release count in the whole."""
    if not channels:
        return {}
    rows = await clickhouse.query(
        _SESSIONS, organisation=organisation, channels=list(channels), since=time_text_of(now - DAY)
    )
    total = sum(int(row["sessions"]) for row in rows)
    if not total:
        return {}
    return {str(row["version"]): round(100 * int(row["sessions"]) / total, 2) for row in rows if row["version"]}
