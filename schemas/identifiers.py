"""Valid names of organisations, environments and channels. Imports nothing, so that the command line starts fast."""

from __future__ import annotations

import re
from typing import Final

MAX_CHANNEL_ID: Final = 2**63 - 1
SLUG_PATTERN: Final = r"^[a-z0-9][a-z0-9._-]{0,63}$"
SLUG_EXPECTED: Final = "1 to 64 of a-z 0-9 . _ - beginning with a letter or digit"
# Of a channel in the Web API. Tools take a number for an id, and `channel-7` is the slug of a channel without one.
PROJECT_SLUG_EXPECTED: Final = (
    "1 to 50 of a-z 0-9 _ - beginning with a letter or digit, not a number, not channel-NUMBER"
)
_PROJECT_SLUG: Final = re.compile(r"(?!\d+\Z)(?!channel-\d+\Z)[a-z0-9][a-z0-9_-]{0,49}\Z", re.ASCII)
_SLUG: Final = re.compile(SLUG_PATTERN.removesuffix("$") + r"\Z")


def is_slug(text: str) -> bool:
    """Whether `text` may name an organisation or an environment."""
    return _SLUG.match(text) is not None


def is_project_slug(text: str) -> bool:
    """Whether `text` may name a channel in addresses of the Web API."""
    return _PROJECT_SLUG.match(text) is not None


def project_slug_of(name: str) -> str:
    """A slug made from a name for display, as `web-shop` from `Web shop`; empty if that gives none."""
    slug = "-".join(re.findall(r"[a-z0-9_]+", name.lower()))[:50].strip("-")
    return slug if is_project_slug(slug) else ""
