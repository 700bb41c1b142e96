"""A shop watched by the Sentry SDK through two releases: errors, sessions, check-ins, an attachment, a dropped event.

Argument: the DSN. Prints the ids that questions are asked about.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sentry_sdk
from sentry_sdk.crons import capture_checkin

DSN = sys.argv[1]
OLD, NEW = "shop@1.0.0", "shop@2.0.0"
HOURLY: Any = {"schedule": {"type": "crontab", "value": "0 * * * *"}, "checkin_margin": 5, "timezone": "UTC"}
facts: dict[str, Any] = {}


class CardDeclined(RuntimeError):
    """Happens in both releases."""


class StockMissing(LookupError):
    """Is new in the second."""


def drop_healthchecks(event: Any, _hint: Any) -> Any:
    """A before_send hook, as many applications have one."""
    return None if event.get("message") == "healthcheck" else event


@contextmanager
def release(name: str) -> Iterator[None]:
    """The SDK started for one release; everything is sent when the block ends."""
    sentry_sdk.init(
        DSN,
        release=name,
        environment="production",
        traces_sample_rate=1.0,
        auto_session_tracking=False,
        auto_enabling_integrations=False,
        before_send=drop_healthchecks,
    )
    yield
    sentry_sdk.flush(20)


def session(user: str, *errors: tuple[Exception, bool]) -> None:
    """One run of the shop by a user: (error, whether somebody handled it)."""
    with sentry_sdk.isolation_scope() as scope:
        scope.set_user({"id": user, "email": f"{user}@example.com"})
        scope.set_tag("till", f"till-{user}")
        scope.start_session(session_mode="application")
        for error, handled in errors:
            facts[type(error).__name__] = fail(error, handled)
        scope.end_session()


def fail(error: Exception, handled: bool) -> str | None:
    """Raise it and report it; returns the event's id."""
    try:
        pay(error)
    except (CardDeclined, StockMissing) as caught:
        hint = sentry_sdk.utils.event_from_exception(
            caught, sentry_sdk.get_client().options, {"type": "shop", "handled": handled}
        )
        return sentry_sdk.capture_event(*hint)
    return None


def pay(error: Exception) -> None:
    """Where every error of the shop comes from, so that equal ones are one issue."""
    raise error


def counted_sessions() -> None:
    """Two requests of a server, which the SDK sends as one aggregate."""
    for _ in range(2):
        with sentry_sdk.isolation_scope() as scope:
            scope.start_session(session_mode="request")
            scope.end_session()


def first_release() -> None:
    session("ada", (CardDeclined("card 1 declined"), True))
    session("ada", (CardDeclined("card 2 declined"), True))
    session("bob", (CardDeclined("card 3 declined"), True))
    for _ in range(3):
        with sentry_sdk.start_transaction(op="http.server", name="POST /pay"):
            pass
    capture_checkin("nightly-report", check_in_id="1" * 32, status="in_progress", monitor_config=HOURLY)
    capture_checkin("nightly-report", check_in_id="1" * 32, status="ok", duration=1.5, monitor_config=HOURLY)
    capture_checkin("nightly-report", check_in_id="2" * 32, status="error", duration=2.5, monitor_config=HOURLY)
    capture_checkin("stock-import", check_in_id="3" * 32, status="in_progress")
    sentry_sdk.capture_message("healthcheck")


def second_release() -> None:
    session("cyd")
    counted_sessions()
    session("dee", (CardDeclined("card 4 declined"), True))
    with sentry_sdk.new_scope() as scope:
        sentry_sdk.add_breadcrumb(category="cart", message="added 3 apples", level="info")
        sentry_sdk.add_breadcrumb(category="stock", message="asked the warehouse", data={"sku": "A-1"})
        scope.add_attachment(bytes=b'{"apples": 3}', filename="cart.json", content_type="application/json")
        session("bob", (StockMissing("no apples"), False))
    with sentry_sdk.start_transaction(op="http.server", name="POST /pay") as failed:
        failed.set_http_status(500)


with release(OLD):
    first_release()
with release(NEW):
    second_release()
print(json.dumps(facts))
