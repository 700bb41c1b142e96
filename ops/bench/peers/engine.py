"""What an insert costs the engine, by its number of rows, beside the same rows in OpenTelemetry's own tables.

Only the engine is measured: rows are made before. Ours are inserted by the worker's writer; theirs are read from our
table first, as that exporter would have written them, without payload, identity and computed columns.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Final

from ops.bench.bodies import kinds
from ops.bench.figures import Figure, FigureTarget
from ops.bench.peers import tables
from ops.bench.session import BenchSession
from ops.bench.stack import CHANNEL, Stack, running
from schemas.blocks.rows import Rows, join_rows
from schemas.headers import Origin
from schemas.rows import EVENTS_TABLE
from workers.normalise.otlp.body import SPAN_COLUMNS, normalise_spans
from workers.settings import WorkerSettings
from workers.store.writers import ClickHouseWriter

SIZES: Final = (1_024, 8_192, 32_768, 98_304)
# So many rows of each size are inserted in a turn, in at least two inserts.
ROWS: Final = 98_304
_PROTOBUF: Final = "application/x-protobuf"
_PEER: Final = "OpenTelemetry's table"
_COST: Final = FigureTarget(1.5, 1.2, "less")
_COPY: Final = (
    "INSERT INTO otel.otel_traces (Timestamp, TraceId, SpanId, ParentSpanId, TraceState, SpanName, SpanKind,"
    " ServiceName, ResourceAttributes, ScopeName, ScopeVersion, SpanAttributes, Duration, StatusCode, StatusMessage)"
    " FORMAT Native\n"
)
_SELECT: Final = (
    "SELECT timestamp AS Timestamp, trace_id AS TraceId, span_id AS SpanId, parent_span_id AS ParentSpanId,"
    " trace_state AS TraceState, CAST(name, 'LowCardinality(String)') AS SpanName, span_kind AS SpanKind,"
    " service_name AS ServiceName, resource AS ResourceAttributes, toString(scope_name) AS ScopeName,"
    " toString(scope_version) AS ScopeVersion, attributes_string AS SpanAttributes, duration_ns AS Duration,"
    " status AS StatusCode, status_message AS StatusMessage FROM axonpush.event_rows LIMIT {rows} FORMAT Native"
)


def engine(session: BenchSession) -> None:
    """Microseconds of the engine's processor for a span, by the rows of an insert, beside OpenTelemetry's table."""
    ours: dict[int, list[float]] = {size: [] for size in SIZES}
    theirs: dict[int, list[float]] = {size: [] for size in SIZES}
    for _ in range(session.turns):
        for size in SIZES:
            own, peers = _turn(size)
            ours[size].append(own)
            theirs[size].append(peers)
    for size in SIZES:
        target = _COST if size == SIZES[-2] else None
        figures = tuple(ours[size]), tuple(theirs[size])
        session.add(Figure(f"engine, a span of {size:,} an insert", "us", *figures, _PEER, target))


def _turn(size: int) -> tuple[float, float]:
    """Of ours and of theirs, in a new engine, with the merges that the inserts cause."""
    inserts = max(2, ROWS // size)
    with running(clickhouse=True) as stack:
        tables.create(stack)
        ours = asyncio.run(_ours(stack, [_rows(size, number) for number in range(inserts)]))
        body = _COPY.encode() + tables.execute(stack, _SELECT.format(rows=size))
        tables.execute(stack, body)  # warm-up
        before = stack.cpu_s()["clickhouse"]
        for _ in range(inserts):
            tables.execute(stack, body)
        theirs = stack.cpu_s()["clickhouse"] - before
    return ours / inserts / size * 1e6, theirs / inserts / size * 1e6


async def _ours(stack: Stack, batches: list[Rows]) -> float:
    """Seconds of the engine's processor for these inserts."""
    writer = ClickHouseWriter(WorkerSettings(**stack.settings.model_dump()))
    try:
        await writer.insert(EVENTS_TABLE, SPAN_COLUMNS, _rows(1_024, len(batches)))  # warm-up
        before = stack.cpu_s()["clickhouse"]
        for batch in batches:
            await writer.insert(EVENTS_TABLE, SPAN_COLUMNS, batch)
        return stack.cpu_s()["clickhouse"] - before
    finally:
        await writer.close()


def _rows(size: int, seed: int) -> Rows:
    """Spans of bodies in many variants, with ids that no other seed has."""
    kind = kinds.by_name()["spans"]
    origin = Origin("default", CHANNEL, "bench", "production", False, time.time_ns(), _PROTOBUF)
    tokens = enumerate(kinds.tokens(seed + 1, size // kind.rows))
    bodies = ((replace(origin, origin_seq=number), kind.make(token)) for number, token in tokens)
    return join_rows(normalise_spans(*body).rows for body in bodies)
