"""After a restore of ClickHouse, makes a new RAW stream continue after the highest restored sequence.

Rows, the ledger and replays identify a body by its sequence in RAW. If a new stream started at 1, new bodies would get
the sequences of restored rows, and a replay of the new bodies would remove those rows.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from clickhouse_connect.driver.exceptions import Error as ClickHouseError

from ops.cli.servers import open_clickhouse, open_nats
from ops.provisioning.system.system_id import is_missing
from ops.runtime.failures import Failed
from ops.runtime.secret_masking import without_secrets
from ops.runtime.stream_state import REQUEST_TIMEOUT_S, stream_state
from schemas.subjects import RAW

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client as ClickHouseClient
    from nats.aio.client import Client

    from ops.runtime.settings import Settings

# Every body has a row here. The last two days are enough, because sequences grow with time.
HIGHEST: Final = """
SELECT max(origin_seq) FROM {database:Identifier}.taken_rows
WHERE minute >= (SELECT max(minute) FROM {database:Identifier}.taken_rows) - INTERVAL 2 DAY"""


# Where that table alone was lost, the rows know their bodies too.
HIGHEST_OF_ROWS: Final = "SELECT max(source_seq) FROM {database:Identifier}.event_rows"


def highest_number(settings: Settings) -> int:
    """The highest body sequence in the tables; 0 if there is none, or no tables. Raises Failed."""
    client = open_clickhouse(settings)
    try:
        return next((number for sql in (HIGHEST, HIGHEST_OF_ROWS) if (number := _highest(client, settings, sql))), 0)
    finally:
        client.close()


def _highest(client: ClickHouseClient, settings: Settings, sql: str) -> int:
    try:
        result = client.query(sql, parameters={"database": settings.clickhouse_database})
    except ClickHouseError as error:
        if is_missing(error):
            return 0
        raise Failed(f"ClickHouse at {without_secrets(settings.clickhouse_url)} refused: {error}") from error
    return int(result.result_rows[0][0] or 0)


def highest_of(client: ClickHouseClient, database: str) -> int:
    """The same of a client. Raises what the client raises."""
    return int(client.query(HIGHEST, parameters={"database": database}).result_rows[0][0] or 0)


async def continue_numbers(settings: Settings, highest: int, *, dry_run: bool) -> tuple[int, int] | None:
    """Makes an empty RAW continue after `highest`. Returns (old last sequence, new one), or None if nothing changes.

    Read `highest` before calling this. Raises Failed when RAW holds bodies with lower sequences.
    """
    async with open_nats(settings, "migrate") as client:
        state = await stream_state(client, RAW)
        if state.last_seq >= highest:
            return None
        if state.messages:
            raise Failed(
                f"expected {RAW} to continue after sequence {highest}, the highest in the tables, found {RAW} at "
                f"{state.last_seq} with {state.messages} bodies: is this ClickHouse restored beside a new broker? "
                "Do not replay: it would remove restored rows. Stop the receivers, let the workers finish, run "
                "`axonpush janitor --once --replay-horizon 0s`, then `axonpush migrate` again."
            )
        if not dry_run:
            await _begin_at(client, highest + 1)
    return state.last_seq, highest


async def _begin_at(client: Client, seq: int) -> None:
    """Sets the next sequence of an empty stream, by purging up to it."""
    answer = await client.request(
        f"$JS.API.STREAM.PURGE.{RAW}", json.dumps({"seq": seq}).encode(), timeout=REQUEST_TIMEOUT_S
    )
    if error := json.loads(answer.data).get("error"):
        raise Failed(f"the broker refused to continue {RAW} at {seq}: {error.get('description')}")
    state = await stream_state(client, RAW)
    if state.last_seq + 1 < seq:
        raise Failed(f"expected {RAW} to continue at {seq}, found it at {state.last_seq}: run `axonpush migrate` again")
