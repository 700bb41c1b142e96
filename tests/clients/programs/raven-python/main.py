"""What raven, the client before the Sentry SDK, sends to the store endpoint. Arguments: DSN, release."""

from __future__ import annotations

import json
import sys

import raven

dsn, release = sys.argv[1:]
client = raven.Client(
    dsn,
    release=release,
    environment="staging",
    name="till-7",
    site="north",
    tags={"till": "seven"},
    transport=raven.transport.HTTPTransport,
)
client.user_context({"id": "u-42", "email": "ada@example.com"})
client.captureBreadcrumb(message="added 3 apples", category="cart")
try:
    try:
        raise ValueError("card expired")
    except ValueError as cause:
        raise RuntimeError("no payment of 3") from cause
except RuntimeError:
    error_id = client.captureException(extra={"cart": {"items": 3}})
message_id = client.captureMessage("stock is low: %s left", params=(2,), level="warning", stack=True)
print(json.dumps({"version": raven.VERSION, "error_id": error_id, "message_id": message_id}))
