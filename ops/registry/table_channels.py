"""Channels that the tables have rows of, beside those of the registry: after a lost broker they differ."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from clickhouse_connect.driver.exceptions import Error as ClickHouseError
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from ops.cli.servers import open_clickhouse, open_nats
from ops.runtime.failures import Failed, not_completed
from ops.runtime.stream_state import stream_state
from schemas.subjects import OUTCOME, REGISTRY_BUCKET

if TYPE_CHECKING:
    from nats.aio.client import Client

    from ops.runtime.settings import Settings

TIMEOUT_S: Final = 5
SHOWN: Final = 8
_OWNERS: Final = (
    "SELECT channel_id, organisation FROM {table} WHERE channel_id > 0{only} GROUP BY channel_id, organisation"
)
# Rows of a channel are there only if somebody could send to it; what was refused is in other tables.
# The ledger also counts refused requests, by the channel that they named; such a channel may never have existed.
_TABLES: Final = {"event_rows": "", "taken_rows": f" AND stage != '{OUTCOME}'"}


async def table_channels(settings: Settings) -> dict[int, set[str]] | None:
    """The organisations that have rows, by channel; None if ClickHouse could not be asked."""
    try:
        async with asyncio.timeout(3 * TIMEOUT_S):
            return await asyncio.to_thread(_read, settings)
    except (ClickHouseError, Failed, OSError, TimeoutError):
        return None


def _read(settings: Settings) -> dict[int, set[str]]:
    client = open_clickhouse(settings, TIMEOUT_S)
    owners: dict[int, set[str]] = {}
    limits = {"max_execution_time": TIMEOUT_S}
    try:
        client.database = settings.clickhouse_database
        for table, only in _TABLES.items():
            query = _OWNERS.format(table=table, only=only)
            for channel, organisation in client.query(query, settings=limits).result_rows:
                owners.setdefault(int(channel), set()).add(str(organisation))
    finally:
        client.close()
    return owners


async def channel_numbers(client: Client) -> frozenset[int] | None:
    """The channels of the registry; None without a registry. Raises NatsError."""
    prefix = f"$KV.{REGISTRY_BUCKET}.channel."
    try:
        state = await stream_state(client, f"KV_{REGISTRY_BUCKET}", by_subject=True)
    except NotFoundError:
        return None
    names = (subject.removeprefix(prefix) for subject in state.by_subject if subject.startswith(prefix))
    return frozenset(int(name) for name in names if name.isdigit())


async def lost_keys(settings: Settings, *, is_new: bool) -> str:
    """What to do after a registry was lost: tables have rows of its channels. Empty if nothing is lost. Raises Failed.

    `is_new`: this registry was made just now, so that no key of any channel is in it.
    """
    async with open_nats(settings, "channels") as client:
        try:
            known, owners = await channel_numbers(client), await table_channels(settings)
        except (NatsError, TimeoutError) as error:
            raise not_completed(error) from error
    numbers = sorted(owners or ()) if is_new else sorted(set(owners or ()) - (known or frozenset()))
    if not numbers:
        return ""
    first = "the registry is new: only the keys of `up` exist. " if is_new else ""
    which = "Do this" if is_new else "If they are this system's, do this"
    return (
        f"{first}Tables hold rows of {channels_text(numbers)}{'' if is_new else ', which the registry does not know'}: "
        f"`axonpush registry import FILE` brings their keys back. {which} before you create channels or let senders in"
    )


def channels_text(numbers: list[int]) -> str:
    """`channel 1`, or `channels 1, 2 and 7 more`."""
    more = f" and {len(numbers) - SHOWN} more" if len(numbers) > SHOWN else ""
    return f"{'channel' if len(numbers) == 1 else 'channels'} {', '.join(map(str, numbers[:SHOWN]))}{more}"
