"""What the last line of 1.x of the Sentry SDK for Python sends. Arguments: DSN, release."""

from __future__ import annotations

import json
import sys

import sentry_sdk
from sentry_sdk.crons import monitor

dsn, release = sys.argv[1:]
sentry_sdk.init(
    dsn=dsn,
    release=release,
    environment="staging",
    server_name="till-7",
    traces_sample_rate=1.0,
    auto_enabling_integrations=False,
)


@monitor(monitor_slug="nightly-stock")
def count_stock() -> None:
    """A job that ends well."""


sentry_sdk.set_user({"id": "u-42", "email": "ada@example.com"})
sentry_sdk.set_tag("till", "seven")
sentry_sdk.Hub.current.start_session()
with sentry_sdk.start_transaction(op="task", name="close till") as transaction:
    with sentry_sdk.start_span(op="db.query", description="SELECT cart") as span:
        pass
    try:
        try:
            raise ValueError("card expired")
        except ValueError as cause:
            raise RuntimeError("no payment of 3") from cause
    except RuntimeError as error:
        with sentry_sdk.push_scope() as scope:
            scope.add_attachment(bytes=b"3 apples", filename="cart.txt")
            sentry_sdk.add_breadcrumb(category="cart", message="added 3 apples")
            error_id = sentry_sdk.capture_exception(error)
    count_stock()
message_id = sentry_sdk.capture_message("stock is low", level="warning")
sentry_sdk.Hub.current.end_session()
sentry_sdk.flush(timeout=20)
print(
    json.dumps(
        {
            "version": sentry_sdk.VERSION,
            "error_id": error_id,
            "message_id": message_id,
            "trace_id": transaction.trace_id,
            "root": transaction.span_id,
            "child": span.span_id,
        }
    )
)
