"""Tokens of the Web API: their text, which tools of Sentry read, and the scopes that they may have."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Final

PREFIX: Final = "sntrys_"
SECRET_BYTES: Final = 32
# Longest text that is looked at: an address of 2,000 characters, in base64, and its secret.
MAX_TOKEN_CHARACTERS: Final = 4_096
# The entry of the bucket `control`, below CONSOLE_PREFIX, about the one-time link of `axonpush up`: {"code", "token"},
# both as SHA-256. One that was used is empty.
LOGIN_CODE_ENTRY: Final = "login_code"
# What each scope allows stands in docs/console.md.
SCOPES: Final = (
    "org:read",
    "org:ci",
    "project:read",
    "project:write",
    "project:releases",
    "project:admin",
    "event:read",
    "event:write",
    "delivery:write",
    "team:read",
    "team:write",
    "alerts:read",
    "alerts:write",
)
# What a pipeline and somebody who looks at issues from a shell need.
DEFAULT_SCOPES: Final = (
    *("org:read", "org:ci", "project:read", "project:releases", "event:read", "event:write"),
    *("alerts:read", "alerts:write"),
)
# A scope includes others, as at Sentry: who may write may read, and a pipeline may make releases.
INCLUDED: Final[dict[str, tuple[str, ...]]] = {
    "org:ci": ("org:read", "project:read", "project:releases"),
    "project:admin": ("project:read", "project:releases", "project:write"),
    "project:write": ("project:read", "project:releases"),
    "project:releases": ("project:read",),
    "event:write": ("event:read",),
    "delivery:write": ("project:read",),
    "team:write": ("team:read",),
    "alerts:write": ("alerts:read",),
}


def token_text(url: str, organisation: str, issued_at_s: float, secret: bytes) -> str:
    """`sntrys_`, what tools need to know (address and organisation) in base64, `_`, and the secret."""
    claims = {"iat": issued_at_s, "url": url, "region_url": url, "org": organisation}
    payload = base64.b64encode(json.dumps(claims, separators=(",", ":")).encode()).decode()
    return f"{PREFIX}{payload}_{base64.b64encode(secret).decode().rstrip('=')}"


def expand_scopes(scopes: tuple[str, ...]) -> frozenset[str]:
    """The scopes and those that they include."""
    known = set(scopes)
    for scope in scopes:
        known.update(INCLUDED.get(scope, ()))
    return frozenset(known)


def token_address(text: str) -> str:
    """The address that a token names; empty if it names none."""
    payload = text.removeprefix(PREFIX).partition("_")[0] if text.startswith(PREFIX) else ""
    try:
        claims = json.loads(base64.b64decode(payload, validate=True))
    except ValueError:
        return ""
    url = claims.get("url") if isinstance(claims, dict) else None
    return url if isinstance(url, str) else ""


def login_url(console_url: str, code: str) -> str:
    """The one-time link. The code stands behind `#`: browsers send that part to no server, so no log has it."""
    return f"{console_url}/sign-in#code={code}"


def login_code_hash(code: str) -> str:
    """What is stored of the code of a one-time link."""
    return hashlib.sha256(code.encode()).hexdigest()
