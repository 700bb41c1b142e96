"""RAW's numbers beside tables that are older than it: after a restore a new stream goes on where the lost one ended.

Rows, books and replays know a body by its number. A stream that began at 1 again would give new bodies the numbers of
restored rows, and a replay of the new ones would remove the old ones.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from clickhouse_connect.driver.exceptions import Error as ClickHouseError

from ops.cli.servers import open_clickhouse, open_nats
from ops.runtime.failures import Failed
from ops.runtime.secret_masking import without_secrets
from ops.runtime.stream_state import REQUEST_TIMEOUT_S, stream_state
from schemas.subjects import RAW

if TYPE_CHECKING:
    from nats.aio.client import Client

    from ops.runtime.settings import Settings

# Every body has a line here. Its last days are enough: numbers grow with time.
HIGHEST: Final = """
SELECT max(origin_seq) FROM {database:Identifier}.taken_rows
WHERE minute >= (SELECT max(minute) FROM {database:Identifier}.taken_rows) - INTERVAL 2 DAY"""


def highest_number(settings: Settings) -> int:
    """The highest number of a body that the tables know; 0 when they know none. Raises Failed."""
    client = open_clickhouse(settings)
    try:
        found = client.query(HIGHEST, parameters={"database": settings.clickhouse_database})
        return int(found.result_rows[0][0] or 0)
    except ClickHouseError as error:
        raise Failed(f"ClickHouse at {without_secrets(settings.clickhouse_url)} refused: {error}") from error
    finally:
        client.close()


async def continue_numbers(settings: Settings, highest: int, *, dry_run: bool) -> tuple[int, int] | None:
    """Has an empty RAW go on behind `highest`: (its last number, the new one), or None when it is there already.

    The numbers must have been read before this is called. Raises Failed when RAW holds bodies with lower ones.
    """
    async with open_nats(settings, "migrate") as client:
        found = await stream_state(client, RAW)
        if found.last_seq >= highest:
            return None
        if found.messages:
            raise Failed(
                f"expected the numbers of {RAW} to go on behind body {highest}, which the tables know, found {RAW} at "
                f"{found.last_seq} with {found.messages} bodies: is this ClickHouse restored beside a new broker? "
                "Do not replay: it would remove restored rows. Stop the receivers, let the workers finish, run "
                "`AXONPUSH_REPLAY_HORIZON_S=0 axonpush janitor --once`, then `axonpush migrate` again."
            )
        if not dry_run:
            await _begin_at(client, highest + 1)
    return found.last_seq, highest


async def _begin_at(client: Client, seq: int) -> None:
    """The first number an empty stream gives next: what a purge up to there leaves behind."""
    answer = await client.request(
        f"$JS.API.STREAM.PURGE.{RAW}", json.dumps({"seq": seq}).encode(), timeout=REQUEST_TIMEOUT_S
    )
    if error := json.loads(answer.data).get("error"):
        raise Failed(f"the broker refused to have {RAW} go on at {seq}: {error.get('description')}")
    state = await stream_state(client, RAW)
    if state.last_seq + 1 < seq:
        raise Failed(f"expected {RAW} to go on at {seq}, found it at {state.last_seq}: run `axonpush migrate` again")
