"""Keys and channels of one organisation: created, revoked, renamed. The commands `keys` and `channels` do the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from ops.operator_requests.who_asks import NotAllowed
from ops.registry.changes import RegistryWriter
from ops.registry.key_options import KeyOptions
from ops.registry.names import existing
from ops.registry.table_channels import table_channels
from ops.runtime.failures import Conflict
from schemas.operator_requests.actions import (
    CREATE_CHANNEL,
    CREATE_KEY,
    RENAME_CHANNEL,
    REVOKE_KEY,
    ChannelName,
    KeyToRevoke,
    NewChannel,
    NewKey,
)
from schemas.operator_requests.messages import OperatorRequest

if TYPE_CHECKING:
    from ops.runtime.settings import Settings
    from schemas.registry import Channel, Key

# Every receiver holds all entries in memory, so a token may not make them without end.
MAX_KEYS: Final = 1_000
MAX_CHANNELS: Final = 1_000
Change = Callable[[RegistryWriter, dict[str, Any]], Awaitable[dict[str, Any]]]


class RegistryActions:
    """The changes by the names of their actions."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._changes: dict[str, Change] = {
            CREATE_KEY: create_key,
            REVOKE_KEY: revoke_key,
            CREATE_CHANNEL: self._create_channel,
            RENAME_CHANNEL: rename_channel,
        }

    async def do(self, request: OperatorRequest, registry: RegistryWriter) -> dict[str, Any]:
        """The entry that was made or changed. Raises NotAllowed, Failed, NatsError, ValidationError."""
        return await self._changes[request.action](registry, request.given)

    async def _create_channel(self, registry: RegistryWriter, given: dict[str, Any]) -> dict[str, Any]:
        new = NewChannel.model_validate(given)
        if len(await registry.channels()) >= MAX_CHANNELS:
            raise NotAllowed(409, f"channels: expected fewer than {MAX_CHANNELS}, found as many")
        owners = await table_channels(self._settings)
        if owners is None:
            raise NotAllowed(503, "ClickHouse: expected to learn which channel numbers have rows, found no answer")
        return _channel(await registry.create_channel(None, new.name, "", new.slug, used=max(owners, default=0)))


async def create_key(registry: RegistryWriter, given: dict[str, Any]) -> dict[str, Any]:
    """A key whose text the console has made. The same request twice makes one key."""
    new = NewKey.model_validate(given)
    keys = await registry.keys()
    for key in keys:
        if key.sha256 == new.sha256:
            return _key(key)
    if len(keys) >= MAX_KEYS:
        raise NotAllowed(409, f"keys: expected fewer than {MAX_KEYS}, found as many")
    await _check_environment(registry, new)
    if new.channel is not None:
        await _check_channel(registry, new.channel)
    channels = None if new.channel is None else (new.channel,)
    grant = KeyOptions(new.environment, public=new.kind == "public", channels=channels, name=new.name.strip())
    if new.is_new_environment:
        await registry.ensure_environment(new.environment)
    return _key(await registry.register(grant, new.sha256))


async def revoke_key(registry: RegistryWriter, given: dict[str, Any]) -> dict[str, Any]:
    """Revoking it again is no error."""
    wanted = KeyToRevoke.model_validate(given).key_id
    if not any(key.id == wanted for key in await registry.keys()):
        raise NotAllowed(404, f"key: expected one of this organisation, found {wanted}")
    return _key(await registry.revoke(wanted))


async def rename_channel(registry: RegistryWriter, given: dict[str, Any]) -> dict[str, Any]:
    """Another name, and another slug if one is given."""
    new = ChannelName.model_validate(given)
    await _check_channel(registry, new.channel)
    return _channel(await registry.rename_channel(new.channel, new.name, new.slug or None))


async def _check_channel(registry: RegistryWriter, number: int) -> None:
    """Raises NotAllowed without telling whose it is. (Errors of commands name other organisations.)"""
    if not any(channel.id == number for channel in await registry.channels()):
        raise NotAllowed(404, f"channel: expected one of this organisation, found {number}")


async def _check_environment(registry: RegistryWriter, new: NewKey) -> None:
    """A mistyped name would make a second environment, which nothing removes. Raises Conflict, NotAllowed."""
    known = [environment.slug for environment in await registry.environments()]
    if new.environment in known:
        return
    if not new.is_new_environment:
        text = f"environment: expected one that exists, found {new.environment}; {existing('environments', known)}"
        raise NotAllowed(400, f"{text}. If a new one is meant, say isNewEnvironment")
    if len(known) >= MAX_KEYS:
        raise Conflict(f"environments: expected fewer than {MAX_KEYS}, found as many")


def _key(key: Key) -> dict[str, Any]:
    return {"id": key.id, **key.model_dump(mode="json", exclude={"sha256"})}


def _channel(channel: Channel) -> dict[str, Any]:
    return channel.model_dump(mode="json")
