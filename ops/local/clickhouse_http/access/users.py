"""The users, their passwords, and how a request is authenticated. rights.py defines what each may do."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ops.local.clickhouse_http.errors import AUTHENTICATION_FAILED, ServerError, refusal

# Same user names as in ops/deploy/clickhouse/users.d/axonpush.xml.
WORKER: Final = "axonpush_worker"
READER: Final = "axonpush_reader"
CONSOLE: Final = "axonpush_console"
ALERTS: Final = "axonpush_alerts"
OPERATOR: Final = "axonpush_operator"
USERS: Final = (WORKER, READER, CONSOLE, ALERTS, OPERATOR)
# Users whose queries come from outside: the same functions and limits.
LIMITED: Final = frozenset({READER, CONSOLE, ALERTS})
# Those of them that are programs of ours.
PROGRAMS: Final = frozenset({CONSOLE, ALERTS})
PASSWORDS_FILE: Final = "passwords.json"
_PASSWORD_BYTES: Final = 24


def passwords(path: Path) -> dict[str, str]:
    """The passwords of the data directory `path` by user: created at the first call, stored in a file of mode 0600.

    A directory of an older version gets those of the users that are new.

    Raises OSError, and ValueError when the file is not what this function wrote.
    """
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = path / PASSWORDS_FILE
    if not file.exists():
        _write(file, {user: secrets.token_urlsafe(_PASSWORD_BYTES) for user in USERS})
    file.chmod(0o600)
    stored = json.loads(file.read_bytes())
    if isinstance(stored, dict) and set(USERS) - set(stored):
        stored = {user: secrets.token_urlsafe(_PASSWORD_BYTES) for user in USERS} | stored
        _write(file, stored)
    if not isinstance(stored, dict) or not all(isinstance(stored.get(user), str) and stored[user] for user in USERS):
        raise ValueError(
            f"expected a password for each of {', '.join(USERS)} in {file}: delete the file to make new ones"
        )
    return {user: stored[user] for user in USERS}


def _write(file: Path, passwords: dict[str, str]) -> None:
    fresh = file.with_name(f"{file.name}.{os.getpid()}.new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
        json.dump(passwords, opened)
        opened.flush()
        os.fsync(opened.fileno())
    fresh.replace(file)


def authenticate(known: Mapping[str, str], url: Mapping[str, str], headers: Mapping[str, str]) -> str:
    """The user of a request, from the three places that ClickHouse accepts. Raises ServerError 516."""
    credentials = [
        credential for credential in (_basic(headers), _headers(headers), _url(url)) if credential is not None
    ]
    if len(credentials) > 1:
        text = (
            "expected user and password in one place, found them in several (header Authorization, X-ClickHouse-*, URL)"
        )
        raise refusal(AUTHENTICATION_FAILED, "AUTHENTICATION_FAILED", f"Invalid authentication: {text}")
    user, password = credentials[0] if credentials else ("default", "")
    expected = known.get(user, "")
    # Both are compared even for an unknown user, so that the answer takes the same time.
    same = hmac.compare_digest(password.encode("utf-8", "replace"), expected.encode())
    if not same or not expected:
        raise _refusal(user, anonymous=not credentials)
    return user


def _refusal(user: str, *, anonymous: bool) -> ServerError:
    shown = "".join(letter for letter in user[:64] if letter.isprintable())
    text = f"{shown}: Authentication failed: password is incorrect, or there is no user with such name"
    error = refusal(AUTHENTICATION_FAILED, "AUTHENTICATION_FAILED", text)
    if anonymous:
        error.status = 401
    return error


def _basic(headers: Mapping[str, str]) -> tuple[str, str] | None:
    scheme, _, encoded = headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        text = ""
    user, _, password = text.partition(":")
    return user, password


def _headers(headers: Mapping[str, str]) -> tuple[str, str] | None:
    user, password = headers.get("X-ClickHouse-User"), headers.get("X-ClickHouse-Key")
    return None if user is None and password is None else (user or "default", password or "")


def _url(url: Mapping[str, str]) -> tuple[str, str] | None:
    user, password = url.get("user"), url.get("password")
    return None if user is None and password is None else (user or "default", password or "")
