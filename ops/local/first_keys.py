"""The first channel, environment and keys. `axonpush up` creates them and prints them at every start."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

from ops.local.data_dir import DataDir
from ops.registry.changes import KeyOptions, RegistryWriter, new_key_text, open_registry
from ops.registry.sender_settings import SenderSettings
from ops.runtime.failures import Conflict
from ops.runtime.settings import Settings
from schemas.registry import key_hash

ORGANISATION: Final = "default"
CHANNEL: Final = 1
ENVIRONMENT: Final = "development"
FIRST_NAME: Final = "first"


@dataclass(frozen=True, slots=True)
class FirstKeys:
    """A secret key for servers and a public token for browsers, in clear text: never log this.

    Both are empty where none were made.
    """

    api_key: str
    public_token: str

    def dsn(self, url: str) -> str:
        """The DSN with the public token. DSNs appear in web pages, where a secret key must not. Empty without keys."""
        if not self.public_token:
            return ""
        return SenderSettings(url, self.public_token, CHANNEL).dsn


async def ensure_first_keys(settings: Settings, folder: DataDir, *, is_embedded: bool = True) -> FirstKeys:
    """The keys of this folder, created at the first start, and registered again on a broker that has lost them.

    A broker that is not embedded may belong to a running system: where its registry has keys, and none of this folder,
    nothing is created, because a key that nobody has asked for is an open door.
    """
    async with open_registry(settings, ORGANISATION) as registry:
        if not is_embedded and await _belongs_to_others(registry, folder):
            return FirstKeys("", "")
        await registry.ensure_environment(ENVIRONMENT)
        channels = await registry.channels()
        if not any(channel.id == CHANNEL for channel in channels):
            is_free = not any(channel.name.casefold() == FIRST_NAME for channel in channels)
            await registry.create_channel(CHANNEL, FIRST_NAME if is_free else "")
        stored = folder.read_credentials()
        keys = FirstKeys(
            await _usable(registry, str(stored.get("api_key", "")), public=False),
            await _usable(registry, str(stored.get("public_token", "")), public=True),
        )
        # Write the file first: otherwise the broker could have a key whose text is lost.
        folder.write_json(folder.credentials, asdict(keys))
        await _register(registry, keys)
    return keys


async def _belongs_to_others(registry: RegistryWriter, folder: DataDir) -> bool:
    """Whether the registry has keys, but not the keys of this folder."""
    stored = folder.read_credentials()
    own = {key_hash(str(stored[name])) for name in ("api_key", "public_token") if stored.get(name)}
    known = {key.sha256 for key in await registry.all_keys()}
    return bool(known) and not own & known


async def _usable(registry: RegistryWriter, text: str, *, public: bool) -> str:
    """The key itself, or a new one if it is missing or revoked."""
    key = await registry.find(text) if text else None
    return new_key_text(public=public) if not text or (key and key.revoked) else text


async def _register(registry: RegistryWriter, keys: FirstKeys) -> None:
    grants = {
        keys.api_key: KeyOptions(environment=ENVIRONMENT, allow_environment_override=True),
        keys.public_token: KeyOptions(environment=ENVIRONMENT, public=True, channels=(CHANNEL,)),
    }
    for text, grant in grants.items():
        try:
            await registry.mint(grant, text)
        except Conflict:  # registered by an earlier start
            continue
