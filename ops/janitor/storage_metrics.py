"""Logs and exports which streams refuse writes and which servers have JetStream off."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog
from nats.errors import Error as NatsError
from prometheus_client import Gauge

from ops.janitor.storage import StorageRefusal, refusals, servers_without_jetstream

if TYPE_CHECKING:
    from nats.aio.client import Client

    from ops.janitor.trimming import JanitorSettings

log = structlog.get_logger()

REFUSED: Final = Gauge(
    "axonpush_storage_refused", "1 for each stream (or server) that takes no writes", ["stream", "server"]
)


async def keep_checking_storage(client: Client, settings: JanitorSettings) -> None:
    """Checks for ever; logs each problem when it starts and when it ends."""
    reported: set[StorageRefusal] = set()
    while True:
        try:
            problems = await check(client, settings)
        except (NatsError, OSError, TimeoutError):
            problems = reported  # an unreachable broker is covered by the alert BrokerUnseen
        for problem in problems - reported:
            log.error(
                "storage_refused",
                stream=problem.stream,
                server=problem.server,
                error=problem.error,
                remedy=problem.remedy,
            )
        if reported and not problems:
            log.info("storage_resumed")
        reported = problems
        await asyncio.sleep(settings.janitor_interval_s)


async def check(client: Client, settings: JanitorSettings) -> set[StorageRefusal]:
    """Checks every stream and server once. Raises NatsError, TimeoutError."""
    servers, streams = await asyncio.gather(servers_without_jetstream(settings.nats_servers()), refusals(client))
    refused_names = {*servers, *streams}
    REFUSED.clear()
    REFUSED.labels("", "").set(0)  # shows that the check runs
    for refusal in refused_names:
        REFUSED.labels(refusal.stream, refusal.server).set(1)
    return refused_names
