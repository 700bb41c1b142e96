"""Captures one message with level warning."""

from __future__ import annotations

import sentry_sdk
from sentry_start import finish, start

start()
finish(event_id=sentry_sdk.capture_message("stock is low", level="warning"))
