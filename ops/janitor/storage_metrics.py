"""Says again and again which stream takes no writes, and which server has JetStream off: log lines and metrics."""

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
    """Checks for ever; what is found is said when it is new, and when it is over."""
    told: set[StorageRefusal] = set()
    while True:
        try:
            found = await check(client, settings)
        except (NatsError, OSError, TimeoutError):
            found = told  # a broker that is away is BrokerUnseen's business
        for one in found - told:
            log.error("storage_refused", stream=one.stream, server=one.server, error=one.error, remedy=one.remedy)
        if told and not found:
            log.info("storage_resumed")
        told = found
        await asyncio.sleep(settings.janitor_interval_s)


async def check(client: Client, settings: JanitorSettings) -> set[StorageRefusal]:
    """One look at every stream and every server. Raises NatsError, TimeoutError."""
    servers, streams = await asyncio.gather(servers_without_jetstream(settings.nats_servers()), refusals(client))
    found = {*servers, *streams}
    REFUSED.clear()
    REFUSED.labels("", "").set(0)  # says that somebody looks
    for one in found:
        REFUSED.labels(one.stream, one.server).set(1)
    return found
