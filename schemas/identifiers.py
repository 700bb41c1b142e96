"""Valid names of organisations, environments and channels, and the id of a system.

Imports nothing, so that the command line starts fast.
"""

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
# The id of a system is in the metadata of its durables, and in the comment of the column that has numbers of its stream
# RAW: workers may read both (docs/decisions/0037-system-id.md).
SYSTEM_METADATA: Final = "axonpush_system"
SYSTEM_TABLE: Final = "taken_rows"
SYSTEM_COLUMN: Final = "origin_seq"
_SYSTEM_COMMENT: Final = "number in RAW of system "
_SLUG_WORD: Final = re.compile(r"[a-z0-9_]+")
_SLUG: Final = re.compile(SLUG_PATTERN.removesuffix("$") + r"\Z")


def is_slug(text: str) -> bool:
    """Whether `text` may name an organisation or an environment."""
    return _SLUG.match(text) is not None


def is_project_slug(text: str) -> bool:
    """Whether `text` may name a channel in addresses of the Web API."""
    return _PROJECT_SLUG.match(text) is not None


def project_slug_of(name: str) -> str:
    """A slug made from a name for display, as `web-shop` from `Web shop`; empty if that gives none."""
    slug = "-".join(_SLUG_WORD.findall(name.lower()))[:50].strip("-")
    return slug if is_project_slug(slug) else ""


def system_comment(system_id: str) -> str:
    """The comment of SYSTEM_COLUMN in the tables of a system."""
    return _SYSTEM_COMMENT + system_id


def system_in(comment: str) -> str:
    """The id in such a comment; empty for any other text."""
    return comment.removeprefix(_SYSTEM_COMMENT) if comment.startswith(_SYSTEM_COMMENT) else ""
