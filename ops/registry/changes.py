"""Changes channels, keys and environments in the registry bucket; every change is compare-and-swap."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import secrets
import string
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import BucketNotFoundError, KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue
from pydantic import BaseModel

from ops.cli.servers import open_nats
from ops.registry.quotas import NO_QUOTA
from ops.runtime.failures import Conflict, Failed, broker_failure
from ops.runtime.settings import Settings
from schemas.identifiers import MAX_CHANNEL_ID
from schemas.registry import (
    DEFAULT_PUBLIC_QUOTA,
    Channel,
    Environment,
    Key,
    Organisation,
    Quota,
    decode,
    key_hash,
)
from schemas.subjects import REGISTRY_BUCKET

if TYPE_CHECKING:
    from nats.aio.client import Client

# 32 letters and digits have 190 bits. Sentry SDKs accept no other characters in a DSN key.
KEY_LENGTH: Final = 32
KEY_ALPHABET: Final = string.ascii_letters + string.digits
KEY_ID_LENGTH: Final = 16
LIST_TIMEOUT_S: Final = 10.0
READS_AT_ONCE: Final = 64
CAS_ATTEMPTS: Final = 20

# Quotas by field name; None removes one.
Quotas = dict[str, int | None]
Owned = TypeVar("Owned", Channel, Environment, Key)
Found = TypeVar("Found", Channel, Environment, Key, Organisation)


def utc_now() -> str:
    """The current time as entries store it: ISO 8601, UTC, whole seconds."""
    return dt.datetime.now(dt.UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def new_key_text(*, public: bool) -> str:
    """A new key. Its text exists only here and where the caller prints it."""
    return ("pt_" if public else "ak_") + "".join(secrets.choice(KEY_ALPHABET) for _ in range(KEY_LENGTH))


@dataclass(frozen=True, slots=True)
class KeyOptions:
    """What a new key may do. `channels` None: every channel of the organisation; `origins` None: any origin.

    A quota of None means the default: DEFAULT_PUBLIC_QUOTA for a public token, no limit for a secret key. NO_QUOTA
    means no limit.
    """

    environment: str
    public: bool = False
    channels: tuple[int, ...] | None = None
    allow_environment_override: bool = False
    quota_per_minute: int | None = None
    quota_bytes_per_minute: int | None = None
    quota_rows_per_minute: int | None = None
    origins: tuple[str, ...] | None = None

    def quotas(self) -> Quotas:
        """The quota fields of the entry. Defaults are stored too, so that they are visible and can be removed."""
        default = DEFAULT_PUBLIC_QUOTA if self.public else Quota()
        return {
            "quota_per_minute": _chosen(self.quota_per_minute, default.requests),
            "quota_bytes_per_minute": _chosen(self.quota_bytes_per_minute, default.inflated_bytes),
            "quota_rows_per_minute": _chosen(self.quota_rows_per_minute, default.rows),
        }


def _chosen(given: int | None, default: int | None) -> int | None:
    if given is None:
        return default
    return None if given == NO_QUOTA else given


class RegistryWriter:
    """Changes and lists the entries of one organisation. Every method raises Failed or Conflict with what to do."""

    def __init__(
        self, jetstream: JetStreamContext, bucket: KeyValue, organisation: str, now: Callable[[], str] = utc_now
    ) -> None:
        self._jetstream = jetstream
        self._bucket = bucket
        self._reading = asyncio.Semaphore(READS_AT_ONCE)
        self._organisation = organisation
        self._now = now

    async def create_channel(self, channel_id: int | None = None, name: str = "") -> Channel:
        """Creates a channel with the given id, else the next one after the highest. Ids are unique across
        organisations.
        """
        for _ in range(CAS_ATTEMPTS):
            new_id = channel_id or await self._next_channel_id()
            channel = Channel(id=new_id, organisation=self._organisation, name=name, created_at=self._now())
            if await self._create(channel.kv_key, channel):
                return channel
            if channel_id is not None:
                raise Conflict(f"channel {channel_id} exists already: leave --id out to get the next free one")
        raise Conflict("other commands took every channel id that was tried: run this command again")

    async def channels(self) -> list[Channel]:
        """The channels of the organisation, by id."""
        return sorted(await self._list("channel.>", Channel), key=lambda channel: channel.id)

    async def create_environment(self, slug: str) -> Environment:
        """Creates an environment. Raises Conflict if the name exists."""
        if (made := await self.ensure_environment(slug)) is None:
            raise Conflict(f"environment {slug} of organisation {self._organisation} exists already")
        return made

    async def ensure_environment(self, slug: str) -> Environment | None:
        """Creates the environment if it is missing; returns None if it existed."""
        environment = Environment(organisation=self._organisation, slug=slug, created_at=self._now())
        return environment if await self._create(environment.kv_key, environment) else None

    async def environments(self) -> list[Environment]:
        """The environments of the organisation, by name."""
        environments = await self._list(f"environment.{self._organisation}.>", Environment)
        return sorted(environments, key=lambda environment: environment.slug)

    async def mint(self, grant: KeyOptions, text: str | None = None) -> tuple[str, Key]:
        """Creates a key; returns its text, which is stored nowhere, and its entry. The environment must exist.

        `text` is for `up`, which keeps its first keys in a file and registers the same ones on an empty broker.
        """
        for channel_id in grant.channels or ():
            await self._check_channel(channel_id)
        text = text or new_key_text(public=grant.public)
        key = Key(
            sha256=key_hash(text),
            organisation=self._organisation,
            kind="public" if grant.public else "secret",
            environment=grant.environment,
            channels=grant.channels,
            allow_environment_override=grant.allow_environment_override,
            origins=grant.origins,
            created_at=self._now(),
            **grant.quotas(),
        )
        if not await self._create(key.kv_key, key):
            raise Conflict(f"key {key.id} is registered already")
        return text, key

    async def find(self, text: str) -> Key | None:
        """The entry of a key, given its text."""
        with contextlib.suppress(KeyNotFoundError):
            return self._decoded(await self._bucket.get(f"key.{key_hash(text)}"), Key)
        return None

    async def keys(self) -> list[Key]:
        """The keys of the organisation, oldest first, including revoked ones."""
        return sorted(await self._list("key.>", Key), key=lambda key: (key.created_at, key.sha256))

    async def revoke(self, key_id_or_text: str) -> Key:
        """Revokes a key, given its id (as `keys list` shows it) or its text. Revoking it again is no error."""
        return await self._change(key_id_or_text, {"revoked": True})

    async def limit(self, key_id_or_text: str, quotas: Quotas) -> Key:
        """Sets quotas of a key, or removes them (None); others stay unchanged."""
        return await self._change(key_id_or_text, dict(quotas))

    async def limit_organisation(self, quotas: Quotas) -> Organisation:
        """Sets or removes (None) quotas that all keys of the organisation share; others stay unchanged."""
        kv_key = Organisation(slug=self._organisation).kv_key
        for _ in range(CAS_ATTEMPTS):
            entry = await self._entry(kv_key)
            stored = self._decoded(entry, Organisation) if entry else None
            organisation = stored or Organisation(slug=self._organisation)
            changed = organisation.model_copy(update={**quotas, "changed_at": self._now()})
            with contextlib.suppress(KeyWrongLastSequenceError):
                if entry is None:
                    await self._bucket.create(kv_key, _encode(changed))
                else:
                    await self._bucket.update(kv_key, _encode(changed), last=entry.revision)
                return changed
        raise Conflict("other commands kept changing this organisation: run this command again")

    async def organisations(self) -> list[Organisation]:
        """Every organisation with a quota, by name; others have no entry."""
        return sorted(await self._every("organisation.>", Organisation), key=lambda organisation: organisation.slug)

    async def _change(self, key_id_or_text: str, fields: dict[str, object]) -> Key:
        kv_key = (await self._named(key_id_or_text)).kv_key
        for _ in range(CAS_ATTEMPTS):
            entry = await self._bucket.get(kv_key)
            key = self._decoded(entry, Key)
            if key is None:
                raise Failed(f"the entry {kv_key} cannot be read by this version: upgrade axonpush-ingest")
            changed = key.model_copy(update=fields)
            if changed == key:
                return key
            with contextlib.suppress(KeyWrongLastSequenceError):
                await self._bucket.update(kv_key, _encode(changed), last=entry.revision)
                return changed
        raise Conflict("other commands kept changing this key: run this command again")

    async def _named(self, name: str) -> Key:
        sha256 = key_hash(name) if name.startswith(("ak_", "pt_")) else name.lower()
        matching = [key for key in await self.keys() if key.sha256.startswith(sha256)]
        if len(sha256) < KEY_ID_LENGTH or len(matching) != 1:
            # The name may be the text of a mistyped key, which must not appear on a screen or in a log.
            raise Failed(
                f"expected the {KEY_ID_LENGTH} digits of a key's id (or the key itself), found no such key in "
                f"organisation {self._organisation}: `axonpush keys list` shows the ids"
            )
        return matching[0]

    async def _check_channel(self, channel_id: int) -> None:
        owned = {channel.id for channel in await self.channels()}
        if channel_id not in owned:
            raise Failed(
                f"expected a channel of organisation {self._organisation}, found no channel {channel_id}: "
                f"`axonpush channels create --id {channel_id}` creates it, `axonpush channels list` shows all"
            )

    async def _next_channel_id(self) -> int:
        taken = await self._every("channel.>", Channel)
        next_id = max((entry.id for entry in taken), default=0) + 1
        if next_id > MAX_CHANNEL_ID:
            raise Failed(f"the highest channel id {MAX_CHANNEL_ID} is taken: name a free one with --id")
        return next_id

    async def _create(self, kv_key: str, entry: BaseModel) -> bool:
        try:
            await self._bucket.create(kv_key, _encode(entry))
        except KeyWrongLastSequenceError:
            return False
        return True

    async def _list(self, subject: str, model: type[Owned]) -> list[Owned]:
        return [entry for entry in await self._every(subject, model) if entry.organisation == self._organisation]

    async def _every(self, pattern: str, model: type[Found]) -> list[Found]:
        """Every entry whose key matches. Reads by subject, not with a watch: on a busy machine nats-py's watch may
        report its end before the first entry.
        """
        prefix = f"$KV.{REGISTRY_BUCKET}."
        async with asyncio.timeout(LIST_TIMEOUT_S):
            info = await self._jetstream.stream_info(f"KV_{REGISTRY_BUCKET}", subjects_filter=prefix + pattern)
            names = [subject.removeprefix(prefix) for subject in info.state.subjects or {}]
            entries = await asyncio.gather(*(self._entry(name) for name in names))
        return [decoded for entry in entries if entry and (decoded := self._decoded(entry, model)) is not None]

    async def _entry(self, name: str) -> KeyValue.Entry | None:
        async with self._reading:
            with contextlib.suppress(KeyNotFoundError):  # deleted after its name was listed
                return await self._bucket.get(name)
        return None

    @staticmethod
    def _decoded(entry: KeyValue.Entry, model: type[Found]) -> Found | None:
        try:
            decoded = decode(entry.key, entry.value or b"")
        except ValueError:
            return None
        return decoded if isinstance(decoded, model) else None


@contextlib.asynccontextmanager
async def open_bucket(settings: Settings) -> AsyncIterator[tuple[Client, KeyValue]]:
    """A connection and the registry bucket for one command.

    Raises Failed when the broker is away or `axonpush migrate` has not run.
    """
    async with open_nats(settings, "registry") as client:
        try:
            yield client, await client.jetstream().key_value(REGISTRY_BUCKET)
        except BucketNotFoundError as error:
            raise Failed(
                f"expected bucket {REGISTRY_BUCKET} on the broker, found none: run `axonpush migrate` first"
            ) from error
        except (NatsError, TimeoutError) as error:
            raise Failed(
                f"the broker did not complete the request: {broker_failure(error)}. Run the command again."
            ) from error


@contextlib.asynccontextmanager
async def open_registry(settings: Settings, organisation: str) -> AsyncIterator[RegistryWriter]:
    """The registry for one command. Raises Failed like `open_bucket`."""
    async with open_bucket(settings) as (client, bucket):
        yield RegistryWriter(client.jetstream(), bucket, organisation)


def _encode(entry: BaseModel) -> bytes:
    return entry.model_dump_json().encode()
