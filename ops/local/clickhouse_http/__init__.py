"""The embedded ClickHouse server: one process that owns a chDB directory and speaks the ClickHouse HTTP interface.

What lives here is a server, not a client: workers, users and tests talk to it over HTTP as to any ClickHouse.
A request passes the files in this order: server, users, request, body, execute
(statement, guard, parse, rights), pool, engine, reply.
The HTTP layer is aiohttp: clickhouse-connect's async client brings it in anyway, it parses in C, streams in both
directions, and tells a handler when its client has gone, which is what stops a query nobody waits for.
"""

from __future__ import annotations

import sys
from pathlib import Path


def command(path: str | Path, host: str = "127.0.0.1", port: int = 8123, database: str = "axonpush") -> list[str]:
    """The argv which starts the server on the data directory `path`; port 0 picks a free one.

    Its users are those of users.py, with the passwords of `users.passwords(path)`; workers and readers have rights to
    `database`.

    When it is ready it prints the line `listening on http://HOST:PORT`; it exits 1 when the directory is in use.
    """
    arguments = ["--path", str(path), "--host", host, "--port", str(port), "--database", database]
    return [sys.executable, "-m", "ops.local.clickhouse_http", *arguments]
