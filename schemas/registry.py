"""Registry entries as stored in the KV bucket: organisations, keys, tokens, channels, environments, desired state."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from schemas.identifiers import MAX_CHANNEL_ID, PROJECT_SLUG_EXPECTED, SLUG_PATTERN, is_project_slug
from schemas.usage import Unit

Slug = Annotated[str, Field(pattern=SLUG_PATTERN)]


def _is_project_slug(text: str) -> str:
    """Raises ValueError. Empty: none yet."""
    if text and not is_project_slug(text):
        raise ValueError(f"expected {PROJECT_SLUG_EXPECTED}")
    return text


ProjectSlug = Annotated[str, AfterValidator(_is_project_slug)]
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
    """A channel: a number that belongs to one organisation. The Web API calls it a project."""

    id: ChannelId
    organisation: Slug
    name: str = ""
    # Its name in addresses of the Web API; unique in the organisation. Channels of older versions have none.
    slug: ProjectSlug = ""
    note: str = ""
    created_at: str = ""
    # Empty: open. An archived channel takes no more data; its rows stay.
    archived_at: str = ""

    @property
    def kv_key(self) -> str:
        return f"channel.{self.id}"

    @property
    def project_slug(self) -> str:
        """The slug, or one made from the number. No other channel may choose that form."""
        return self.slug or f"channel-{self.id}"


class Environment(_RegistryEntry):
    """An environment of one organisation."""

    organisation: Slug
    slug: Slug
    created_at: str = ""

    @property
    def kv_key(self) -> str:
        return f"environment.{self.organisation}.{self.slug}"


class Organisation(_Limited):
    """An organisation: its name, and the quotas that all its keys share.

    Registries of older versions have an entry only for organisations with a quota; others exist by what they own.
    """

    slug: Slug
    name: str = ""
    note: str = ""
    created_at: str = ""
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
    name: str = ""
    note: str = ""
    created_at: str = ""
    revoked: bool = False

    @property
    def id(self) -> str:
        return self.sha256[:16]

    @property
    def kv_key(self) -> str:
        return f"key.{self.sha256}"


class Token(_RegistryEntry):
    """A token of the Web API, stored only as a hash. `id` is the first 16 digits of the hash, as for a key."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    organisation: Slug
    scopes: tuple[str, ...]
    name: str = ""
    created_at: str = ""
    revoked: bool = False

    @property
    def id(self) -> str:
        return self.sha256[:16]

    @property
    def kv_key(self) -> str:
        return f"token.{self.sha256}"


class DesiredState(_RegistryEntry):
    """What the system should be. `axonpush migrate` provisions by it, `axonpush cluster set` changes it.

    `version` counts the changes. None: nobody has decided yet.
    """

    KV_KEY: ClassVar[str] = "cluster.desired"

    version: int = Field(default=1, ge=1)
    changed_at: str = ""
    nats_replicas: Literal[1, 3, 5]
    raw_max_bytes: int = Field(gt=0)
    items_max_bytes: int = Field(gt=0)
    dead_max_bytes: int = Field(gt=0)
    refused_max_bytes: int = Field(gt=0)
    replay_max_bytes: int = Field(gt=0)
    idempotency_max_bytes: int = Field(gt=0)
    # Entries of older versions lack it.
    artifacts_max_bytes: int = Field(default=1024**3, gt=0)
    # Since their upload; 0: they are never deleted.
    artifacts_ttl_days: int = Field(default=90, ge=0)
    # `axonpush up` computes the sizes from the free disk space at each start.
    sizes_by_disk: bool = False
    # 0: rows are never deleted.
    clickhouse_ttl_days: int | None = Field(default=None, ge=0)
    replay_horizon_s: float | None = Field(default=None, ge=0)
    janitor_pressure: float | None = Field(default=None, gt=0, le=1)
    # Where senders reach the receivers; empty: unknown.
    public_url: str = ""
    # Random, made once; the tables of the system have it too. Empty: `migrate` of an older version made this entry.
    system_id: str = ""
    # The id before the last adoption of tables: they can be taken back from who took them.
    previous_system_id: str = ""
    # Where its tables are, as the last `migrate` found them; for messages to people who named others.
    clickhouse_database: str = ""
    clickhouse_cluster: str = ""

    @property
    def kv_key(self) -> str:
        return self.KV_KEY


Entry = Channel | Environment | Organisation | Key | Token | DesiredState
MODELS: Final[
    dict[
        str,
        type[Channel] | type[Environment] | type[Organisation] | type[Key] | type[Token] | type[DesiredState],
    ]
] = {
    "channel": Channel,
    "environment": Environment,
    "organisation": Organisation,
    "key": Key,
    "token": Token,
    "cluster": DesiredState,
}


def key_hash(key: str) -> str:
    """The only form in which a key is stored or compared: SHA-256 of its text, lower-case hex."""
    return hashlib.sha256(key.encode()).hexdigest()


def decode(kv_key: str, value: bytes) -> Entry | None:
    """The entry stored under `kv_key`; None for a kind this version does not know. Raises ValueError if malformed."""
    model = MODELS.get(kv_key.split(".", 1)[0])
    return model.model_validate_json(value) if model else None
