"""Reads an artifact bundle: eight bytes of header, then a zip with `manifest.json`, as Sentry's tools make it.

The manifest decides what is in the bundle. Paths and the case of header names differ between the tools.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import orjson

from schemas.artifacts.debug_ids import debug_id
from schemas.artifacts.zip_directory import InvalidZip, Member, ZipLimits, read_directory, read_member

MAGIC: Final = b"SYSB"
MANIFEST: Final = "manifest.json"
MANIFEST_BYTES: Final = 32 * 1024 * 1024
MAX_TEXT: Final = 1_024
_HEADER_BYTES: Final = 8
_SOURCE_MAP_HEADERS: Final = ("sourcemap", "x-sourcemap")

SOURCE_MAP: Final = "source_map"
MINIFIED_SOURCE: Final = "minified_source"


class InvalidBundle(ValueError):
    """The bytes are no artifact bundle that we accept; the text goes to the uploader."""


@dataclass(frozen=True, slots=True)
class BundledFile:
    """One file: the address that it was served at, what it is, and the member that has its bytes.

    `source_map` is what it says about its source map: an address relative to its own.
    """

    url: str
    kind: str
    debug_id: str
    source_map: str
    member: Member


@dataclass(frozen=True, slots=True)
class Bundle:
    """An artifact bundle; fields that its manifest lacks are empty."""

    release: str
    dist: str
    debug_id: str
    files: tuple[BundledFile, ...]


def is_bundle(head: bytes) -> bool:
    """Whether a file that begins so is an artifact bundle."""
    return head.startswith(MAGIC)


def read_bundle(file: BinaryIO, limits: ZipLimits) -> Bundle:
    """Reads and checks the whole bundle: every member is unpacked once, and its checksum compared. Raises
    InvalidBundle.
    """
    file.seek(0)
    head = file.read(_HEADER_BYTES)
    if not is_bundle(head):
        raise InvalidBundle(f"expected an artifact bundle, which begins with {MAGIC!r}, found {head[:4]!r}")
    try:
        members = read_directory(file, limits)
        manifest = _manifest(file, members)
        files = tuple(_file(path, about, members) for path, about in _described(manifest))
        for member in members.values():
            read_member(file, member)
    except InvalidZip as error:
        raise InvalidBundle(str(error)) from error
    return Bundle(_text(manifest, "release"), _text(manifest, "dist"), debug_id(manifest.get("debug_id")), files)


def _manifest(file: BinaryIO, members: Mapping[str, Member]) -> dict[str, Any]:
    member = members.get(MANIFEST)
    if member is None:
        raise InvalidBundle(f"expected a file {MANIFEST} in the bundle, found none")
    if member.size_bytes > MANIFEST_BYTES:
        raise InvalidBundle(f"{MANIFEST}: expected at most {MANIFEST_BYTES} bytes, found {member.size_bytes}")
    try:
        manifest = orjson.loads(read_member(file, member))
    except orjson.JSONDecodeError as error:
        raise InvalidBundle(f"{MANIFEST}: expected JSON, found other bytes: {error}") from error
    if manifest.__class__ is not dict:
        raise InvalidBundle(f"{MANIFEST}: expected an object, found {type(manifest).__name__}")
    return manifest


def _described(manifest: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    files = manifest.get("files")
    if files is None:
        return []
    if files.__class__ is not dict or any(about.__class__ is not dict for about in files.values()):
        raise InvalidBundle(f"{MANIFEST}: expected `files` to be an object of objects, found another form")
    return list(files.items())


def _file(path: str, about: dict[str, Any], members: Mapping[str, Member]) -> BundledFile:
    member = members.get(path)
    if member is None:
        raise InvalidBundle(f"{MANIFEST}: expected the file {path[:80]!r} in the zip, found none")
    headers = _headers(about.get("headers"))
    source_map = next((headers[name] for name in _SOURCE_MAP_HEADERS if name in headers), "")
    return BundledFile(
        _text(about, "url"), _text(about, "type"), debug_id(headers.get("debug-id")), source_map[:MAX_TEXT], member
    )


def _headers(value: Any) -> dict[str, str]:
    if value.__class__ is not dict:
        return {}
    return {name.lower(): text for name, text in value.items() if text.__class__ is str}


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    return value[:MAX_TEXT] if value.__class__ is str else ""
