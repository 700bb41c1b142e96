"""Registry entries as stored in the KV bucket: organisations, keys, channels and environments."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.identifiers import MAX_CHANNEL_ID, SLUG_PATTERN
from schemas.usage import Unit

Slug = Annotated[str, Field(pattern=SLUG_PATTERN)]
ChannelId = Annotated[int, Field(ge=1, le=MAX_CHANNEL_ID)]


class _RegistryEntry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


@dataclass(frozen=True, slots=True)
class Quota:
    """Limits per minute; None means no limit."""

    requests: int | None = None
    inflated_bytes: int | None = None
    rows: int | None = None

    def of(self, unit: Unit) -> int | None:
        """The limit of one unit."""
        return {Unit.REQUESTS: self.requests, Unit.BYTES: self.inflated_bytes, Unit.ROWS: self.rows}[unit]


# Default for public tokens: more than honest web pages send, less than what would overload a machine of two cores
# (docs/decisions/0018-quotas-by-cost.md).
DEFAULT_PUBLIC_QUOTA: Final = Quota(requests=120_000, inflated_bytes=3_000_000_000, rows=6_000_000)


class _Limited(_RegistryEntry):
    """An entry with quotas, each a number per minute, None for no limit. Older versions wrote only the first."""

    quota_per_minute: int | None = Field(default=None, ge=0)
    quota_bytes_per_minute: int | None = Field(default=None, ge=0)
    quota_rows_per_minute: int | None = Field(default=None, ge=0)

    @property
    def quota(self) -> Quota:
        """All three quotas."""
        return Quota(self.quota_per_minute, self.quota_bytes_per_minute, self.quota_rows_per_minute)

    @property
    def is_limited(self) -> bool:
        """Whether there is any quota."""
        return not (self.quota_per_minute is self.quota_bytes_per_minute is self.quota_rows_per_minute is None)


class Channel(_RegistryEntry):
    """A channel: a number that belongs to one organisation."""

    id: ChannelId
    organisation: Slug
    name: str = ""
    created_at: str = ""

    @property
    def kv_key(self) -> str:
        return f"channel.{self.id}"


class Environment(_RegistryEntry):
    """An environment of one organisation."""

    organisation: Slug
    slug: Slug
    created_at: str = ""

    @property
    def kv_key(self) -> str:
        return f"environment.{self.organisation}.{self.slug}"


class Organisation(_Limited):
    """The quotas of an organisation as a whole; without quotas it needs no entry."""

    slug: Slug
    changed_at: str = ""

    @property
    def kv_key(self) -> str:
        return f"organisation.{self.slug}"


class Key(_Limited):
    """A key, stored only as a hash. `id` is the first 16 digits of the hash: safe in logs, messages and rows.

    `channels` None means every channel of the organisation. `origins` are the allowed `Origin` values (public keys;
    None means any).
    """

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    organisation: Slug
    environment: Slug
    kind: Literal["secret", "public"]
    channels: tuple[ChannelId, ...] | None = None
    allow_environment_override: bool = False
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
    """The entry stored under `kv_key`; None for a kind this version does not know. Raises ValueError if malformed."""
    model = MODELS.get(kv_key.split(".", 1)[0])
    return model.model_validate_json(value) if model else None
