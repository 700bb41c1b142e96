"""A small shop that knows nothing of telemetry: `opentelemetry-instrument` watches it serve, be asked, and stop."""

from __future__ import annotations

import json
import logging
import sqlite3
import sys
import threading
import urllib.error
import urllib.request
from contextlib import closing

from flask import Flask
from werkzeug.serving import make_server

app = Flask("shop")
logger = logging.getLogger("shop.orders")
ORDER_TRACE, FAILURE_TRACE = sys.argv[1:3]
CALLER_SPAN = "c3" * 8


@app.get("/orders/<int:number>")
def order(number: int) -> dict[str, int]:
    """Asks a database and logs a warning with an attribute."""
    with closing(sqlite3.connect(":memory:")) as database:
        (found,) = database.cursor().execute("SELECT ? + 1", (number,)).fetchone()
    logger.warning("order %d is late", number, extra={"order.number": number})
    return {"found": found}


@app.get("/broken")
def broken() -> str:
    """Raises, which Flask logs and answers with 500."""
    return str(1 // 0)


def ask(url: str, trace_id: str) -> int:
    """A request of a caller that is itself part of a trace; returns the status."""
    request = urllib.request.Request(url, headers={"traceparent": f"00-{trace_id}-{CALLER_SPAN}-01"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def main() -> None:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        statuses = [ask(f"{address}/orders/41", ORDER_TRACE), ask(f"{address}/broken", FAILURE_TRACE)]
    finally:
        server.shutdown()
        thread.join()
    print(json.dumps({"order": ORDER_TRACE, "failure": FAILURE_TRACE, "caller": CALLER_SPAN, "statuses": statuses}))


main()
