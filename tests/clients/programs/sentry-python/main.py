"""One program of a user: everything the current Sentry SDK for Python sends. Arguments: DSN, release."""

from __future__ import annotations

import json
import sys
from typing import Any

import sentry_sdk
from sentry_sdk import logger
from sentry_sdk.crons import monitor

CONFIG: Any = {
    "schedule": {"type": "crontab", "value": "5 * * * *"},
    "checkin_margin": 10,
    "max_runtime": 20,
    "timezone": "Europe/Rome",
}


class PaymentRefused(RuntimeError):
    """What the till raises."""


@monitor(monitor_slug="nightly-stock", monitor_config=CONFIG)
def count_stock() -> None:
    """A job that ends well."""


@monitor(monitor_slug="nightly-broken", monitor_config=CONFIG)
def break_stock() -> None:
    """A job that fails."""
    raise OSError("no stock file")


def pay(amount: int) -> None:
    """Fails for a reason that failed for a reason."""
    try:
        try:
            raise ConnectionError("bank is away")
        except ConnectionError as error:
            raise ValueError("card expired") from error
    except ValueError as error:
        raise PaymentRefused(f"no payment of {amount}") from error


def send_error() -> str | None:
    """An error with two causes, a user, tags, breadcrumbs, a context and an attachment."""
    with sentry_sdk.new_scope() as scope:
        scope.set_tag("till", "seven")
        scope.set_context("cart", {"items": 3})
        scope.add_attachment(bytes=b"3 apples", filename="cart.txt", content_type="text/plain")
        sentry_sdk.add_breadcrumb(category="cart", message="added 3 apples", level="info")
        try:
            pay(3)
        except PaymentRefused as error:
            return sentry_sdk.capture_exception(error)
    return None


def send_metrics() -> None:
    """One metric of each kind."""
    sentry_sdk.metrics.count("cart.added", 3, attributes={"shop": "A"})
    sentry_sdk.metrics.gauge("queue.length", 7)
    sentry_sdk.metrics.distribution("page.load", 12.5, unit="millisecond")


def without_noise(event: Any, _hint: Any) -> Any:
    """Drops one event, of which the SDK sends a report."""
    return None if event.get("message") == "noise" else event


dsn, release = sys.argv[1:]
sentry_sdk.init(
    dsn=dsn,
    release=release,
    environment="staging",
    server_name="till-7",
    traces_sample_rate=1.0,
    enable_logs=True,
    before_send=without_noise,
    auto_enabling_integrations=False,
)
sentry_sdk.set_user({"id": "u-42", "email": "ada@example.com", "username": "ada"})
sentry_sdk.start_session()
sentry_sdk.capture_message("noise")
with sentry_sdk.start_transaction(op="task", name="close till") as transaction:
    with sentry_sdk.start_span(op="db.query", name="SELECT cart") as span:
        logger.warning("stock is low: {left}", left=2, attributes={"sku": "A-1"})
    send_metrics()
    error_id = send_error()
    count_stock()
    try:
        break_stock()
    except OSError:
        transaction.set_status("internal_error")
sentry_sdk.end_session()
sentry_sdk.flush(timeout=20)
print(
    json.dumps(
        {
            "version": sentry_sdk.VERSION,
            "error_id": error_id,
            "trace_id": transaction.trace_id,
            "root": transaction.span_id,
            "child": span.span_id,
        }
    )
)
