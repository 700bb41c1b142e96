"""Refused requests by sender and reason, from the table that receivers' counts go into."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from ops.provisioning.system.made_again import made_again

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client as ClickHouseClient

MAX_GROUPS: Final = 500
TABLE: Final = "outcome_rows"
# ClickHouse's maximum of no times is the beginning of 1970.
EMPTY_YEAR: Final = 1970
# The part of a reason that names a key which is known and was revoked.
REVOKED: Final = "401:revoked_key"
# Of a request that may be stored: the broker did not confirm it.
UNCONFIRMED: Final = "503:not_confirmed"

_REFUSED: Final = """
SELECT organisation, channel_id, key_id, sender, if(outcome = 'rate_limited', concat('429:', reason), reason) AS why,
       arraySort(groupUniqArray(item_type)) AS endpoints, sum(quantity) AS requests, min(minute) AS first,
       max(minute) AS last
FROM outcome_rows FINAL
WHERE outcome IN ('refused', 'rate_limited', 'unconfirmed') AND minute >= toStartOfMinute({since:DateTime('UTC')})
      AND ({key:String} = '' OR key_id = {key:String}) AND ({channel:UInt64} = 0 OR channel_id = {channel:UInt64})
      AND ({reason:String} = '' OR position(why, {reason:String}) > 0)
GROUP BY organisation, channel_id, key_id, sender, why
ORDER BY requests DESC, last DESC
LIMIT {groups:UInt32}"""

_NEWEST: Final = """
SELECT max(minute) FROM outcome_rows
WHERE outcome IN ('refused', 'rate_limited', 'unconfirmed') AND minute >= toStartOfMinute({since:DateTime('UTC')})"""


_INVALID: Final = """
SELECT sum(quantity) FROM outcome_rows FINAL
WHERE outcome = 'invalid' AND minute >= toStartOfMinute({since:DateTime('UTC')})
      AND ({key:String} = '' OR key_id = {key:String}) AND ({channel:UInt64} = 0 OR channel_id = {channel:UInt64})"""


@dataclass(frozen=True, slots=True)
class RefusalChoice:
    """Which refusals: since when, and of which key, channel and reason; empty means all."""

    since: dt.datetime
    key_id: str = ""
    channel_id: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RefusedRequests:
    """Refused requests of one sender for one reason. `sender` is a class of address where no key is known.

    Channel 0: none was named, or it does not exist.
    """

    organisation: str
    channel_id: int
    key_id: str
    sender: str
    reason: str
    endpoints: tuple[str, ...]
    requests: int
    first_at: dt.datetime
    last_at: dt.datetime

    @property
    def who(self) -> str:
        """The key, or the addresses."""
        return f"key {self.key_id}" if self.key_id else f"unknown key, {self.sender}"

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return asdict(self) | {"first_at": self.first_at.isoformat(), "last_at": self.last_at.isoformat()}


def refused_requests(client: ClickHouseClient, choice: RefusalChoice) -> list[RefusedRequests]:
    """The largest first, at most MAX_GROUPS. Raises what the client raises."""
    parameters = {
        "since": choice.since,
        "key": choice.key_id,
        "channel": choice.channel_id,
        "reason": choice.reason,
        "groups": MAX_GROUPS,
    }
    return [
        RefusedRequests(
            organisation, channel_id, key_id, sender, why, tuple(endpoints), int(requests), _utc(first), _utc(last)
        )
        for organisation, channel_id, key_id, sender, why, endpoints, requests, first, last in client.query(
            _REFUSED, parameters=parameters
        ).result_rows
    ]


def invalid_bodies(client: ClickHouseClient, choice: RefusalChoice) -> int:
    """Bodies of that key and channel that a worker could not read: their senders got 400 too, and they are dead
    letters. Raises what the client raises.
    """
    parameters = {"since": choice.since, "key": choice.key_id, "channel": choice.channel_id}
    return int(client.query(_INVALID, parameters=parameters).result_rows[0][0] or 0)


def newest_count(client: ClickHouseClient, since: dt.datetime) -> dt.datetime | None:
    """The minute of the newest count of any sender; None if there is none. Raises what the client raises."""
    newest = client.query(_NEWEST, parameters={"since": since}).result_rows[0][0]
    return _utc(newest) if newest.year > EMPTY_YEAR else None


def counted_from(client: ClickHouseClient, database: str) -> dt.datetime | None:
    """When the table of refusals was made again, empty, after somebody lost it; None if it never was. Raises what the
    client raises.
    """
    return made_again(client, database, [TABLE]).get(TABLE)


def _utc(time: dt.datetime) -> dt.datetime:
    return time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time.astimezone(dt.UTC)
