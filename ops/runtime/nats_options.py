"""Connection options for NATS: user, reconnect policy, TLS."""

from __future__ import annotations

import random
from typing import Any, Literal

from ops.runtime.settings import Settings
from ops.runtime.tls import tls_context

RECONNECT_WAIT_S = 0.25
CONNECT_TIMEOUT_S = 5
# nats-py buffers publishes while it reconnects. We disable that and answer 503: a buffered message could be lost.
NO_PENDING_WHILE_DISCONNECTED = -1
# Roles, which are also the user names in ops/deploy/nats/accounts.conf.
Role = Literal["receiver", "worker", "console", "alerts", "operator"]


def nats_options(settings: Settings, name: str, role: Role = "operator") -> dict[str, Any]:
    """Options for nats.connect and FastStream's NatsBroker: reconnect for ever, never buffer publishes.

    Each role has its own inbox prefix, so that ops/deploy/nats/accounts.conf can keep roles from reading each other's
    replies.
    """
    options: dict[str, Any] = {
        "name": name,
        "inbox_prefix": f"_INBOX.{role}",
        "connect_timeout": CONNECT_TIMEOUT_S,
        # nats-py adds no jitter. Without it all processes would reconnect to a restarted server at the same moment.
        "reconnect_time_wait": RECONNECT_WAIT_S * random.uniform(0.5, 1.5),
        "allow_reconnect": True,
        "max_reconnect_attempts": -1,
        "pending_size": NO_PENDING_WHILE_DISCONNECTED,
        "ping_interval": 5,
        "max_outstanding_pings": 2,
    }
    if settings.nats_user:
        options |= {"user": settings.nats_user, "password": settings.nats_password.get_secret_value()}
    elif token := settings.nats_token.get_secret_value():
        options["token"] = token
    if settings.nats_tls_ca or settings.nats_tls_cert:
        options["tls"] = tls_context(settings)
    return options
