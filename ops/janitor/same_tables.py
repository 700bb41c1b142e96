"""Which broker and tables a janitor works on; it deletes nothing where they belong to two systems."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from clickhouse_connect.driver.exceptions import Error as ClickHouseError

from ops.cli.servers import open_clickhouse
from ops.provisioning.desired_state import FIELDS, stored_state
from ops.provisioning.system.refusals import short
from ops.provisioning.system.same_system import BRIEF_S
from ops.provisioning.system.system_id import IdsOfTables, mismatch, tables_ids
from ops.runtime.failures import Failed
from ops.runtime.secret_masking import without_secrets

if TYPE_CHECKING:
    from nats.aio.client import Client

    from ops.runtime.settings import Settings


async def worked_on(client: Client, settings: Settings) -> tuple[str, bool]:
    """Broker and tables in words, and whether the tables could be asked. Raises Failed for two systems, NatsError.

    A ClickHouse that does not answer is no reason to stop: RAW would fill, and senders would be refused.
    """
    state = await stored_state(client.jetstream(timeout=5))
    of_broker = state.system_id if state else ""
    try:
        ids = await asyncio.to_thread(_ids, settings)
        is_known, of_tables = True, f"system {short(ids.current)}" if ids else "no tables"
    except (ClickHouseError, Failed):
        ids, is_known, of_tables = None, False, "does not answer this janitor"
    if ids and ids.current and (wrong := mismatch(state, ids.current, settings, ids)):
        raise Failed(f"{wrong}. Nothing was removed.")
    tables = f"database {settings.clickhouse_database} at {without_secrets(settings.clickhouse_url)} ({of_tables})"
    return f"the broker at {settings.nats_addresses()} (system {short(of_broker)}), {tables}", is_known


def _ids(settings: Settings) -> IdsOfTables | None:
    client = open_clickhouse(settings, BRIEF_S)
    try:
        return tables_ids(client, settings.clickhouse_database)
    finally:
        client.close()


async def check_horizon(client: Client, settings: Settings, asked_s: float, kept_s: float) -> None:
    """Raises Failed for a shorter time than the one that is kept in the cluster; `kept_s` is for a new system."""
    state = await stored_state(client.jetstream(timeout=5))
    if state is not None and state.replay_horizon_s is not None:
        kept_s = state.replay_horizon_s
    field = FIELDS["replay_horizon_s"]
    if asked_s < kept_s:
        raise Failed(
            f"expected --replay-horizon of at least {field.shown(kept_s)}, as this system keeps bodies for replays, "
            f"found {field.shown(asked_s)}: younger bodies would be deleted from the broker at "
            f"{settings.nats_addresses()}, and no replay makes their rows again. Add --allow-lowering if that is "
            "meant. Nothing was removed."
        )
