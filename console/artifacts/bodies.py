"""What clients send about uploads, checked: chunks, checksums, projects, forms. Everything raises ApiError 400."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Any, Final

from console.access.bearer import project_of
from console.api.errors import ApiError
from schemas import form
from schemas.artifacts.entry import SHA1
from schemas.artifacts.zip_directory import InvalidZip, ZipLimits, read_directory, read_member
from schemas.encodings import CorruptBody, TooLarge, inflate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from console.api.request import ApiRequest

# A power of two, which sentry-cli demands.
CHUNK_BYTES: Final = 8 * 1024 * 1024
MAX_CHUNKS_PER_REQUEST: Final = 64
REQUEST_BYTES: Final = 32 * 1024 * 1024
# What the form adds to its files.
FORM_BYTES: Final = 256 * 1024
MAX_CHUNKS: Final = 4_096
MAX_FILES: Final = 10_000
MAX_TEXT: Final = 250
MAX_PROJECTS: Final = 250
_MAPPING_LIMITS: Final = ZipLimits(members=100, member_bytes=128 * 1024 * 1024, inflated_bytes=256 * 1024 * 1024)
_CHUNK_FIELDS: Final = ("file", "file_gzip")


def chunks_of(body: bytes, content_type: str) -> Iterator[bytes]:
    """The chunks of an upload, each with the bytes of its name."""
    for number, part in enumerate(_parts(body, content_type)):
        if part.name not in _CHUNK_FIELDS:
            raise ApiError(400, f"form: expected parts file or file_gzip, found {part.name[:40]!r}")
        if number == MAX_CHUNKS_PER_REQUEST:
            raise ApiError(400, f"form: expected at most {MAX_CHUNKS_PER_REQUEST} chunks in one request, found more")
        yield _chunk(part)


def _chunk(part: form.Part) -> bytes:
    name, data = part.filename or "", part.content
    if part.name == "file_gzip":
        try:
            data = inflate(data, "gzip", CHUNK_BYTES)
        except (CorruptBody, TooLarge) as error:
            raise ApiError(400, f"chunk {name[:40]}: {error}") from None
    if len(data) > CHUNK_BYTES:
        raise ApiError(400, f"chunk {name[:40]}: expected at most {CHUNK_BYTES} bytes, found {len(data)}")
    sha1 = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    if name.lower() != sha1:
        raise ApiError(400, f"chunk: expected the SHA-1 of its bytes as its name, found {name[:40]!r} for {sha1}")
    return data


def release_file_of(body: bytes, content_type: str) -> tuple[str, str, bytes, dict[str, str]]:
    """(name, dist, content, headers) of a file that is uploaded by itself."""
    texts: dict[str, str] = {}
    headers: dict[str, str] = {}
    content: bytes | None = None
    name = ""
    for part in _parts(body, content_type):
        if part.filename is not None:
            content, name = part.content, part.filename
        elif part.name == "header":
            header, _, value = part.content.decode("utf-8", "replace").partition(":")
            headers[header.strip().lower()[:100]] = value.strip()[:1_000]
        else:
            texts[part.name] = part.content.decode("utf-8", "replace")[:1_000]
    if content is None:
        raise ApiError(400, "form: expected a part file with a file name, found none")
    return texts.get("name") or name[:1_000], texts.get("dist", ""), content, headers


def mappings_of(packed: bytes) -> list[tuple[str, bytes]]:
    """(name, content) of each file in a zip of mappings."""
    file = io.BytesIO(packed)
    try:
        members = read_directory(file, _MAPPING_LIMITS)
        return [(name, read_member(file, member)) for name, member in members.items()]
    except InvalidZip as error:
        raise ApiError(400, f"file: {error}") from None


def _parts(body: bytes, content_type: str) -> list[form.Part]:
    try:
        return form.read(body, content_type)
    except form.FormError as error:
        raise ApiError(400, str(error)) from None


def sha1_of(value: Any, name: str = "checksum") -> str:
    """A SHA-1 in a document."""
    if not isinstance(value, str) or not SHA1.fullmatch(value.lower()):
        raise ApiError(400, f"{name}: expected a SHA-1 of 40 hex digits, found {str(value)[:40]!r}")
    return value.lower()


def sha1s_of(value: Any) -> list[str]:
    """The list of chunks in a document; [] if it is missing."""
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > MAX_CHUNKS:
        raise ApiError(400, f"chunks: expected a list of at most {MAX_CHUNKS} SHA-1s, found another form")
    return [sha1_of(chunk, "chunks") for chunk in value]


def short_text(document: dict[str, Any], name: str) -> str:
    """A short text in a document, '' if it is missing."""
    value = document.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise ApiError(400, f"{name}: expected a text of at most {MAX_TEXT} characters, found another form")
    return value


def projects_of(request: ApiRequest, value: Any) -> tuple[int, ...]:
    """The channels of the projects that a document names; () for none: then it is for all."""
    if value is None:
        return ()
    is_list = isinstance(value, list) and all(isinstance(slug, str | int) for slug in value)
    if not is_list or len(value) > MAX_PROJECTS:
        expected = f"projects: expected a list of at most {MAX_PROJECTS} slugs or numbers"
        raise ApiError(400, f"{expected}, found another form or a longer list")
    try:
        channel_ids = [project_of(request.services.registry_entries, request.caller, str(slug)).id for slug in value]
    except ApiError as error:
        raise ApiError(400, error.detail.replace("project:", "projects:", 1)) from None
    return tuple(sorted(set(channel_ids)))
