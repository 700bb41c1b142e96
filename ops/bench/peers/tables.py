"""The tables of OpenTelemetry's own exporter in an engine of a measurement."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import Final

from ops.bench.stack import HOST, Stack
from ops.local.clickhouse_http.access import users

SCHEMA: Final = Path(__file__).with_name("otel_tables.sql")
TIMEOUT_S: Final = 60


def create(stack: Stack) -> None:
    """Makes them beside ours."""
    for statement in SCHEMA.read_text().split(";"):
        if statement.strip():
            execute(stack, statement)


def execute(stack: Stack, statement: str | bytes) -> bytes:
    """Runs a statement, which may have data behind it; what the engine answers."""
    asked = urllib.request.Request(
        f"http://{HOST}:{stack.clickhouse_port}/",
        statement.encode() if isinstance(statement, str) else statement,
        {"X-ClickHouse-User": users.OPERATOR, "X-ClickHouse-Key": stack.passwords[users.OPERATOR]},
    )
    with urllib.request.urlopen(asked, timeout=TIMEOUT_S) as answer:
        content: bytes = answer.read()
    return content
