"""The entry of an uploaded artifact: what it contains, as the console writes it and event workers read it.

An artifact is a list of chunks in the object store and this entry beside them.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import orjson

from schemas.artifacts.bundle import BundledFile
from schemas.artifacts.zip_directory import Member

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Kinds of artifacts.
BUNDLE: Final = "bundle"
RELEASE_FILE: Final = "release_file"
PROGUARD: Final = "proguard"
DEBUG_FILE: Final = "debug_file"
KINDS: Final = (BUNDLE, RELEASE_FILE, PROGUARD, DEBUG_FILE)

SHA1: Final = re.compile(r"[0-9a-f]{40}", re.ASCII)
_VERSION: Final = 1
_MAX_ENTRY_BYTES: Final = 64 * 1024 * 1024
_CHUNK: Final = "chunk/"
# As entries were called when the first ones were stored.
_ENTRY: Final = "index/"


class InvalidEntry(ValueError):
    """The bytes are no entry that this version can read."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One artifact of an organisation. `chunks` are (SHA-1, bytes) in order.

    `channel_ids` are the channels that it is for, empty: all. `label` is what a person calls it: the name of a file,
    the url of a release file.
    """

    organisation: str
    sha1: str
    kind: str
    release: str
    dist: str
    channel_ids: tuple[int, ...]
    label: str
    size_bytes: int
    uploaded_at_ns: int
    chunks: tuple[tuple[str, int], ...]
    files: tuple[BundledFile, ...]

    @property
    def object_name(self) -> str:
        """Its entry's name in the object store."""
        return entry_name(self.organisation, self.id)

    @property
    def id(self) -> str:
        """The SHA-1 of its bytes, with a hash behind it if it has a release or a label.

        The same bytes for another release, or under another label, are another artifact.
        """
        if not self.release and not self.label:
            return self.sha1
        described = f"{self.kind}\0{self.release}\0{self.dist}\0{self.label}"
        return f"{self.sha1}.{blake2b(described.encode(), digest_size=8).hexdigest()}"


def chunk_name(organisation: str, sha1: str) -> str:
    """The name of a chunk's object. Chunks of one organisation are never asked for, or given, to another."""
    return f"{_CHUNK}{organisation}/{sha1}"


def entry_name(organisation: str, artifact_id: str) -> str:
    """The name of an entry's object."""
    return f"{_ENTRY}{organisation}/{artifact_id}"


def is_entry(name: str) -> bool:
    """Whether an object is an entry."""
    return name.startswith(_ENTRY)


def is_chunk(name: str) -> bool:
    """Whether an object is a chunk."""
    return name.startswith(_CHUNK)


def encode_artifact(artifact: Artifact) -> bytes:
    """The entry as it is stored."""
    document = {
        "v": _VERSION,
        "organisation": artifact.organisation,
        "sha1": artifact.sha1,
        "kind": artifact.kind,
        "release": artifact.release,
        "dist": artifact.dist,
        "projects": artifact.channel_ids,
        "label": artifact.label,
        "size": artifact.size_bytes,
        "uploaded_at_ns": artifact.uploaded_at_ns,
        "chunks": artifact.chunks,
        "files": [_plain_file(file) for file in artifact.files],
    }
    return zstd.compress(orjson.dumps(document))


def decode_artifact(data: bytes) -> Artifact:
    """The reverse of `encode`. Raises InvalidEntry."""
    try:
        text = zstd.ZstdDecompressor().decompress(data, _MAX_ENTRY_BYTES + 1)
        if len(text) > _MAX_ENTRY_BYTES:
            raise InvalidEntry(f"expected an entry of at most {_MAX_ENTRY_BYTES} bytes, found more")
        return _artifact(orjson.loads(text))
    except (zstd.ZstdError, orjson.JSONDecodeError, KeyError, TypeError, IndexError, ValueError) as error:
        raise InvalidEntry(f"expected the entry of an artifact, found {type(error).__name__}") from error


def _plain_file(file: BundledFile) -> tuple[Any, ...]:
    member = file.member
    location = (member.name, member.offset, member.packed_bytes, member.size_bytes, member.method, member.crc32)
    return (file.url, file.kind, file.debug_id, file.source_map, *location)


def _artifact(document: Any) -> Artifact:
    if document["v"] != _VERSION:
        raise InvalidEntry(f"expected version {_VERSION} of an entry, found {document['v']!r}")
    return Artifact(
        str(document["organisation"]),
        str(document["sha1"]),
        str(document["kind"]),
        str(document["release"]),
        str(document["dist"]),
        tuple(int(project) for project in document["projects"]),
        str(document["label"]),
        int(document["size"]),
        int(document["uploaded_at_ns"]),
        tuple((str(sha1), int(size)) for sha1, size in document["chunks"]),
        tuple(_file(*fields) for fields in document["files"]),
    )


def _file(url: str, kind: str, debug_id: str, source_map: str, *location: Any) -> BundledFile:
    return BundledFile(url, kind, debug_id, source_map, Member(*location))
