"""Finds keys in what people paste, and says what exists when a name is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Final

from schemas.registry import key_hash

# It always exists: commands that name no organisation mean it.
DEFAULT_ORGANISATION: Final = "default"
KEY_ID_LENGTH: Final = 16
SHA256_LENGTH: Final = 64
MAX_NAMED: Final = 10
# The key of a DSN stands before its host, without the secret of old DSNs.
_IN_DSN: Final = re.compile(r"://([^/?#@:\s]+)(?::[^/?#@\s]*)?@")
_KEY_TEXT: Final = re.compile(r"\b(?:ak|pt)_\w{16,125}", re.ASCII)
# How alike two names are, of 1, before one is taken for a slip of the other.
LIKE: Final = 0.8
_SEPARATORS: Final = re.compile(r"[-_.]")
# Texts shorter than _SHORT have no slips, those shorter than _LONG one.
_SHORT: Final = 3
_LONG: Final = 6
_DIGITS: Final = re.compile(r"\d+")
_HASH: Final = re.compile(rf"[0-9a-f]{{{KEY_ID_LENGTH},{SHA256_LENGTH}}}")


def key_hash_prefix(text: str) -> str | None:
    """The start of a key's hash, from its id, the key itself, or a text with it such as a DSN or a header.

    None if there is no key in it, or more than one. The text may be a key, so it must never be shown.
    """
    text = text.strip().strip("'\"")
    if _HASH.fullmatch(text.lower()):
        return text.lower()
    in_dsn = [name for name in _IN_DSN.findall(text) if _KEY_TEXT.fullmatch(name)]
    keys = set(in_dsn or _KEY_TEXT.findall(text))
    return key_hash(keys.pop()) if len(keys) == 1 else None


def existing(what: str, names: Iterable[str], wrong: str = "") -> str:
    """What exists, for an error: `organisations: acme, default (did you mean acme?)`"""
    known = sorted(names)
    if not known:
        return f"there are no {what} yet"
    nearest = get_close_matches(wrong, known, n=1) if wrong else []
    more = f" and {len(known) - MAX_NAMED} more" if len(known) > MAX_NAMED else ""
    listed = ", ".join(_first(known, nearest)) + more
    return f"{what}: {listed}" + (f" (did you mean {nearest[0]}?)" if nearest else "")


def nearest(name: str, known: Iterable[str]) -> str:
    """A known name that was perhaps meant; empty if none is like it. `org-2` beside `org-1` is meant as it stands."""
    if not (close := get_close_matches(name, list(known), n=1, cutoff=LIKE)):
        return ""
    is_numbered = _DIGITS.sub("", close[0]) == _DIGITS.sub("", name)
    return "" if is_numbered else close[0]


def near_miss(name: str, known: Iterable[str]) -> str:
    """A known name that `name` is a slip of: one or two letters differ. Empty without one, and for a known name.

    `org-2` beside `org-1` and `prod-us` beside `prod-eu` are meant as they stand.
    """
    names = sorted(known)
    if name in names:
        return ""
    return next((known_name for known_name in names if _is_slip(name, known_name)), "")


def _is_slip(name: str, meant: str) -> bool:
    if _DIGITS.sub("", name) == _DIGITS.sub("", meant):
        return False
    parts, others = _SEPARATORS.split(name), _SEPARATORS.split(meant)
    if len(parts) != len(others):
        parts, others = [name], [meant]
    return all(
        edits(word, known_word) <= _slips(word, known_word) for word, known_word in zip(parts, others, strict=True)
    )


def _slips(word: str, known_word: str) -> int:
    """How many letters of so short a text may differ before it is another name."""
    length = min(len(word), len(known_word))
    return 0 if length < _SHORT else 1 if length < _LONG else 2


def edits(word: str, known_word: str) -> int:
    """Letters that are missing, more, replaced or exchanged with their neighbour between two texts."""
    before: list[int] = []
    row = list(range(len(known_word) + 1))
    for place, letter in enumerate(word, 1):
        older, before, row = before, row, [place]
        for column, above in enumerate(known_word, 1):
            cost = min(before[column] + 1, row[-1] + 1, before[column - 1] + (letter != above))
            if older and column > 1 and letter == known_word[column - 2] and word[place - 2] == above:
                cost = min(cost, older[column - 2] + 1)
            row.append(cost)
    return row[-1]


def of_organisation(organisation: str) -> str:
    """The option that a suggested command needs; without it, commands mean DEFAULT_ORGANISATION."""
    return "" if organisation == DEFAULT_ORGANISATION else f" --organisation {organisation}"


def _first(known: Sequence[str], nearest: Sequence[str]) -> list[str]:
    """At most MAX_NAMED of them, the nearest one among them."""
    first = list(known[:MAX_NAMED])
    return first if not nearest or nearest[0] in first else [nearest[0], *first[:-1]]
