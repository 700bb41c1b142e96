"""`make bench`: how fast bodies become insertable rows on one core, as ratios to a floor measured in turns with it."""

from __future__ import annotations

import argparse
import gzip
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import orjson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from rich.console import Console
from rich.table import Table

from ops.bench import bodies
from schemas import envelope
from schemas.headers import Origin
from workers.normalise import event, otlp
from workers.split import envelope as envelope_split

_NOW_NS = time.time_ns()


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing measured: ours and its floor do the same body; each call is worth `records` records."""

    name: str
    floor_name: str
    records: int
    ours: Callable[[], object]
    floor: Callable[[], object]


def main() -> None:
    """Prints a table; `--seconds` is the length of one turn."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.5, help="length of one turn")
    parser.add_argument("--turns", type=int, default=5, help="turns of each side, one after the other")
    arguments = parser.parse_args()
    table = Table("figure", "floor", "ours / s", "floor / s", "ratio (range)", title="One core, medians")
    for figure in (_errors(), _spans()):
        ours, floors = measure(figure, arguments.seconds, arguments.turns)
        ratios = [mine / other for mine, other in zip(ours, floors, strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        medians = (f"{statistics.median(side):,.0f}" for side in (ours, floors))
        table.add_row(figure.name, figure.floor_name, *medians, spread)
    Console().print(table)


def measure(figure: Figure, seconds: float, turns: int) -> tuple[list[float], list[float]]:
    """Records per second of ours and of the floor, in turns: A B A B."""
    pairs = [(_rate(figure.ours, seconds), _rate(figure.floor, seconds)) for _ in range(turns)]
    return [ours * figure.records for ours, _ in pairs], [floor * figure.records for _, floor in pairs]


def _rate(call: Callable[[], object], seconds: float) -> float:
    began_s = time.perf_counter()
    calls = 0
    while (spent_s := time.perf_counter() - began_s) < seconds:
        call()
        calls += 1
    return calls / spent_s


def _errors() -> Figure:
    body = bodies.error_envelope_gzip()

    def ours() -> object:
        _, _, item = envelope_split.read(gzip.decompress(body), _origin(), len(body) * 100).items[0]
        return event.normalise(_origin(), item)

    def floor() -> object:
        _, items = envelope.read(gzip.decompress(body))
        return orjson.loads(items[0].payload)

    return Figure(f"error, gzip {len(body):,} bytes to a row", "gunzip, envelope, orjson", 1, ours, floor)


def _spans() -> Figure:
    body = bodies.spans_protobuf()

    def ours() -> object:
        return otlp.normalise_spans(_origin("application/x-protobuf"), body)

    return Figure(
        f"OTLP protobuf, {bodies.SPANS} spans to rows", "parse and walk", bodies.SPANS, ours, lambda: _walk(body)
    )


def _walk(body: bytes) -> list[tuple[object, ...]]:
    """What the least code would do: parse with the generated classes, look at every attribute."""
    request = ExportTraceServiceRequest.FromString(body)
    text = "string_value"
    return [
        (
            span.trace_id.hex(),
            span.span_id.hex(),
            span.name,
            span.start_time_unix_nano,
            {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or text) for pair in span.attributes},
        )
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _origin(content_type: str = "") -> Origin:
    return Origin("default", 1, "bench", "development", False, _NOW_NS, content_type, origin_id="bench", origin_seq=1)


if __name__ == "__main__":
    main()
