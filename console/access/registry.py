"""Organisations, projects and tokens in memory, updated from the broker's bucket. A request waits for nothing.

ops/runtime/registry/follow.py says how. Entries of sender keys are kept too, as hashes: `/projects/…/keys/` lists them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from console import metrics
from ops.runtime.registry.follow import CHANGE_TIMEOUT_S, RegistryFollower, entry_of
from ops.runtime.registry.registry_log import RegistryEntryChange, RegistryLog
from schemas.registry import Channel, Environment, Key, Organisation, Token

if TYPE_CHECKING:
    from nats.aio.client import Client

RESYNC_S: Final = 60.0

KnownEntry = Channel | Environment | Organisation | Token | Key


class KnownEntries:
    """The entries by name. No I/O."""

    def __init__(self) -> None:
        self._entries: dict[str, KnownEntry] = {}
        self._hashes_of_tokens: dict[str, str] = {}
        self.revision = 0

    def begin(self) -> None:
        """Nothing to do: what is held serves on until `replace`."""

    def replace(self, changes: Iterable[RegistryEntryChange]) -> None:
        """Everything again, from a snapshot."""
        self._entries, self.revision = {}, 0
        for change in changes:
            self.put(change)

    def put(self, change: RegistryEntryChange) -> None:
        """One change of the bucket."""
        self.revision = max(self.revision, change.revision)
        self._entries.pop(change.name, None)
        entry = entry_of(change)
        if isinstance(entry, Channel | Environment | Organisation | Token | Key):
            self._entries[change.name] = entry
        if isinstance(entry, Token):
            self._hashes_of_tokens[entry.id] = entry.sha256

    def token(self, sha256: str) -> Token | None:
        """The token of this hash, revoked ones too."""
        token = self._entries.get(f"token.{sha256}")
        return token if isinstance(token, Token) else None

    def token_of_id(self, token_id: str) -> Token | None:
        """The token of this id, revoked ones too."""
        return self.token(self._hashes_of_tokens.get(token_id, ""))

    def organisation(self, slug: str) -> Organisation:
        """Its entry; organisations of older registries have none and exist by what they own."""
        organisation = self._entries.get(f"organisation.{slug}")
        return organisation if isinstance(organisation, Organisation) else Organisation(slug=slug)

    def organisations(self) -> set[str]:
        """All that own a channel."""
        return {channel.organisation for channel in self._entries.values() if isinstance(channel, Channel)}

    def projects(self, organisation: str) -> list[Channel]:
        """The channels of an organisation, by number."""
        channels = (channel for channel in self._entries.values() if isinstance(channel, Channel))
        own = (channel for channel in channels if channel.organisation == organisation)
        return sorted(own, key=lambda channel: channel.id)

    def project(self, organisation: str, slug_or_number: str) -> Channel | None:
        """A channel by its slug or number; None if this organisation has no such one."""
        for channel in self.projects(organisation):
            if slug_or_number in (channel.project_slug, str(channel.id)):
                return channel
        return None

    def environments(self, organisation: str) -> list[Environment]:
        """The environments of an organisation, by name."""
        environments = (environment for environment in self._entries.values() if isinstance(environment, Environment))
        own = (environment for environment in environments if environment.organisation == organisation)
        return sorted(own, key=lambda environment: environment.slug)

    def keys(self, organisation: str, channel: int) -> list[Key]:
        """The keys that may send to a channel, oldest first."""
        keys = (key for key in self._entries.values() if isinstance(key, Key))
        own = (key for key in keys if key.organisation == organisation)
        usable = (key for key in own if key.channels is None or channel in key.channels)
        return sorted(usable, key=lambda key: (key.created_at, key.sha256))


class FollowedRegistry(RegistryFollower):
    """A copy of the broker's registry. `run` keeps it up to date until it is cancelled."""

    def __init__(self, client: Client, clock: Callable[[], float] = time.monotonic) -> None:
        self.entries = KnownEntries()
        super().__init__(RegistryLog(client, CHANGE_TIMEOUT_S), self.entries, RESYNC_S, clock)
        metrics.REGISTRY_AGE_SECONDS.set_function(self.age_s)
