"""Registry entries: organisations and their keys, channels and environments as they are stored in the KV bucket."""

from __future__ import annotations

import hashlib
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_CHANNEL_ID: Final = 2**63 - 1
SLUG_PATTERN: Final = r"^[a-z0-9][a-z0-9._-]{0,63}$"
# Sentry SDKs accept only word characters in the key part of a DSN.
KEY_PATTERN: Final = r"^(ak|pt)_[A-Za-z0-9_]{16,125}$"

Slug = Annotated[str, Field(pattern=SLUG_PATTERN)]
ChannelId = Annotated[int, Field(ge=1, le=MAX_CHANNEL_ID)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Channel(_Entry):
    """A channel: a number that belongs to one organisation."""

    id: ChannelId
    organisation: Slug
    name: str = ""
    created_at: str = ""

    @property
    def kv_key(self) -> str:
        return f"channel.{self.id}"


class Environment(_Entry):
    """An environment of one organisation."""

    organisation: Slug
    slug: Slug
    created_at: str = ""

    @property
    def kv_key(self) -> str:
        return f"environment.{self.organisation}.{self.slug}"


class Organisation(_Entry):
    """What bounds an organisation as a whole; one without limits needs no entry."""

    slug: Slug
    quota_per_minute: int | None = Field(default=None, ge=0)
    changed_at: str = ""

    @property
    def kv_key(self) -> str:
        return f"organisation.{self.slug}"


class Key(_Entry):
    """A key, known by its hash only. `id` is the hash's first 16 digits: safe in logs, messages and rows.

    `channels` None means every channel of the organisation. `origins` are allowed `Origin` values (public keys; None
    means any). `quota_per_minute` None means unlimited.
    """

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    organisation: Slug
    environment: Slug
    kind: Literal["secret", "public"]
    channels: tuple[ChannelId, ...] | None = None
    allow_environment_override: bool = False
    quota_per_minute: int | None = Field(default=None, ge=0)
    origins: tuple[str, ...] | None = None
    created_at: str = ""
    revoked: bool = False

    @property
    def id(self) -> str:
        return self.sha256[:16]

    @property
    def kv_key(self) -> str:
        return f"key.{self.sha256}"


Entry = Channel | Environment | Organisation | Key
MODELS: Final[dict[str, type[Channel] | type[Environment] | type[Organisation] | type[Key]]] = {
    "channel": Channel,
    "environment": Environment,
    "organisation": Organisation,
    "key": Key,
}


def key_hash(key: str) -> str:
    """The only form in which a key is stored or compared: SHA-256 of its text, lower-case hex."""
    return hashlib.sha256(key.encode()).hexdigest()


def decode(kv_key: str, value: bytes) -> Entry | None:
    """The entry stored under `kv_key`; None for a kind this version does not know. Raises ValueError when malformed."""
    model = MODELS.get(kv_key.split(".", 1)[0])
    return model.model_validate_json(value) if model else None
