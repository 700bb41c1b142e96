"""The text of a new key. It exists only where it is made and where it is shown once."""

from __future__ import annotations

import secrets
import string
from typing import Final

# 32 letters and digits have 190 bits. Sentry SDKs accept no other characters in a DSN key.
KEY_LENGTH: Final = 32
KEY_ALPHABET: Final = string.ascii_letters + string.digits


def new_key_text(*, public: bool) -> str:
    """A new key. Its text exists only here and where the caller shows it."""
    return ("pt_" if public else "ak_") + "".join(secrets.choice(KEY_ALPHABET) for _ in range(KEY_LENGTH))
