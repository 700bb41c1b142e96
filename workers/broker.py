"""FastStream's broker over our connection options."""

from __future__ import annotations

import logging
from typing import Any, Final

from faststream.nats import NatsBroker
from faststream.nats.security import NatsSecurity, NatsToken, NatsUserPassword

from ops.runtime.nats_errors import NatsErrorLog
from ops.runtime.nats_options import nats_options
from workers.settings import WorkerSettings

# How long a stopping subscriber waits for its handler. One that back-pressure blocks is then cancelled, which loses
# nothing.
HANDLER_GRACE_S: Final = 2


def make_broker(settings: WorkerSettings, name: str) -> NatsBroker:
    """FastStream's broker over our connection options. It takes user, password, token and TLS as a security object."""
    options = nats_options(settings, name, "worker")
    return NatsBroker(
        settings.nats_servers(),
        security=_security(options),
        **options,
        error_cb=NatsErrorLog(settings).report,
        graceful_timeout=HANDLER_GRACE_S,
        apply_types=False,
        logger=_quiet_logger(),
        log_level=logging.DEBUG,
    )


def _security(options: dict[str, Any]) -> NatsSecurity:
    """Moves user, password, token and TLS from `options` to a security object."""
    user, password, token = (options.pop(name, None) for name in ("user", "password", "token"))
    tls = options.pop("tls", None)
    if user:
        return NatsUserPassword(user, password, ssl_context=tls)
    return NatsToken(token, ssl_context=tls) if token else NatsSecurity(ssl_context=tls)


def _quiet_logger() -> logging.Logger:
    """FastStream logs a line per batch and per task at level info. The Batcher and the pull loop log what matters."""
    logger = logging.getLogger("workers.faststream")
    logger.setLevel(logging.WARNING)
    return logger
