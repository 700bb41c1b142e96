"""The embedded ClickHouse server: a process that owns a chDB directory and serves the ClickHouse HTTP interface.

Workers, users and tests use it over HTTP like any ClickHouse server. A request passes the files in this order: server,
users, request, body, execute (statement, guard, parse, rights), pool, engine, reply.

The HTTP layer is aiohttp: clickhouse-connect's async client needs it anyway. It parses in C, streams in both
directions, and reports a disconnected client, so that a query without a reader can be stopped.
"""

from __future__ import annotations

import sys
from pathlib import Path


def command(path: str | Path, host: str = "127.0.0.1", port: int = 8123, database: str = "axonpush") -> list[str]:
    """The command line that starts the server on the data directory `path`; port 0 means any free port.

    Its users are those of users.py, with the passwords of `users.passwords(path)`; workers and readers have rights to
    `database`. When it is ready it prints `listening on http://HOST:PORT`; it exits with 1 when the directory is in
    use.
    """
    arguments = ["--path", str(path), "--host", host, "--port", str(port), "--database", database]
    return [sys.executable, "-m", "ops.local.clickhouse_http", *arguments]
