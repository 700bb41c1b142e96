"""Changes channels, keys, environments and organisations in the registry bucket; every change is compare-and-swap."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from nats.js import JetStreamContext
from nats.js.kv import KeyValue

from ops.registry.entries import CAS_ATTEMPTS, RegistryEntries
from ops.registry.key_options import KeyOptions, Quotas
from ops.registry.names import DEFAULT_ORGANISATION, KEY_ID_LENGTH, existing, key_hash_prefix, of_organisation
from ops.registry.tokens import TokenWriter
from ops.runtime.failures import Conflict, Failed
from ops.runtime.registry.key_text import new_key_text
from schemas.identifiers import MAX_CHANNEL_ID, project_slug_of
from schemas.registry import (
    Channel,
    Environment,
    Key,
    Organisation,
    key_hash,
)

Owned = TypeVar("Owned", Channel, Environment, Key)


def utc_now() -> str:
    """The current time as entries store it: ISO 8601, UTC, whole seconds."""
    return dt.datetime.now(dt.UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class OrganisationSummary:
    """One organisation with what it owns. `entry` has its name, note and quotas; its times may be empty."""

    entry: Organisation
    channels: int = 0
    archived_channels: int = 0
    keys: int = 0
    revoked_keys: int = 0
    environments: int = 0


class RegistryWriter:
    """Changes and lists the entries of one organisation. Every method raises Failed or Conflict with what to do.

    Everything is checked before the first write.
    """

    def __init__(
        self, jetstream: JetStreamContext, bucket: KeyValue, organisation: str, now: Callable[[], str] = utc_now
    ) -> None:
        self._entries = RegistryEntries(jetstream, bucket)
        self.tokens = TokenWriter(self._entries, organisation, now)
        self._organisation = organisation
        self._now = now

    # --- channels

    async def create_channel(
        self, channel_id: int | None = None, name: str = "", note: str = "", slug: str = "", *, used: int = 0
    ) -> Channel:
        """Creates a channel with the given id, else the next one after the highest, and after `used`, which rows have.

        Ids are unique across organisations, names and slugs within one. Without a slug, one is made from the name, if
        it is free.
        """
        name = name.strip()
        await self._check_channel_name(name)
        others = await self.channels()
        _check_slug(slug, others)
        slug = slug or _free_slug(name, others)
        for _ in range(CAS_ATTEMPTS):
            new_id = channel_id or await self._next_channel_id(used)
            channel = Channel(
                id=new_id, organisation=self._organisation, name=name, slug=slug, note=note, created_at=self._now()
            )
            if await self._entries.create(channel.kv_key, channel):
                return channel
            if channel_id is not None:
                owner = (await self.channel(channel_id)).organisation
                raise Conflict(
                    f"channel {channel_id} of organisation {owner} exists already: leave --id out to get the next free "
                    "one"
                )
        raise Conflict("other commands took every channel id that was tried: run this command again")

    async def channels(self) -> list[Channel]:
        """The channels of the organisation, by id."""
        return self._own(await self.all_channels())

    async def all_channels(self) -> list[Channel]:
        """The channels of all organisations, by id."""
        return sorted(await self._entries.every("channel.>", Channel), key=lambda channel: channel.id)

    async def channel(self, number: int) -> Channel:
        """A channel of any organisation. Raises Failed that names those that exist."""
        channel = await self._entries.get(f"channel.{number}", Channel)
        if channel is None:
            known = existing("channels", (str(other.id) for other in await self.all_channels()))
            raise Failed(f"expected a channel, found no channel {number}; {known}")
        return channel

    async def rename_channel(self, number: int, name: str, slug: str | None = None) -> Channel:
        """Changes the name, and with `slug` the slug; both must be unique in the organisation."""
        channel, name = await self.channel(number), name.strip()
        others = [
            other
            for other in await self.all_channels()
            if other.organisation == channel.organisation and other.id != number
        ]
        _check_name(name, others)
        _check_slug(slug or "", others)
        return await self._entries.change(channel, {"name": name} | ({"slug": slug} if slug else {}))

    async def note_channel(self, number: int, note: str) -> Channel:
        """Changes the note."""
        return await self._entries.change(await self.channel(number), {"note": note})

    async def archive_channel(self, number: int, *, archived: bool) -> Channel:
        """Closes a channel for new data, or opens it again. Doing it twice is no error."""

        def fields(stored: Channel) -> dict[str, str]:
            return {"archived_at": (stored.archived_at or self._now()) if archived else ""}

        return await self._entries.change_by(await self.channel(number), fields)

    # --- environments

    async def create_environment(self, slug: str) -> Environment:
        """Creates an environment. Raises Conflict if the name exists."""
        if (environment := await self.ensure_environment(slug)) is None:
            raise Conflict(f"environment {slug} of organisation {self._organisation} exists already")
        return environment

    async def ensure_environment(self, slug: str) -> Environment | None:
        """Creates the environment if it is missing; returns None if it existed."""
        environment = Environment(organisation=self._organisation, slug=slug, created_at=self._now())
        return environment if await self._entries.create(environment.kv_key, environment) else None

    async def environments(self) -> list[Environment]:
        """The environments of the organisation, by name."""
        environments = await self._entries.every(f"environment.{self._organisation}.>", Environment)
        return sorted(environments, key=lambda environment: environment.slug)

    # --- keys

    async def check_grant(self, grant: KeyOptions) -> None:
        """Checks what a new key refers to: the organisation and its channels. Raises Failed."""
        await self.check_organisation()
        await self._check_channels(grant)

    async def mint(self, grant: KeyOptions, text: str | None = None) -> tuple[str, Key]:
        """Creates a key; returns its text, which is stored nowhere, and its entry. The environment must exist.

        `text` is for `up`, which keeps its first keys in a file and registers the same ones on an empty broker.
        """
        text = text or new_key_text(public=grant.public)
        return text, await self.register(grant, key_hash(text))

    async def register(self, grant: KeyOptions, sha256: str) -> Key:
        """Creates the entry of a key that was made elsewhere, given the hash of its text."""
        await self._check_channels(grant)
        key = Key(
            sha256=sha256,
            organisation=self._organisation,
            kind="public" if grant.public else "secret",
            environment=grant.environment,
            channels=grant.channels,
            allow_environment_override=grant.allow_environment_override,
            origins=grant.origins,
            name=grant.name,
            note=grant.note,
            created_at=self._now(),
            **grant.quotas(),
        )
        if not await self._entries.create(key.kv_key, key):
            raise Conflict(f"key {key.id} is registered already")
        return key

    async def find(self, text: str) -> Key | None:
        """The entry of a key, given its text."""
        return await self._entries.get(f"key.{key_hash(text)}", Key)

    async def keys(self) -> list[Key]:
        """The keys of the organisation, oldest first, including revoked ones."""
        return self._own(await self.all_keys())

    async def all_keys(self) -> list[Key]:
        """The keys of all organisations, oldest first."""
        return sorted(await self._entries.every("key.>", Key), key=lambda key: (key.created_at, key.sha256))

    async def key(self, text: str, organisation: str | None = None) -> Key:
        """A key of any organisation, given its id, the key itself or its DSN; or only of this `organisation`."""
        prefix = key_hash_prefix(text)
        matching = [candidate for candidate in await self.all_keys() if prefix and candidate.sha256.startswith(prefix)]
        if len(matching) != 1:
            # The text may be a mistyped key, which must not appear on a screen or in a log.
            raise Failed(
                f"expected the {KEY_ID_LENGTH} digits of a key's id, the key itself or its DSN, found no such key: "
                "`axonpush keys list --all` shows the ids"
            )
        if organisation not in (None, matching[0].organisation):
            raise Failed(
                f"key {matching[0].id} is of organisation {matching[0].organisation}, not of {organisation}: "
                "leave --organisation out, or correct it"
            )
        return matching[0]

    async def revoke(self, text: str, organisation: str | None = None) -> Key:
        """Revokes a key of any organisation. Revoking it again is no error."""
        return await self._entries.change(await self.key(text, organisation), {"revoked": True})

    async def limit(self, text: str, quotas: Quotas, organisation: str | None = None) -> Key:
        """Sets quotas of a key, or removes them (None); others stay unchanged."""
        return await self._entries.change(await self.key(text, organisation), dict(quotas))

    async def describe_key(self, text: str, fields: dict[str, str]) -> Key:
        """Changes the name or the note of a key."""
        return await self._entries.change(await self.key(text), fields)

    # --- organisations

    async def create_organisation(self, name: str = "", note: str = "") -> Organisation:
        """Creates the organisation. Raises Conflict if it exists."""
        if self._organisation in await self.organisation_slugs():
            raise Conflict(f"organisation {self._organisation} exists already")
        entry = Organisation(slug=self._organisation, name=name, note=note, created_at=self._now())
        if not await self._entries.create(entry.kv_key, entry):
            raise Conflict(f"organisation {self._organisation} exists already")
        return entry

    async def check_organisation(self) -> None:
        """Raises Failed if the organisation does not exist, and names those that do."""
        slugs = await self.organisation_slugs()
        if self._organisation not in slugs:
            raise Failed(
                f"expected an organisation that exists, found {self._organisation}; "
                f"{existing('organisations', slugs, self._organisation)}. If it is meant: "
                f"`axonpush organisations create {self._organisation}`"
            )

    async def organisation_slugs(self) -> set[str]:
        """Every organisation that has an entry or owns something, and `default`."""
        return {summary.entry.slug for summary in await self.summaries()}

    async def change_organisation(self, fields: dict[str, object]) -> Organisation:
        """Changes an organisation's entry; older registries have none for most, so it is created if missing."""
        return await self._entries.change(
            Organisation(slug=self._organisation, created_at=self._now()), {**fields, "changed_at": self._now()}
        )

    async def limit_organisation(self, quotas: Quotas) -> Organisation:
        """Sets or removes (None) quotas that all keys of the organisation share; others stay unchanged."""
        return await self.change_organisation(dict(quotas))

    async def organisations(self) -> list[Organisation]:
        """Every organisation with an entry, by name."""
        return sorted(
            await self._entries.every("organisation.>", Organisation), key=lambda organisation: organisation.slug
        )

    async def summaries(self) -> list[OrganisationSummary]:
        """Every organisation with what it owns, by name."""
        entries = {organisation.slug: organisation for organisation in await self.organisations()}
        channels, keys = await self.all_channels(), await self.all_keys()
        environments = await self._entries.every("environment.>", Environment)
        owned: list[Channel | Key | Environment] = [*channels, *keys, *environments]
        slugs = {DEFAULT_ORGANISATION, *entries, *(entry.organisation for entry in owned)}
        return [
            OrganisationSummary(
                entries.get(slug) or Organisation(slug=slug, created_at=_first_time(owned, slug)),
                sum(channel.organisation == slug for channel in channels),
                sum(channel.organisation == slug and bool(channel.archived_at) for channel in channels),
                sum(key.organisation == slug for key in keys),
                sum(key.organisation == slug and key.revoked for key in keys),
                sum(environment.organisation == slug for environment in environments),
            )
            for slug in sorted(slugs)
        ]

    # --- checks

    async def _check_channels(self, grant: KeyOptions) -> None:
        every = {channel.id: channel for channel in await self.all_channels()} if grant.channels else {}
        own = {number: channel for number, channel in every.items() if channel.organisation == self._organisation}
        for number in grant.channels or ():
            if number in every and number not in own:
                owner = every[number].organisation
                raise Failed(
                    f"expected a channel of organisation {self._organisation}: channel {number} belongs to "
                    f"organisation {owner}; {existing(f'channels of {self._organisation}', map(str, own))}. "
                    f"For a key of {owner}, name `--organisation {owner}`"
                )
            if number not in own:
                raise Failed(
                    f"expected a channel of organisation {self._organisation}, found no channel {number}; "
                    f"{existing(f'channels of {self._organisation}', map(str, own))}. "
                    f"`axonpush channels create --id {number}{of_organisation(self._organisation)}` creates it"
                )
            if own[number].archived_at:
                raise Failed(
                    f"expected an open channel, found channel {number}, which was archived at "
                    f"{own[number].archived_at}: `axonpush channels unarchive {number}` opens it"
                )

    async def _check_channel_name(self, name: str) -> None:
        if name:
            _check_name(name, await self.channels())

    async def _next_channel_id(self, used: int) -> int:
        taken = await self._entries.every("channel.>", Channel)
        next_id = max((entry.id for entry in taken), default=0)
        next_id = max(next_id, used) + 1
        if next_id > MAX_CHANNEL_ID:
            raise Failed(f"the highest channel id {MAX_CHANNEL_ID} is taken: name a free one with --id")
        return next_id

    def _own(self, entries: list[Owned]) -> list[Owned]:
        return [entry for entry in entries if entry.organisation == self._organisation]


def _check_name(name: str, others: Iterable[Channel]) -> None:
    """Two channels of one name cannot be told apart, so upper and lower case are the same."""
    for other in others:
        if name and other.name.casefold() == name.casefold():
            archived = ", archived" if other.archived_at else ""
            raise Conflict(
                f"channel {other.id}{archived} of organisation {other.organisation} is called {other.name!r} already: "
                f"choose another name, or rename it with `axonpush channels rename {other.id} NAME`"
            )


def _check_slug(slug: str, others: Iterable[Channel]) -> None:
    for other in others:
        if slug and other.slug == slug:
            raise Conflict(
                f"channel {other.id} of organisation {other.organisation} has the slug {slug} already: choose another"
            )


def _free_slug(name: str, others: Iterable[Channel]) -> str:
    slug = project_slug_of(name)
    return "" if any(other.slug == slug for other in others) else slug


def _first_time(owned: Iterable[Channel | Key | Environment], slug: str) -> str:
    """When the first thing of an organisation without an entry was made."""
    return min((entry.created_at for entry in owned if entry.organisation == slug and entry.created_at), default="")
