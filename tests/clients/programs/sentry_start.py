"""Starts the Sentry SDK as a user would; the DSN is the first argument."""

from __future__ import annotations

import json
import sys
from typing import Any

import sentry_sdk

RELEASE = "shop@1.2.3"


def start(**options: Any) -> None:
    """`sentry_sdk.init` with the DSN of the command line; integrations of other libraries stay out of the way."""
    sentry_sdk.init(dsn=sys.argv[1], release=RELEASE, server_name="till-7", auto_enabling_integrations=False, **options)


def finish(**facts: Any) -> None:
    """Send everything, then print what the test has to know as one line of JSON."""
    sentry_sdk.flush(timeout=20)
    transport = sentry_sdk.get_client().transport
    print(json.dumps({**facts, "compression": getattr(transport, "_compression_algo", None)}))
