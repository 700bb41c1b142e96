"""Tags of a Sentry payload as attributes under their own names. What an environment or release may be is not here."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

from workers.normalise.scalars import as_text
from workers.normalise.sentry.payload.pairs import pairs

TAGS_INVALID: Final = "tags_invalid"
TAG_CHANGED: Final = "tag_changed"

MAX_LENGTH: Final = 200

_KEY: Final = re.compile(r"[A-Za-z0-9_.:-]{1,200}")
_NOT_IN_KEYS: Final = re.compile(r"[^A-Za-z0-9_.:-]")
# Sentry derives these itself; a tag of that name would say something else than the column.
RESERVED: Final = frozenset({"release", "dist", "user", "filename", "function", "environment"})


def read_tags(value: Any, repairs: list[str]) -> dict[str, str]:
    """Tags with clean keys and one-line values, the first of equal keys; null values are none.

    Follows the Sentry event payload (tags), but what Sentry refuses is mended and named instead.
    """
    tags: dict[str, str] = {}
    if value is not None and value.__class__ not in (dict, list):
        repairs.append(TAGS_INVALID)
    for key, content in pairs(value):
        if content is None:
            continue
        name, is_changed = _clean_key(key) if len(key) <= MAX_LENGTH else _cut_key(key)
        if is_changed:
            repairs.append(TAG_CHANGED)
        if name and name not in tags:
            tags[name] = _clean_value(content, repairs)
    return tags


@lru_cache(4096)  # an application sends the same few keys for ever
def _clean_key(key: str) -> tuple[str, bool]:
    """(key to store, whether to mention the change); blanks become hyphens as in Sentry, and need no mention."""
    name = key.strip().replace(" ", "-")
    return (name, False) if _KEY.fullmatch(name) else (_NOT_IN_KEYS.sub("_", name), True)


def _cut_key(key: str) -> tuple[str, bool]:
    return _clean_key(key[:MAX_LENGTH])[0], True


def _clean_value(content: Any, repairs: list[str]) -> str:
    text = content if content.__class__ is str else as_text(content)
    if "\n" not in text and len(text) <= MAX_LENGTH:
        return text
    repairs.append(TAG_CHANGED)
    return text[:MAX_LENGTH].replace("\n", " ")
