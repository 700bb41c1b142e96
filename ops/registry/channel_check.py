"""A channel number that nobody has would choose nothing, and look like success."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from nats.js.errors import BucketNotFoundError

from ops.registry.changes import RegistryWriter
from ops.registry.names import DEFAULT_ORGANISATION, existing
from ops.runtime.failures import Failed
from schemas.subjects import REGISTRY_BUCKET

if TYPE_CHECKING:
    from nats.aio.client import Client


async def check_channels(client: Client, asked: Collection[int], present: Collection[int], what: str) -> None:
    """Raises Failed if a number is of no channel of the registry and of no `present` message. Raises NatsError."""
    if not (unknown := sorted(set(asked) - set(present))):
        return
    js = client.jetstream(timeout=10)
    try:
        registry = RegistryWriter(js, await js.key_value(REGISTRY_BUCKET), DEFAULT_ORGANISATION)
    except BucketNotFoundError:
        return
    known = {channel.id for channel in await registry.all_channels()}
    if missing := [number for number in unknown if number not in known]:
        names = ", ".join(map(str, missing))
        raise Failed(
            f"--channel: expected a channel, found no channel {names}, and no {what} of it; "
            f"{existing('channels', map(str, known))}. Nothing was changed."
        )
