"""Finds the key and the channel that refusals are asked for, and the names of keys, in the registry."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ops.registry.changes import open_registry
from ops.registry.names import KEY_ID_LENGTH, key_hash_prefix
from ops.runtime.failures import Failed

if TYPE_CHECKING:
    from ops.runtime.settings import Settings
    from schemas.registry import Key


@dataclass(frozen=True, slots=True)
class Senders:
    """`key_id` is that of the wanted key, empty for all. `unreadable` says why no names are known."""

    key_id: str = ""
    keys: Mapping[str, Key] = field(default_factory=dict)
    unreadable: str = ""

    def label(self, key_id: str) -> str:
        """Name and note of a key, empty if it has none."""
        key = self.keys.get(key_id)
        return ", ".join(filter(None, (key.name, key.note))) if key else ""


async def find_senders(settings: Settings, key: str = "", channel: int = 0) -> Senders:
    """The key by its id, its text or its DSN. Raises Failed if the key or the channel does not exist.

    Without a broker, refusals can still be read: by id, and without names.
    """
    async with AsyncExitStack() as stack:
        try:
            registry = await stack.enter_async_context(open_registry(settings, "default"))
        except Failed as error:
            return Senders(_key_id(key), unreadable=str(error))
        key_id = (await registry.key(key)).id if key else ""
        if channel:
            await registry.channel(channel)
        return Senders(key_id, {one.id: one for one in await registry.all_keys()})


def _key_id(text: str) -> str:
    prefix = key_hash_prefix(text) if text else ""
    if prefix is None:  # the text may be a mistyped key, which must not appear on a screen
        raise Failed(f"--key: expected the {KEY_ID_LENGTH} digits of a key's id, the key itself or its DSN")
    return prefix[:KEY_ID_LENGTH]
