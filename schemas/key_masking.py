"""Masks keys that appear in data (an event's URL, a file, a header's value), without changing its length.

Lengths in envelopes, protobuf and dumps stay valid. credentials.py finds the key of a request.
"""

from __future__ import annotations

import re
from typing import Final

from schemas.compiled import readers as compiled

# The form that `keys mint` creates: prefix and 32 letters and digits. A looser pattern would mask names like
# pt_core_news. The next character does not matter: in protobuf it is the next field's tag, which may be a digit.
_LETTERS: Final = 32
# Each form of a key: bytes that every match contains, which a search in C finds first, and the pattern. Patterns start
# with fixed bytes, so that the regex engine can skip to them.
_FORMS: Final[tuple[tuple[bytes, re.Pattern[bytes]], ...]] = (
    *(
        (prefix, re.compile(rb"%b(?<![A-Za-z0-9]%b)[A-Za-z0-9]{%d}" % (prefix, prefix, _LETTERS)))
        for prefix in (b"ak_", b"pt_")
    ),
    # base64 of `key:`, as in Authorization: Basic; the first three bytes of a key become its first four characters.
    *(
        (start, re.compile(rb"%b(?<![A-Za-z0-9+/]%b)[A-Za-z0-9+/]{44,}={0,2}" % (start, start)))
        for start in (b"YWtf", b"cHRf")
    ),
    # UTF-16, used in dumps of Windows processes.
    *(
        (wide, re.compile(rb"%b(?:[A-Za-z0-9]\x00){%d}" % (wide, _LETTERS)))
        for wide in (b"a\x00k\x00_\x00", b"p\x00t\x00_\x00")
    ),
)

# Searched if there is no zero byte, as in JSON: fewer searches, because searching takes most of the time per span.
_TEXT_FORMS: Final = tuple(form for form in _FORMS if b"\x00" not in form[0])

_NEEDLES: Final = ("ak_", "pt_", "YWtf", "cHRf")


def mask_keys(data: bytes) -> bytes:
    """`data` with asterisks in place of every key: plain, UTF-16, or base64 as in Basic.

    The length stays equal. A key in another form (compressed, encrypted, escaped) is not found.
    """
    # One fast pass that looks for rare bytes first (docs/decisions/0010-normalising.md).
    if compiled.may_hold_key is not None and not compiled.may_hold_key(data):
        return data
    return _mask(data)


def _mask(data: bytes) -> bytes:
    for needle, pattern in _FORMS if b"\x00" in data else _TEXT_FORMS:
        if needle in data:
            data = pattern.sub(_masked, data)
    return data


def mask_keys_in(text: str) -> str:
    """The same for text."""
    if not any(needle in text for needle in _NEEDLES):
        return text
    return _mask(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")


def _masked(match: re.Match[bytes]) -> bytes:
    key = match[0]
    if key[1:2] == b"\x00":
        return key[:6] + b"*\x00" * _LETTERS
    kept = 3 if key[2:3] == b"_" else 4
    return key[:kept] + b"*" * (len(key) - kept)
