"""Parses a multipart/form-data body into parts, within limits. Parts are interpreted elsewhere.

Follows RFC 7578. The package `multipart` does the parsing; it copies nothing and reads each byte once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

MEDIA_TYPE: Final = "multipart/form-data"
# As many as items in an envelope, because each file becomes an item.
MAX_PARTS: Final = 500
MAX_HEADERS: Final = 16
MAX_HEADER_BYTES: Final = 4 * 1024
# RFC 2046 allows 70; some clients send more.
MAX_BOUNDARY_BYTES: Final = 256

_FIRST_LINE: Final = re.compile(rb"(?:\r\n)?--([^\r\n]{1,%d})\r\n" % MAX_BOUNDARY_BYTES)


class FormError(ValueError):
    """The bytes are not a form. The text says what was expected and found, and quotes nothing of the body."""


@dataclass(frozen=True, slots=True)
class Part:
    """One field. `filename` is None for plain text; `content_type` is lower-case without parameters, '' if missing."""

    name: str
    filename: str | None
    content_type: str
    content: bytes


def is_form(content_type: str) -> bool:
    """Whether a Content-Type means a form."""
    return content_type.strip().lower().startswith(MEDIA_TYPE)


def read(body: bytes, content_type: str) -> list[Part]:
    """The parts in order. Raises FormError.

    The boundary is that of the Content-Type; if it is missing there, that of the first line.
    """
    boundary = declared_boundary(content_type) or _first_line(body)
    if not boundary:
        raise FormError("form: expected a boundary in Content-Type or first line, found none; send multipart/form-data")
    return _parts(body, boundary)


def read_nested(content: bytes) -> list[Part] | None:
    """The parts of a form inside a part; None if the content does not look like one. Raises FormError."""
    boundary = _first_line(content)
    return _parts(content, boundary) if boundary else None


def declared_boundary(content_type: str) -> bytes:
    """The boundary in a Content-Type; b'' if there is none."""
    boundary: str = parse_options_header(content_type)[1].get("boundary", "")
    return boundary.encode("latin-1", "replace")[:MAX_BOUNDARY_BYTES]


def _first_line(body: bytes) -> bytes:
    match = _FIRST_LINE.match(body)
    return match[1].rstrip() if match else b""


def _parts(body: bytes, boundary: bytes) -> list[Part]:
    parts: list[Part] = []
    segment: MultipartSegment | None = None
    content: list[bytes] = []
    try:
        with _parser(boundary) as parser:
            for event in parser.parse(body) if body else ():
                if isinstance(event, MultipartSegment):
                    segment, content = event, []
                elif event is not None:
                    content.append(bytes(event))
                elif segment is not None:
                    parts.append(_part(segment, content))
    except (MultipartError, ValueError) as error:
        raise FormError(
            f"form: expected parts of multipart/form-data, found {str(error)[:120]!a} after {len(parts)} of them"
        ) from error
    return parts


def _parser(boundary: bytes) -> PushMultipartParser:
    return PushMultipartParser(
        boundary,
        max_header_size=MAX_HEADER_BYTES,
        max_header_count=MAX_HEADERS,
        max_segment_count=MAX_PARTS,
        # Accepts any bytes. Names are usually UTF-8; an invalid name must not cost the form.
        header_charset="latin-1",
    )


def _part(segment: MultipartSegment, content: list[bytes]) -> Part:
    return Part(
        name=_utf8(segment.name or ""),
        filename=None if segment.filename is None else _utf8(segment.filename),
        content_type=(segment.content_type or "").strip(),
        content=content[0] if len(content) == 1 else b"".join(content),
    )


def _utf8(text: str) -> str:
    return text.encode("latin-1", "replace").decode("utf-8", "replace")
