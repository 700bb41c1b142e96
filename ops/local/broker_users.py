"""Users of the embedded broker: one for each role, each with a password that only the folder's owner can read.

The rights are those of ops/deploy/nats/accounts.conf, but in one account: streams of folders older than these users are
in the server's own account.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

from ops.runtime.nats_options import Role
from schemas.subjects import OPERATOR_REQUESTS

ROLES: Final[tuple[Role, ...]] = ("receiver", "worker", "console", "alerts", "operator")
_PASSWORD_BYTES: Final = 24
_WORKERS_STREAMS: Final = ("RAW", "ITEMS", "DEAD", "REFUSED", "REPLAY")
# How far workers are: whether rows of a time are complete.
_ROWS_COME_FROM: Final = ("RAW", "ITEMS")
_ALERTS: Final = ("alerts", "alert_secrets")
_IDEMPOTENCY: Final = ("idempotency", "idempotency_public")
_READ_REGISTRY: Final = (
    *("$JS.API.STREAM.INFO.KV_registry", "$JS.API.DIRECT.GET.KV_registry", "$JS.API.DIRECT.GET.KV_registry.>"),
)
# Subjects that each role may publish and subscribe to; the operator may use all.
MAY_PUBLISH: Final[dict[Role, tuple[str, ...]]] = {
    "receiver": (
        *("raw.>", "quota.use"),
        *_READ_REGISTRY,
        *(f"$KV.{bucket}.>" for bucket in _IDEMPOTENCY),
        *(f"$JS.API.STREAM.INFO.KV_{bucket}" for bucket in _IDEMPOTENCY),
        *(f"$JS.API.DIRECT.GET.KV_{bucket}.>" for bucket in _IDEMPOTENCY),
    ),
    "worker": (
        *("item.>", "dead.>", "refused.>", "replay.>", "_INBOX.receiver.>", "quota.rows"),
        *(f"$JS.API.CONSUMER.INFO.{stream}.*" for stream in _WORKERS_STREAMS),
        *(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.*" for stream in _WORKERS_STREAMS),
        *(f"$JS.ACK.{stream}.>" for stream in _WORKERS_STREAMS),
        *("$JS.API.DIRECT.GET.OBJ_artifacts", "$JS.API.DIRECT.GET.OBJ_artifacts.$O.artifacts.M.>"),
    ),
    "console": (
        *_READ_REGISTRY,
        *("$O.artifacts.>", "$JS.API.STREAM.INFO.OBJ_artifacts", "$JS.API.STREAM.PURGE.OBJ_artifacts"),
        *("$JS.API.DIRECT.GET.OBJ_artifacts", "$JS.API.DIRECT.GET.OBJ_artifacts.$O.artifacts.M.>"),
        *("$KV.control.late_maps.>", "$JS.API.DIRECT.GET.KV_control.$KV.control.late_maps.>"),
        *("$KV.control.console.>", "$JS.API.DIRECT.GET.KV_control.$KV.control.console.>"),
        *("$KV.alert_secrets.>", "alerts.ask"),
        OPERATOR_REQUESTS,
    ),
    "alerts": (
        *_READ_REGISTRY,
        *(f"$KV.{bucket}.>" for bucket in _ALERTS),
        *(f"$JS.API.STREAM.INFO.KV_{bucket}" for bucket in _ALERTS),
        *(f"$JS.API.DIRECT.GET.KV_{bucket}.>" for bucket in _ALERTS),
        *(f"$JS.API.STREAM.INFO.{stream}" for stream in _ROWS_COME_FROM),
        *(f"$JS.API.CONSUMER.INFO.{stream}.*" for stream in _ROWS_COME_FROM),
        # Answers to consoles, in this account and in another one.
        *("_INBOX.console.>", "_R_.>"),
    ),
}
MAY_LISTEN: Final[dict[Role, tuple[str, ...]]] = {
    "receiver": ("_INBOX.receiver.>", "quota.use", "quota.rows", "quota.ask"),
    "worker": ("_INBOX.worker.>", "quota.ask"),
    "console": ("_INBOX.console.>",),
    "alerts": ("_INBOX.alerts.>", "alerts.ask"),
}


def passwords(stored: Mapping[str, Any], write: Callable[[dict[str, str]], None]) -> dict[Role, str]:
    """A password for each role: those in `stored`; new ones, which `write` stores, if one is missing."""
    known: dict[Role, str] = {
        role: stored[role] for role in ROLES if isinstance(stored.get(role), str) and stored[role]
    }
    if len(known) < len(ROLES):
        known = {role: secrets.token_urlsafe(_PASSWORD_BYTES) for role in ROLES}
        write({str(role): password for role, password in known.items()})
    return known


def authorization(known: Mapping[Role, str]) -> str:
    """The users as a block of the server's configuration, passwords in clear text. No other client may connect."""
    users = [{"user": role, "password": password, **_permissions(role)} for role, password in known.items()]
    return f"authorization {{ users: {json.dumps(users, indent=2)} }}\n"


def _permissions(role: Role) -> dict[str, Any]:
    if role not in MAY_PUBLISH:
        return {}
    return {"permissions": {"publish": {"allow": MAY_PUBLISH[role]}, "subscribe": {"allow": MAY_LISTEN[role]}}}


def url_with(url: str, user: str, password: str) -> str:
    """The addresses with user and password, as NATS clients expect them. An empty password: `user` is a token."""
    userinfo = f"{quote(user, safe='')}:{quote(password, safe='')}" if password else quote(user, safe="")
    return ",".join(address.strip().replace("://", f"://{userinfo}@", 1) for address in url.split(","))
