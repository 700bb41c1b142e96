"""Source maps, bundles and releases for the bench, as bundlers and sentry-cli make them, and a store for them."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from functools import cache
from random import Random
from typing import Any, Final

from schemas.artifacts.bundle import read_bundle
from schemas.artifacts.entry import BUNDLE, Artifact, chunk_name, encode_artifact
from schemas.artifacts.zip_directory import ZipLimits

ORGANISATION: Final = "default"
URL: Final = "https://shop.example/static/app.min.js"
# A map of an application of 300 files: about 7 MB with its sources.
SOURCES: Final = 300
SEGMENTS: Final = 520_000
SEGMENT_COLUMNS: Final = 12
SOURCE_BYTES: Final = 15_000
LIMITS: Final = ZipLimits(members=100_000, member_bytes=200_000_000, inflated_bytes=1_000_000_000)
_DIGITS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


class StoreInMemory:
    """Of an object store, what a worker reads."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}

    def put(self, artifact: Artifact, data: bytes) -> None:
        """Stores an artifact of one chunk."""
        self._objects[chunk_name(artifact.organisation, artifact.sha1)] = data
        self._objects[artifact.object_name] = encode_artifact(artifact)

    async def get(self, name: str) -> bytes | None:
        """The bytes of an object; None if there is none."""
        return self._objects.get(name)


def source_map(number: int) -> bytes:
    """A map of one line of minified code; each `number` is another build, whose sources compress about as code does."""
    random = Random(number)
    texts = [random.randbytes(SOURCE_BYTES // 4).hex("\n", -30) * 2 for _ in range(SOURCES)]
    return json.dumps(
        {
            "version": 3,
            "sources": [f"../src/part{source}.js" for source in range(SOURCES)],
            "sourcesContent": texts,
            "names": [f"function{name}" for name in range(SEGMENTS // SOURCES)],
            "mappings": mappings(),
        }
    ).encode()


def bundle(release: str, files: dict[str, tuple[str, bytes]]) -> bytes:
    """An artifact bundle; `files` are type and content by address."""
    packed = io.BytesIO(b"SYSB\x02\0\0\0")
    packed.seek(8)
    manifest: dict[str, Any] = {"org": ORGANISATION, "release": release, "files": {}}
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_DEFLATED) as archive:
        for number, (url, (kind, content)) in enumerate(files.items()):
            headers = {"Sourcemap": f"{url.rpartition('/')[2]}.map"} if kind == "minified_source" else {}
            manifest["files"][f"files/{number}"] = {"type": kind, "url": url, "headers": headers}
            archive.writestr(f"files/{number}", content)
        archive.writestr("manifest.json", json.dumps(manifest))
    return packed.getvalue()


def application(number: int) -> tuple[str, bytes]:
    """(release, bundle): one minified file and its map."""
    release = f"shop@{number}"
    minified = b"(()=>{" + b"a" * 1_000 + b"})();\n//# sourceMappingURL=app.min.js.map\n"
    files = {
        "~/static/app.min.js": ("minified_source", minified),
        "~/static/app.min.js.map": ("source_map", source_map(number)),
    }
    return release, bundle(release, files)


def artifact_of(data: bytes) -> Artifact:
    """The entry of a bundle that is stored as one chunk. Raises InvalidBundle."""
    sha1 = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    read = read_bundle(io.BytesIO(data), LIMITS)
    chunks = ((sha1, len(data)),)
    return Artifact(ORGANISATION, sha1, BUNDLE, read.release, read.dist, (), "", len(data), 1, chunks, read.files)


@cache
def mappings() -> str:
    """Segments of five numbers: column, source, line, column and name, each as the difference to the one before."""
    random, of_file, pieces = Random(7), SEGMENTS // SOURCES, []
    for source in range(SOURCES):
        line = name = 0
        for segment in range(of_file):
            steps = random.randint(0, 1), random.randint(0, 40) - 20 * (segment % 2), random.randint(0, 1)
            line, name = line + steps[0], name + steps[2]
            pieces.append("".join(map(_vlq, (SEGMENT_COLUMNS, 0, steps[0], abs(steps[1]), steps[2]))))
        last = f"{_vlq(SEGMENT_COLUMNS)}{_vlq(1)}{_vlq(-line)}{_vlq(0)}{_vlq(-name)}"
        pieces.append(last if source < SOURCES - 1 else _vlq(SEGMENT_COLUMNS))
    return ",".join(pieces)


def _vlq(value: int) -> str:
    number = (-value << 1) | 1 if value < 0 else value << 1
    digits = ""
    while True:
        number, low = number >> 5, number & 31
        digits += _DIGITS[low | (32 if number else 0)]
        if not number:
            return digits
