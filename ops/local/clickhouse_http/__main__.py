"""`python -m ops.local.clickhouse_http`: serves until SIGTERM or SIGINT, then stops cleanly."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from pathlib import Path
from typing import Final

import uvloop
from aiohttp import web

from ops.local.clickhouse_http.access.users import passwords
from ops.local.clickhouse_http.config import EngineLimits
from ops.local.clickhouse_http.connections import BoundedSite, Connections, connections_of_machine
from ops.local.clickhouse_http.engine import DirectoryInUse, Engine
from ops.local.clickhouse_http.errors import ServerError
from ops.local.clickhouse_http.server import Server
from ops.local.private_folder import create_files_for_owner_only
from ops.runtime.output import protect_output
from ops.runtime.process.file_limit import raise_file_limit
from ops.runtime.process.signals import stop_event

# ClickHouse's http_max_uri_size and http_max_field_value_size.
MAX_LINE_BYTES: Final = 1 << 20
MAX_FIELD_BYTES: Final = 128 << 10
# Threads that wait for the engine are cheap, but they share its memory limit.
MAX_QUERIES: Final = 64
GRACE_S: Final = 10.0
# After the grace and this time, the process ends whatever still runs: `up` kills it after 15 s.
END_S: Final = 4.0
# How long the last answers may take to be sent after their queries ended.
SEND_LAST_S: Final = 5.0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ops.local.clickhouse_http", description=__doc__)
    parser.add_argument("--path", type=Path, required=True, help="the data directory; created if missing")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=8123, help="port to listen on; 0 = any free port")
    parser.add_argument("--database", default="axonpush", help="the database that workers and readers have rights to")
    parser.add_argument("--max-queries", type=int, default=MAX_QUERIES, help="maximum concurrent queries")
    parser.add_argument("--memory-bytes", type=int, default=0, help="memory cap (default: half of the machine)")
    parser.add_argument("--threads", type=int, default=0, help="threads of one query (default: cores, at most 8)")
    parser.add_argument("--no-fsync", action="store_true", help="answer inserts before they are synced to disk")
    parser.add_argument("--allow-origin", action="append", default=[], help="web origin that may query; * for any")
    parser.add_argument(
        "--grace-s", type=float, default=GRACE_S, help="seconds that running queries may take to finish on a stop"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Serves. Returns 0 after a clean stop, 1 when the directory, the address or the engine fails."""
    arguments = _arguments(argv)
    protect_output()
    create_files_for_owner_only()
    raise_file_limit()  # the engine needs a few per thread and one per file it reads
    limits = EngineLimits(arguments.memory_bytes, arguments.threads, fsync=not arguments.no_fsync)
    try:
        user_passwords = passwords(arguments.path)
        engine = Engine(arguments.path, limits, arguments.database)
    except (DirectoryInUse, ServerError, OSError, ValueError) as error:
        print(f"cannot open {arguments.path}: {error}", file=sys.stderr)
        return 1
    origins = frozenset(arguments.allow_origin)
    server = Server(engine, user_passwords, max_queries=arguments.max_queries, origins=origins)
    try:
        clean = uvloop.run(_serve(server, arguments))
    except OSError as error:
        print(f"cannot listen on {arguments.host}:{arguments.port}: {error}", file=sys.stderr)
        engine.close()
        return 1
    if not clean:  # a thread is blocked in the engine: answered inserts are on disk, so exit without waiting for it
        sys.stdout.flush()
        os._exit(0)
    server.close()
    engine.close()
    return 0


async def _serve(server: Server, arguments: argparse.Namespace) -> bool:
    """Listens until a signal; True if every call had ended."""
    stopped = stop_event()
    runner = web.AppRunner(
        server.app(),
        access_log=None,
        handle_signals=False,
        handler_cancellation=True,
        shutdown_timeout=SEND_LAST_S,
        auto_decompress=False,
        max_line_size=MAX_LINE_BYTES,
        max_field_size=MAX_FIELD_BYTES,
    )
    await runner.setup()
    assert runner.server is not None
    connections = Connections(runner.server, connections_of_machine())
    server.watch_connections(connections)
    site = BoundedSite(runner, connections, arguments.host, arguments.port, backlog=512)
    try:
        await site.start()
        port = runner.addresses[0][1]
        print(f"listening on http://{_host_text(arguments.host)}:{port}", flush=True)
        await stopped.wait()
        _end_after(arguments.grace_s + END_S)
        await site.stop()
        return await server.stop(arguments.grace_s)
    finally:
        await runner.cleanup()


def _end_after(wait_s: float) -> None:
    """Limits the duration of a stop: neither a thread in the engine nor closing the engine may delay it further."""
    timer = threading.Timer(wait_s, os._exit, (0,))  # answered inserts are on disk
    timer.daemon = True
    timer.start()


def _host_text(host: str) -> str:
    return f"[{host}]" if ":" in host else host


if __name__ == "__main__":
    sys.exit(main())
