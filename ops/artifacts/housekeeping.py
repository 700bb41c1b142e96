"""What the janitor does for artifacts: reprocessing after late uploads; once an hour it deletes what is not needed."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import structlog
from clickhouse_connect.driver.exceptions import Error as ClickHouseError
from nats.errors import Error as NatsError

from ops.artifacts.pruning import prune
from ops.artifacts.reprocessing import ReprocessingJob, open_reprocessing
from ops.provisioning.desired_state import stored_state
from ops.replay.control import open_control
from ops.replay.run import live_pending
from ops.runtime.failures import Failed

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js import JetStreamContext

    from ops.runtime.settings import Settings

PRUNE_EVERY_S: Final = 3_600.0

log = structlog.get_logger()


async def keep_artifacts(client: Client, js: JetStreamContext, settings: Settings, interval_s: float) -> None:
    """For ever; each failure is logged once and tried again after the pause."""
    last_error, pruned_at_s = "", -PRUNE_EVERY_S
    while True:
        try:
            await _reprocess(js, settings)
            if time.monotonic() - pruned_at_s >= PRUNE_EVERY_S:
                state = await stored_state(js)
                await prune(client, settings, state.artifacts_ttl_days if state else 0)
                pruned_at_s = time.monotonic()
            last_error = ""
        except (NatsError, OSError, TimeoutError, Failed, ClickHouseError) as error:
            text = f"{type(error).__name__}: {str(error)[:300]}"
            if text != last_error:
                log.error("artifact_housekeeping_failed", error=text)
            last_error = text
        await asyncio.sleep(interval_s)


async def _reprocess(js: JetStreamContext, settings: Settings) -> None:
    store = await open_reprocessing(js)
    if store is not None:
        job = ReprocessingJob(js, await open_control(js), settings, lambda: live_pending(js))
        await job.run(store)
