"""A Celery worker with its queue in memory: a task that works and one that raises, sent from within a trace."""

from __future__ import annotations

import logging

import sentry_sdk
import shop
from celery import Celery
from celery.result import AsyncResult

app = Celery("shop", broker="memory://", backend="cache+memory://")


@app.task(name="shop.order")
def order(number: int, **_secrets: str) -> int:
    """Asks a database and logs a warning."""
    logging.getLogger("shop.orders").warning("order %d is late", number)
    return shop.look_up(number)


@app.task(name="shop.broken")
def broken() -> int:
    """Raises."""
    return 1 // 0


def main() -> None:
    shop.start()
    # The SDK has to be there before the worker's modules are, as in a worker that is started by its command.
    from celery.contrib.testing.worker import start_worker

    secrets = {name.lower().replace("-", "_"): value for name, value in shop.SECRETS.items()}
    sentry_sdk.traces.continue_trace({"sentry-trace": f"{shop.TRACE_ID}-{shop.CALLER_SPAN}-1"})
    with start_worker(app, perform_ping_check=False, loglevel="WARNING"):
        with sentry_sdk.traces.start_span(name="GET /checkout"):
            sent: list[AsyncResult[int]] = [order.delay(41, **secrets), broken.delay()]
        states = [one.get(timeout=20, propagate=False) for one in sent]
    shop.finish([200 if isinstance(state, int) else 500 for state in states])


main()
