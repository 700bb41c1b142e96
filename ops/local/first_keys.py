"""The first channel, environment, keys and token. `axonpush up` creates them and prints them at every start."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from ops.local.data_dir import DataDir
from ops.registry.changes import RegistryWriter
from ops.registry.connection import open_bucket, open_registry
from ops.registry.key_options import KeyOptions
from ops.registry.sender_settings import SenderSettings
from ops.registry.tokens import ID_LENGTH, TokenOptions, new_token_text
from ops.runtime.failures import Conflict
from ops.runtime.registry.key_text import new_key_text
from ops.runtime.settings import Settings
from schemas.registry import key_hash
from schemas.subjects import CONSOLE_PREFIX, CONTROL_BUCKET
from schemas.web_tokens import LOGIN_CODE_ENTRY, SCOPES, login_code_hash, token_address

ORGANISATION: Final = "default"
CHANNEL: Final = 1
ENVIRONMENT: Final = "development"
FIRST_NAME: Final = "first"
REPLACED_TOKENS: Final = "replaced_tokens"
MAX_REPLACED: Final = 100
LOGIN_CODE_BYTES: Final = 24


@dataclass(frozen=True, slots=True)
class FirstKeys:
    """A secret key for servers, a public token for browsers and one for the Web API, in clear text: never log this.

    All are empty where none were made. `project` is the slug of the first channel.
    """

    api_key: str
    public_token: str
    # For the Web API. It names the console's address, so another address makes another token.
    auth_token: str = ""
    project: str = ""
    # Of the one-time link that signs in to the console's page; made at each start, and kept in no file but ready.json.
    login_code: str = ""

    def dsn(self, url: str) -> str:
        """The DSN with the public token. DSNs appear in web pages, where a secret key must not. Empty without keys."""
        if not self.public_token:
            return ""
        return SenderSettings(url, self.public_token, CHANNEL).dsn


async def ensure_first_keys(
    settings: Settings, folder: DataDir, console_url: str, *, is_embedded: bool = True
) -> FirstKeys:
    """The keys of this folder, created at the first start, and registered again on a broker that has lost them.

    A broker that is not embedded may belong to a running system: where its registry has keys, and none of this folder,
    nothing is created, because a key that nobody has asked for is an open door.
    """
    async with open_registry(settings, ORGANISATION) as registry:
        if not is_embedded and await _belongs_to_others(registry, folder):
            return FirstKeys("", "")
        await registry.ensure_environment(ENVIRONMENT)
        channels = await registry.channels()
        first = next((channel for channel in channels if channel.id == CHANNEL), None)
        if first is None:
            is_free = not any(channel.name.casefold() == FIRST_NAME for channel in channels)
            first = await registry.create_channel(CHANNEL, FIRST_NAME if is_free else "")
        stored = folder.read_credentials()
        public_token = await _usable(registry, str(stored.get("public_token", "")), public=True)
        if first.archived_at and not await registry.find(public_token):
            public_token = ""  # there is no open channel to make it for
        keys = FirstKeys(
            await _usable(registry, str(stored.get("api_key", "")), public=False),
            public_token,
            await _usable_token(registry, str(stored.get("auth_token", "")), console_url),
            first.project_slug,
        )
        replaced = replaced_tokens(stored, keys.auth_token)
        # Write the file first: otherwise the broker could have a key whose text is lost.
        stored_keys = {name: text for name, text in asdict(keys).items() if name != "login_code"}
        folder.write_json(folder.credentials, stored_keys | {REPLACED_TOKENS: replaced})
        await _register(registry, keys)
        await revoke_replaced(registry, replaced)
    return replace(keys, login_code=await new_login_code(settings, keys.auth_token))


async def new_login_code(settings: Settings, token: str) -> str:
    """The code of a link that signs in once with this token; that of an earlier start is no longer valid."""
    code = secrets.token_urlsafe(LOGIN_CODE_BYTES)
    entry = {"code": login_code_hash(code), "token": key_hash(token)}
    async with open_bucket(settings) as (client, _):
        control = await client.jetstream().key_value(CONTROL_BUCKET)
        await control.put(f"{CONSOLE_PREFIX}{LOGIN_CODE_ENTRY}", json.dumps(entry).encode())
    return code


def replaced_tokens(stored: dict[str, Any], token: str) -> list[str]:
    """Ids of the tokens that this folder had before, the newest last: each other address makes another one."""
    replaced = stored.get(REPLACED_TOKENS)
    ids = [token_id for token_id in replaced if isinstance(token_id, str)] if isinstance(replaced, list) else []
    before = str(stored.get("auth_token", ""))
    if before and before != token:
        ids.append(key_hash(before)[:ID_LENGTH])
    return [token_id for token_id in dict.fromkeys(ids) if token_id != key_hash(token)[:ID_LENGTH]][-MAX_REPLACED:]


async def revoke_replaced(registry: RegistryWriter, replaced: Collection[str]) -> None:
    """They may be in use again: a broker was lost, and an import of the registry brought them back."""
    for token in await registry.tokens.every() if replaced else ():
        if token.id in replaced and not token.revoked:
            await registry.tokens.revoke(token.id)


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


async def _usable_token(registry: RegistryWriter, text: str, console_url: str) -> str:
    """The token itself if it names this address, or a new one; the old one is revoked."""
    tokens = registry.tokens
    entry = await tokens.find(text) if text else None
    if text and token_address(text) == console_url and not (entry and entry.revoked):
        return text
    if entry and not entry.revoked:
        await tokens.revoke(text)
    return new_token_text(console_url, ORGANISATION)


async def _register(registry: RegistryWriter, keys: FirstKeys) -> None:
    grants = {
        keys.api_key: KeyOptions(environment=ENVIRONMENT, allow_environment_override=True),
        keys.public_token: KeyOptions(environment=ENVIRONMENT, public=True, channels=(CHANNEL,)),
    }
    for text, grant in grants.items():
        # A key that is known is not checked again: its channel may be archived, and the system starts all the same.
        if not text or await registry.find(text):
            continue
        try:
            await registry.mint(grant, text)
        except Conflict:  # registered by an earlier start
            continue
    with contextlib.suppress(Conflict):
        await registry.tokens.mint(TokenOptions(SCOPES, name="made by axonpush up"), keys.auth_token)
        return
    await registry.tokens.widen(keys.auth_token, SCOPES)  # an older version knew fewer scopes
