"""What the three applications share: how Sentry is started, and requests with headers that nobody may store.

Arguments of each: DSN, release, id of a trace. Names and values of the headers stand in SHOP_SECRETS as JSON, since the
SDK sends a program's arguments.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import sys
from contextlib import closing

import sentry_sdk

DSN, RELEASE, TRACE_ID = sys.argv[1:]
SECRETS: dict[str, str] = json.loads(os.environ.pop("SHOP_SECRETS"))
CALLER_SPAN = "c3" * 8


def start() -> None:
    """As an application does that streams its spans and sends personal data."""
    sentry_sdk.init(
        dsn=DSN,
        release=RELEASE,
        environment="staging",
        server_name="till-7",
        traces_sample_rate=1.0,
        trace_lifecycle="stream",
        send_default_pii=True,
        enable_logs=True,
    )


def look_up(number: int) -> int:
    """A query of a database."""
    with closing(sqlite3.connect(":memory:")) as database:
        (found,) = database.cursor().execute("SELECT ? + 1", (number,)).fetchone()
    return int(found)


def ask(port: int, path: str) -> int:
    """The status of a request in a caller's trace, with the secret headers. By hand: the SDK watches HTTP clients."""
    trace = {"Host": f"127.0.0.1:{port}", "sentry-trace": f"{TRACE_ID}-{CALLER_SPAN}-1", "Connection": "close"}
    fields = "".join(f"{name}: {value}\r\n" for name, value in (SECRETS | trace).items())
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\n{fields}\r\n".encode())
        with connection.makefile("rb") as answer:
            status = int(answer.readline().split()[1])
            answer.read()
    return status


def finish(statuses: list[int]) -> None:
    """Sends everything, then says what was answered."""
    sentry_sdk.flush(timeout=20)
    print(json.dumps({"statuses": statuses, "version": sentry_sdk.VERSION, "caller": CALLER_SPAN}))
