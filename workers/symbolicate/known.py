"""Which artifacts exist, in memory: by debug id, and by release and address. No I/O; follow.py keeps it up to date.

Every event asks here first, so a question costs a look into a dict. Only hashes are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from schemas.artifacts.entry import Artifact

# Of all artifacts together; the oldest are forgotten first (memory: docs/decisions/0050-symbolication.md).
MAX_KEYS: Final = 2_000_000
# A key of an artifact that is for every channel.
ANY_CHANNEL: Final = 0

_Key = int


class KnownArtifacts:
    """Keys of artifacts. Of two artifacts with the same file the later one counts."""

    def __init__(self, max_keys: int = MAX_KEYS) -> None:
        self._max_keys = max_keys
        self._names: dict[str, tuple[_Key, ...]] = {}
        self._by_key: dict[_Key, str] = {}
        self._releases: set[_Key] = set()
        self._organisations: set[str] = set()

    def __len__(self) -> int:
        return len(self._names)

    def add(self, artifact: Artifact) -> None:
        """An artifact that was uploaded, or uploaded again."""
        self.remove(artifact.object_name)
        keys = tuple(_keys_of(artifact))
        self._organisations.add(artifact.organisation)
        while self._names and len(self._by_key) + len(keys) > self._max_keys:
            self.remove(next(iter(self._names)))
        self._names[artifact.object_name] = keys
        self._by_key.update(dict.fromkeys(keys, artifact.object_name))
        if artifact.release:
            self._releases.add(_release_key(artifact.organisation, artifact.release))

    def remove(self, name: str) -> bool:
        """Removes a deleted artifact; returns whether it was known.

        An older artifact with the same files is found again at the next resync (follow.py).
        """
        keys = self._names.pop(name, None)
        if keys is None:
            return False
        for key in keys:
            if self._by_key.get(key) == name:
                del self._by_key[key]
        return True

    def clear(self) -> None:
        """Everything is about to be read again."""
        self._names.clear()
        self._by_key.clear()
        self._releases.clear()
        self._organisations.clear()

    def has_organisation(self, organisation: str) -> bool:
        """Whether there was an artifact of this organisation."""
        return organisation in self._organisations

    def by_debug_id(self, organisation: str, debug_id: str) -> str:
        """The name of the artifact that has a debug id; '' if none is known."""
        return self._by_key.get(_id_key(organisation, debug_id), "")

    def by_url(self, organisation: str, channel_id: int, release: tuple[str, str], url: str) -> str:
        """The name of the artifact that has the file served at `url` in (release, dist); '' if none is known."""
        for channel in (channel_id, ANY_CHANNEL):
            if name := self._by_key.get(_url_key(organisation, channel, release, url)):
                return name
        return ""

    def has_release(self, organisation: str, release: str) -> bool:
        """Whether there was an artifact of this release."""
        return _release_key(organisation, release) in self._releases


def _keys_of(artifact: Artifact) -> Iterator[_Key]:
    """Every key by which one of its files may be asked for."""
    for file in artifact.files:
        if file.debug_id:
            yield _id_key(artifact.organisation, file.debug_id)
        if artifact.release and file.url:
            release = (artifact.release, artifact.dist)
            for channel in artifact.channel_ids or (ANY_CHANNEL,):
                yield _url_key(artifact.organisation, channel, release, file.url)


def _id_key(organisation: str, debug_id: str) -> _Key:
    return hash((organisation, debug_id))


def _url_key(organisation: str, channel_id: int, release: tuple[str, str], url: str) -> _Key:
    return hash((organisation, channel_id, *release, url))


def _release_key(organisation: str, release: str) -> _Key:
    return hash((organisation, "release", release))
