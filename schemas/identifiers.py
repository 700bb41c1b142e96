"""Valid names of organisations, environments and channels. Imports nothing, so that the command line starts fast."""

from __future__ import annotations

import re
from typing import Final

MAX_CHANNEL_ID: Final = 2**63 - 1
SLUG_PATTERN: Final = r"^[a-z0-9][a-z0-9._-]{0,63}$"
SLUG_EXPECTED: Final = "1 to 64 of a-z 0-9 . _ - beginning with a letter or digit"
_SLUG: Final = re.compile(SLUG_PATTERN.removesuffix("$") + r"\Z")


def is_slug(text: str) -> bool:
    """Whether `text` may name an organisation or an environment."""
    return _SLUG.match(text) is not None
