"""Captures one exception with a cause, tags, a user and a breadcrumb."""

from __future__ import annotations

import sentry_sdk
from sentry_start import finish, start


class PaymentRefused(RuntimeError):
    """What the till raises."""


def pay(amount: int) -> None:
    """Fails with a cause of its own."""
    try:
        raise ValueError("card expired")
    except ValueError as error:
        raise PaymentRefused(f"no payment of {amount}") from error


start(environment="staging")
sentry_sdk.set_tag("till", "seven")
sentry_sdk.set_user({"id": "u-42", "email": "ada@example.com"})
sentry_sdk.add_breadcrumb(category="cart", message="added 3 apples")
try:
    pay(3)
except PaymentRefused as error:
    event_id = sentry_sdk.capture_exception(error)
trace_id = sentry_sdk.get_current_scope().get_traceparent().split("-")[0]
finish(event_id=event_id, trace_id=trace_id)
