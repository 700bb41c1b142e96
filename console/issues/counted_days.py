"""Days whose errors are counted already, so that lists read the counts in place of the errors."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from console.api.errors import ApiError
from schemas.issues.day_counts import COUNTED_DAYS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from console.api.request import Period
    from console.storage.clickhouse import ClickHouse, Value

# One row more, with no day: how often an issue of the organisation was resolved by a release.
_ASKED: Final = f"""{COUNTED_DAYS}
UNION ALL
SELECT '' AS counted_day, count() AS latest_counting FROM issue_changes
WHERE organisation = {{organisation:String}} AND release_after != toDateTime64(0, 9, 'UTC')"""


@dataclass(frozen=True, slots=True)
class CountedDays:
    """The days, as texts, and for each the counting that holds now.

    `has_returns`: a release may have resolved an issue of the organisation, so errors of releases matter.
    """

    countings: Mapping[str, int]
    has_returns: bool = True

    def parameters(self) -> dict[str, Value]:
        """For UNCOUNTED and OF_COUNTINGS."""
        if not self.countings:
            return {}
        return {"counted_days": list(self.countings), "countings": list(self.countings.values())}

    def beside(self, period: Period | None) -> CountedDays:
        """Those days that a period has whole or not at all."""
        if period is None:
            return self
        cut = {_day_of(moment) for moment in (period.begin, period.end)}
        return replace(self, countings={day: counting for day, counting in self.countings.items() if day not in cut})


NOTHING_COUNTED: Final = CountedDays({})
# Conditions on the errors that must be read, and on the counts that stand for all others.
UNCOUNTED: Final = "toDate(timestamp) NOT IN {counted_days:Array(Date)}"
OF_COUNTINGS: Final = "counting_id IN {countings:Array(UInt64)}"


async def counted_days(clickhouse: ClickHouse, organisation: str) -> CountedDays:
    """As they are now. None where tables or rights are those of an older version: then all errors are read."""
    try:
        rows = await clickhouse.query(_ASKED, organisation=organisation)
    except ApiError:
        return NOTHING_COUNTED
    countings = {str(row["counted_day"]): int(row["latest_counting"]) for row in rows}
    resolved_by_release = countings.pop("", 1)
    return CountedDays(countings, has_returns=resolved_by_release > 0)


def _day_of(moment: dt.datetime) -> str:
    """The day that a moment cuts into two; none at midnight."""
    moment = moment.astimezone(dt.UTC)
    return "" if moment.time() == dt.time() else moment.date().isoformat()
