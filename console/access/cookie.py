"""The session cookie: which token, since when and until when, signed. No I/O and no clock.

The text of the token is not in it, so a stolen cookie ends with its session, and a reader of the registry cannot make
one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

_COOKIE: Final = re.compile(r"1\.([0-9a-f]{16})\.([A-Za-z0-9_-]{22})\.(\d{1,12})\.(\d{1,12})\.([A-Za-z0-9_-]{43})")
SESSION_ID_BYTES: Final = 16
# However busy a session is, it ends after this time.
LONGEST_S: Final = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Session:
    """Who signed in with which token. Times are seconds of the wall clock."""

    token_id: str
    session_id: str
    began_s: int
    until_s: int

    def prolonged(self, now_s: int, idle_s: int) -> Session:
        """Until `idle_s` after now, but never longer than LONGEST_S after it began."""
        return replace(self, until_s=min(now_s + idle_s, self.began_s + LONGEST_S))


def written(session: Session, key: bytes) -> str:
    """The value of the cookie."""
    text = f"1.{session.token_id}.{session.session_id}.{session.began_s}.{session.until_s}"
    return f"{text}.{_signature(key, 'session', text)}"


def read(value: str, key: bytes) -> Session | None:
    """The session of a cookie; None if it was not written here. Whether it is over is not looked at."""
    match = _COOKIE.fullmatch(value)
    if match is None:
        return None
    text, _, signature = value.rpartition(".")
    if not hmac.compare_digest(signature, _signature(key, "session", text)):
        return None
    return Session(match[1], match[2], int(match[3]), int(match[4]))


def page_token(session: Session, key: bytes) -> str:
    """What a page of ours sends with every change, and a page of another site cannot know."""
    return _signature(key, "page", session.session_id)


def session_id_of(random: bytes) -> str:
    """SESSION_ID_BYTES random bytes as text."""
    return base64.urlsafe_b64encode(random).decode().rstrip("=")


def cookie_name(url: str) -> str:
    """Of a console with this address. Cookies know no ports, so two consoles of one host need two names."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        return "__Host-axonpush" + (f"-{parts.port}" if parts.port else "")
    return f"axonpush-{parts.port or 80}"


def _signature(key: bytes, purpose: str, text: str) -> str:
    digest = hmac.new(key, f"{purpose}:{text}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
