"""Finds the key and the channel that refusals are asked for, and the names of keys, in the registry."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from nats.errors import Error as NatsError

from ops.cli.servers import open_nats
from ops.provisioning.system.same_system import check_same_system
from ops.registry.connection import open_registry
from ops.registry.names import KEY_ID_LENGTH, existing, key_hash_prefix
from ops.runtime.failures import Failed
from schemas.subjects import OUTCOME, SOURCES

if TYPE_CHECKING:
    from ops.registry.changes import RegistryWriter
    from ops.runtime.settings import Settings
    from schemas.registry import Key

BRIEF_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Senders:
    """`key_id` is that of the wanted key, empty for all. `unreadable` says why no names are known.

    `note` says that the wanted channel does not exist: who sends to a wrong number is what one looks for.
    """

    key_id: str = ""
    keys: Mapping[str, Key] = field(default_factory=dict)
    unreadable: str = ""
    note: str = ""
    # Messages with counts that no worker has stored yet; None if the broker could not be asked.
    waiting: int | None = None

    def label(self, key_id: str) -> str:
        """Name and note of a key, empty if it has none."""
        key = self.keys.get(key_id)
        return ", ".join(filter(None, (key.name, key.note))) if key else ""


async def find_senders(settings: Settings, key: str = "", channel: int = 0) -> Senders:
    """The key by its id, its text or its DSN. Raises Failed if the key does not exist.

    Without a broker, refusals can still be read: by id, and without names. Raises Failed for tables of another system.
    """
    async with AsyncExitStack() as stack:
        try:
            registry = await stack.enter_async_context(open_registry(settings, "default"))
        except Failed as error:
            return Senders(_key_id(key), unreadable=str(error))
        await _check_systems(settings)
        key_id = (await registry.key(key)).id if key else ""
        note = await _note(registry, channel) if channel else ""
        keys = {entry.id: entry for entry in await registry.all_keys()}
    return Senders(key_id, keys, note=note, waiting=await _waiting(settings))


async def _check_systems(settings: Settings) -> None:
    """Keys of one system and counts of another would look as if nothing was refused. Raises Failed."""
    async with AsyncExitStack() as stack:
        try:
            client = await stack.enter_async_context(open_nats(settings, "refusals"))
        except Failed:  # the registry answered a moment ago; without a broker, refusals can still be read
            return
        await check_same_system(client, settings, needs_clickhouse=False, needs_tables=False)


async def _waiting(settings: Settings) -> int | None:
    """Messages that the worker of refusals has not stored yet."""
    source = SOURCES[OUTCOME]
    try:
        async with open_nats(settings, "refusals") as client:
            info = await client.jetstream(timeout=BRIEF_S).consumer_info(source.stream, source.durable)
    except (Failed, NatsError, TimeoutError):
        return None
    return (info.num_pending or 0) + (info.num_ack_pending or 0)


async def _note(registry: RegistryWriter, channel: int) -> str:
    numbers = [str(entry.id) for entry in await registry.all_channels()]
    if str(channel) in numbers:
        return ""
    return (
        f"there is no channel {channel}: {existing('channels', numbers)}. Senders with a known key are shown by the "
        "number that they named; those without one are counted together, without a channel"
    )


def _key_id(text: str) -> str:
    prefix = key_hash_prefix(text) if text else ""
    if prefix is None:  # the text may be a mistyped key, which must not appear on a screen
        raise Failed(f"--key: expected the {KEY_ID_LENGTH} digits of a key's id, the key itself or its DSN")
    return prefix[:KEY_ID_LENGTH]
