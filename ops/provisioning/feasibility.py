"""What the brokers would refuse, found before anything is changed: too few servers, or too little disk of their own.

What cannot be known from here is no obstacle: then the broker decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops.janitor.broker_limits import BrokerLimits, broker_limits
from ops.janitor.storage import greeting
from ops.provisioning.amounts import size_text
from ops.provisioning.streams import streams

if TYPE_CHECKING:
    from ops.runtime.settings import Settings
    from schemas.registry import DesiredState


@dataclass(frozen=True, slots=True)
class Feasibility:
    """One text for each thing that the brokers would refuse, and whether their limits of disk are known."""

    obstacles: list[str]
    knows_disk: bool = True


async def obstacles(settings: Settings, state: DesiredState, known: Sequence[BrokerLimits] = ()) -> Feasibility:
    """What stands in the way of this desired state. `known`: limits of brokers that are known without asking."""
    greetings, limits = await asyncio.gather(
        asyncio.gather(*map(greeting, settings.nats_servers())), broker_limits(settings)
    )
    number = servers_known([greeting for greeting in greetings if greeting])
    limits = [*limits, *known]
    return Feasibility([*_too_few_servers(state, number), *_too_little_disk(state, number, limits)], bool(limits))


def servers_known(greetings: list[dict[str, object]]) -> int | None:
    """How many brokers there are together; None if the greetings do not tell."""
    if not greetings:
        return None
    if all("cluster" not in greeting for greeting in greetings):
        return 1
    known = {
        str(url) for greeting in greetings if isinstance(urls := greeting.get("connect_urls"), list) for url in urls
    }
    return max(len(known), len(greetings)) if known else None


def _too_few_servers(state: DesiredState, number: int | None) -> list[str]:
    if number is None or number >= state.nats_replicas:
        return []
    actual = "one broker that is in no cluster" if number == 1 else f"{number} brokers"
    return [
        f"{state.nats_replicas} replicas need {state.nats_replicas} brokers in one cluster, found {actual}: start more "
        "(docs/deploy.md), or choose fewer replicas"
    ]


def _too_little_disk(state: DesiredState, number: int | None, limits: list[BrokerLimits]) -> list[str]:
    """Only where every broker holds every stream is it certain what one of them needs."""
    needed = sum(stream.max_bytes or 0 for stream in streams(state, state.nats_replicas))
    if number is None or number > state.nats_replicas:
        return []
    return [
        f"the streams together may take {size_text(needed)}, broker {limit.server} may store "
        f"{size_text(limit.storage_limit_bytes)} (max_file_store; in our files AXONPUSH_NATS_MAX_FILE_STORE): raise "
        "that, or choose smaller streams"
        for limit in limits
        if limit.storage_limit_bytes and needed > limit.storage_limit_bytes
    ]
