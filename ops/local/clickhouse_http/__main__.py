"""`python -m ops.local.clickhouse_http`: start, say where it listens, serve until SIGTERM or SIGINT, stop cleanly."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import resource
import signal
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

# ClickHouse's http_max_uri_size and http_max_field_value_size.
MAX_LINE_BYTES: Final = 1 << 20
MAX_FIELD_BYTES: Final = 128 << 10
# Threads waiting on the engine are cheap, but they share its memory cap.
MAX_QUERIES: Final = 64
GRACE_S: Final = 10.0
# After that and this long, a stop ends the process whatever still runs: `up` kills after 15 s.
END_S: Final = 4.0
# How long the last answers may take to go out after their queries ended.
SEND_LAST_S: Final = 5.0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ops.local.clickhouse_http", description=__doc__)
    parser.add_argument("--path", type=Path, required=True, help="the data directory; made if it does not exist")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=8123, help="port to listen on; 0 takes a free one")
    parser.add_argument("--database", default="axonpush", help="the database that workers and readers have rights to")
    parser.add_argument("--max-queries", type=int, default=MAX_QUERIES, help="queries running at a time")
    parser.add_argument("--memory-bytes", type=int, default=0, help="memory cap (default: half of the machine)")
    parser.add_argument("--threads", type=int, default=0, help="threads of one query (default: cores, at most 8)")
    parser.add_argument("--no-fsync", action="store_true", help="answer inserts before they are on the disk itself")
    parser.add_argument("--allow-origin", action="append", default=[], help="web origin that may query; * for any")
    parser.add_argument("--grace-s", type=float, default=GRACE_S, help="how long running queries may finish on a stop")
    return parser.parse_args(argv)


def _raise_file_limit() -> None:
    """The engine keeps a few descriptors a thread and one a file it reads; soft limits of 1024 are too few for that."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # some systems refuse the hard limit itself
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main(argv: list[str] | None = None) -> int:
    """Serve. Returns 0 after a clean stop, 1 when the directory, the address or the engine refuses."""
    arguments = _arguments(argv)
    protect_output()
    create_files_for_owner_only()
    _raise_file_limit()
    limits = EngineLimits(arguments.memory_bytes, arguments.threads, fsync=not arguments.no_fsync)
    try:
        known = passwords(arguments.path)
        engine = Engine(arguments.path, limits, arguments.database)
    except (DirectoryInUse, ServerError, OSError, ValueError) as error:
        print(f"cannot open {arguments.path}: {error}", file=sys.stderr)
        return 1
    origins = frozenset(arguments.allow_origin)
    server = Server(engine, known, max_queries=arguments.max_queries, origins=origins)
    try:
        clean = uvloop.run(_serve(server, arguments))
    except OSError as error:
        print(f"cannot listen on {arguments.host}:{arguments.port}: {error}", file=sys.stderr)
        engine.close()
        return 1
    if not clean:  # a thread is stuck in the engine: what was answered is on disk, so leave without it
        sys.stdout.flush()
        os._exit(0)
    server.close()
    engine.close()
    return 0


async def _serve(server: Server, arguments: argparse.Namespace) -> bool:
    """Listen until a signal comes; True when every call had ended."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
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
        print(f"listening on http://{_shown(arguments.host)}:{port}", flush=True)
        await stopped.wait()
        _end_after(arguments.grace_s + END_S)
        await site.stop()
        return await server.stop(arguments.grace_s)
    finally:
        await runner.cleanup()


def _end_after(wait_s: float) -> None:
    """A bound for the stop: neither a thread in the engine nor the closing of the engine may hold it up."""
    timer = threading.Timer(wait_s, os._exit, (0,))  # what was answered is on disk
    timer.daemon = True
    timer.start()


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


if __name__ == "__main__":
    sys.exit(main())
