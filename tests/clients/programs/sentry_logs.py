"""Sends structured logs of five levels with attributes of every type."""

from __future__ import annotations

import sentry_sdk
from sentry_start import finish, start

start(enable_logs=True)
sentry_sdk.logger.debug("log debug")
sentry_sdk.logger.info("log {what}", what="info", attributes={"order.id": 42, "paid": True, "ratio": 0.5, "shop": "A"})
sentry_sdk.logger.warning("log warning")
sentry_sdk.logger.error("log error")
sentry_sdk.logger.fatal("log fatal")
finish()
