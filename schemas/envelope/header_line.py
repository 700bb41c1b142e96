"""Parses one header line of a Sentry envelope: its end, its JSON, and errors about it.

body.py knows the meaning of the names in a header.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final, NamedTuple

import orjson

# Twice what other servers allow. The envelope header is copied to each of up to 500 items, so this also limits how much
# splitting can multiply a body: 8 MB.
MAX_HEADER_BYTES: Final = 16 * 1024
# Maximum lists and objects in one header. SDKs use three or four.
MAX_BRACKETS: Final = 1_000
MAX_DEPTH: Final = 128  # maximum depth of a header; orjson writes at most 254 levels, and a header is written again

_OPENING_BRACE: Final = 0x7B
_BLANKS = re.compile(rb"[ \t\r\n]*")
_REST_OF_LINE = re.compile(rb"[ \t\r]*(?:\n|\Z)")
# A string, a bracket, or an unterminated string. Possessive, so it cannot backtrack. The closing quote is optional:
# otherwise each quote in an unterminated string would be tried as a start.
_STRUCTURE = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?P<end>")?|[{}\[\]]', re.DOTALL)


class Place(NamedTuple):
    """A position in an envelope: a byte of the decompressed body, and its item (None: the envelope header)."""

    offset: int
    item_index: int | None


class EnvelopeError(ValueError):
    """The bytes are not an envelope. `offset` counts decompressed bytes; `item_index` is None in the header.

    The text is one sentence that is safe to answer with and to log: of the body it quotes only single bytes, numbers,
    and at most 40 characters of a malformed event id.
    """

    def __init__(self, place: Place, expected: str, actual: str, remedy: str) -> None:
        self.offset, self.item_index = place
        self.expected = expected
        self.actual = actual
        where = "envelope header" if place.item_index is None else f"item {place.item_index}"
        super().__init__(f"envelope byte {place.offset}, {where}: expected {expected}, found {actual}; {remedy}")


class Line(NamedTuple):
    """A parsed header: `raw` is its JSON on one line, `after` is the position behind its newline.

    `is_crlf`: a CR preceded the newline; `was_repaired`: values that JSON does not allow were replaced.
    """

    place: Place
    fields: dict[str, Any]
    raw: bytes
    after: int
    is_crlf: bool
    was_repaired: bool


def skip_blanks(body: bytes, position: int) -> int:
    """The position of the first byte from `position` on that is not JSON white space."""
    match = _BLANKS.match(body, position)
    return match.end() if match else position


def read_line(body: bytes, place: Place, unique_names: tuple[bytes, ...]) -> Line:
    """Parses the header at `place`; `unique_names`, in quotes, may occur once. Raises EnvelopeError.

    A line that orjson parses takes the fast path. Anything else is parsed leniently or refused.
    """
    start = place.offset
    end = body.find(b"\n", start, start + MAX_HEADER_BYTES + 1)
    end = end if end >= 0 else len(body)
    if end - start > MAX_HEADER_BYTES:
        return _read_spread(body, place, unique_names)
    line = body[start:end]
    try:
        fields = orjson.loads(line)
    except ValueError:
        return _read_spread(body, place, unique_names)
    if not isinstance(fields, dict):
        raise _no_object(body, place)
    if line.count(b"{") + line.count(b"[") > MAX_DEPTH:
        _object_end(body, place)
    if b"\\" in line or _has_twice(line, unique_names):
        _check_names(_pairs(line.decode()), unique_names, place)
    return Line(place, fields, line.rstrip(), min(end + 1, len(body)), line.endswith(b"\r"), was_repaired=False)


def _has_twice(line: bytes, names: tuple[bytes, ...]) -> bool:
    for name in names:  # noqa: SIM110 - any() of a generator takes three times as long
        if line.count(name) > 1:
            return True
    return False


def _read_spread(body: bytes, place: Place, unique_names: tuple[bytes, ...]) -> Line:
    """Parses a header over several lines, or one that only a lenient parser accepts. Raises EnvelopeError."""
    if body[place.offset] != _OPENING_BRACE:
        raise _no_object(body, place)
    end = _object_end(body, place)
    rest = _REST_OF_LINE.match(body, end)
    if rest is None:
        raise EnvelopeError(
            Place(end, place.item_index),
            "a newline after the header's closing brace",
            found_byte(body, skip_blanks(body, end)),
            "put each header on a line of its own that ends with LF",
        )
    # A newline outside of strings is a blank, and JSON allows none inside: one line means the same.
    raw = body[place.offset : end].replace(b"\n", b" ").replace(b"\r", b" ")
    fields, was_repaired = _load(raw, unique_names, place)
    return Line(place, fields, raw, rest.end(), rest[0].endswith(b"\r\n"), was_repaired)


def _object_end(body: bytes, place: Place) -> int:
    """The position after the brace that closes the object; EnvelopeError if it is too far, too deep or missing."""
    depth = brackets = 0
    limit = place.offset + MAX_HEADER_BYTES
    for match in _STRUCTURE.finditer(body, place.offset, limit):
        token = match[0]
        if token in b"{[":
            depth += 1
            brackets += 1
            if depth > MAX_DEPTH:
                raise _too_deep(Place(match.start(), place.item_index))
            if brackets > MAX_BRACKETS:
                raise _too_many(Place(match.start(), place.item_index))
        elif token in b"}]":
            depth -= 1
            if depth == 0:
                return match.end()
        elif match["end"] is None:
            break
    if limit < len(body):
        raise too_long(place, "no end of it")
    raise EnvelopeError(
        Place(len(body), place.item_index),
        "the closing brace of a header",
        "the end of the body",
        "close the header's JSON object, and give a payload of several lines a length",
    )


def _load(raw: bytes, unique_names: tuple[bytes, ...], place: Place) -> tuple[dict[str, Any], bool]:
    """The object, and whether values were replaced to parse it (NaN, infinity, lone surrogates)."""
    try:
        pairs = _pairs(raw.decode())
    except UnicodeDecodeError as error:
        raise _bad_json(place, error.start, "a byte that is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise _bad_json(place, len(error.doc[: error.pos].encode()), f"{error.msg!r}") from None
    _check_names(pairs, unique_names, place)
    try:
        return orjson.loads(raw), False
    except ValueError:
        return _cleaned(dict(pairs)), True


def _cleaned(fields: dict[str, Any]) -> dict[str, Any]:
    """Replaces lone surrogates by U+FFFD, because they cannot be written as UTF-8."""
    text = json.dumps(fields, ensure_ascii=False)
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    cleaned: dict[str, Any] = orjson.loads(text)
    return cleaned


def _pairs(text: str) -> list[tuple[str, Any]]:
    """The names and values of the outermost object, including repeated names. The depth was checked before."""
    levels: list[list[tuple[str, Any]]] = [[]]

    def keep(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        levels[0] = pairs  # the outermost object comes last
        return dict(pairs)

    json.loads(text, object_pairs_hook=keep, parse_constant=_no_number, parse_float=_finite, parse_int=_whole)
    return levels[0]


def _no_number(_token: str) -> None:
    """Refuses NaN and the infinities, which JSON does not have."""


def _finite(token: str) -> float | None:
    value = float(token)
    return value if math.isfinite(value) else None


def _whole(token: str) -> int | float | None:
    """Integers of up to 18 digits are exact. Beyond 64 bits orjson makes a float, and cannot write an int."""
    return int(token) if len(token) < 19 else _finite(token)


def _check_names(pairs: list[tuple[str, Any]], unique_names: tuple[bytes, ...], place: Place) -> None:
    seen = [name for name, _ in pairs]
    for quoted in unique_names:
        name = quoted[1:-1].decode()
        count = seen.count(name)
        if count > 1:
            raise EnvelopeError(place, f"{name} at most once in a header", f"it {count} times", "keep one of them")


def found_byte(body: bytes, position: int) -> str:
    """Words for the byte at `position`."""
    return f"byte {body[position : position + 1]!r}" if position < len(body) else "the end of the body"


def found_kind(value: object) -> str:
    """Words for a JSON value: its kind, and its value only if it is a number, which is no secret."""
    if value is None or isinstance(value, bool):
        return orjson.dumps(value).decode()
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return "a text"
    return "a list" if isinstance(value, list) else "an object"


def too_long(place: Place, actual: str) -> EnvelopeError:
    """The error for a header longer than MAX_HEADER_BYTES."""
    return EnvelopeError(
        place,
        f"a header of at most {MAX_HEADER_BYTES} bytes",
        actual,
        "move the data into a payload, and check the length of the item before it",
    )


def _no_object(body: bytes, place: Place) -> EnvelopeError:
    return EnvelopeError(
        place,
        "a header, which is a JSON object on one line",
        found_byte(body, place.offset),
        "start it with {, and check the length of the item before it",
    )


def _bad_json(place: Place, position: int, actual: str) -> EnvelopeError:
    error_place = Place(place.offset + position, place.item_index)
    return EnvelopeError(error_place, "JSON in a header", actual, "write it as one JSON object in UTF-8")


def _too_many(place: Place) -> EnvelopeError:
    expected = f"at most {MAX_BRACKETS} lists and objects in a header"
    return EnvelopeError(place, expected, "one more", "move the data into a payload")


def _too_deep(place: Place) -> EnvelopeError:
    expected = f"a header nested at most {MAX_DEPTH} deep"
    return EnvelopeError(place, expected, "one level more", "move the data into a payload")
