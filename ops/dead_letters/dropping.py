"""Drops dead letters and records it in ClickHouse: for commands, and for people on the console's page."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from clickhouse_connect.driver.exceptions import Error as ClickHouseError

from ops.cli.servers import open_clickhouse
from ops.runtime.failures import Failed

if TYPE_CHECKING:
    from ops.dead_letters.actions import DeadLetter, DeadStream
    from ops.runtime.settings import Settings


async def drop(stream: DeadStream, settings: Settings, dead_letters: Sequence[DeadLetter]) -> int:
    """Returns the generation. Raises Failed; dead letters that are still listed were not dropped."""
    await stream.check_tables(settings)
    clickhouse = await asyncio.to_thread(open_clickhouse, settings)
    clickhouse.database = settings.clickhouse_database
    try:
        return await stream.drop(dead_letters, clickhouse)
    except ClickHouseError as error:
        raise Failed(f"ClickHouse refused: {error}. Dead letters that are still listed were not dropped.") from error
    finally:
        clickhouse.close()
