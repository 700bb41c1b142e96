"""The same data in every encoding and coding, through receiver and workers: one set of rows, whatever the wire."""

from __future__ import annotations

import asyncio
import gzip
import sys
import time
import urllib.request
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from ops.registry.changes import RegistryWriter
from ops.registry.connection import open_registry
from ops.runtime.settings import Settings
from schemas.otlp import http_bodies as otlp
from schemas.otlp.http_bodies import Encoding
from tests.fuzz import exports
from tests.system import System

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

pytestmark = pytest.mark.live

CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstd.compress,
}
ENCODINGS: tuple[Encoding, ...] = ("json", "protobuf")
# Where a row came from, and what is made of that. All other columns say what was sent.
ORIGIN = "event_id, channel_id, received_at, version, source_seq"
ORIGIN_OF_SPANS = f"{ORIGIN}, observed_at"  # only logs say when they were observed
RECORDS = 12


def new_channels(system: System, count: int) -> list[int]:
    """Channels for one test alone."""

    async def create() -> list[int]:
        async with open_registry(Settings(nats_url=system.ready["nats_url"]), "default") as registry:
            return [await _create(registry) for _ in range(count)]

    return asyncio.run(create())


async def _create(registry: RegistryWriter) -> int:
    return (await registry.create_channel()).id


def export(  # noqa: PLR0917
    system: System, path: str, body: bytes, encoding: Encoding, coding: str, channel: int
) -> bytes:
    """One export as a client sends it; the answer's body."""
    headers = {
        "Content-Type": otlp.MEDIA_TYPES[encoding],
        "Content-Encoding": coding,
        "X-API-Key": system.ready["api_key"],
        "X-Axonpush-Channel": str(channel),
    }
    request = urllib.request.Request(f"{system.ready['url']}{path}", CODINGS[coding](body), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.headers["content-type"] == otlp.MEDIA_TYPES[encoding]
        return bytes(answer.read())


@pytest.mark.parametrize(
    ("path", "bodies", "origin"),
    [("/v1/traces", exports.spans, ORIGIN_OF_SPANS), ("/v1/logs", exports.logs, ORIGIN)],
    ids=["traces", "logs"],
)
def test_equal_data_makes_equal_rows_however_it_was_sent(system: System, path: str, bodies: Any, origin: str) -> None:
    """Identity, gzip, deflate and zstd, JSON and protobuf: eight exports by the SDK's encoders, one set of rows."""
    start_ns = time.time_ns() - 60 * 10**9
    ways = [(encoding, coding) for encoding in ENCODINGS for coding in CODINGS]
    channels = new_channels(system, len(ways))
    for channel, (encoding, coding) in zip(channels, ways, strict=True):
        body = bodies(encoding, start_ns)[-1]
        assert export(system, path, body, encoding, coding, channel) == otlp.success(encoding)
    sets = [_rows(system, channel, origin) for channel in channels]
    for way, rows in zip(ways, sets, strict=True):
        assert rows == sets[0], way
    # Eight empty sets would be equal too.
    assert len(sets[0]) == RECORDS
    assert sum(bool(row["attributes"]) for row in sets[0]) == RECORDS
    assert {row["service_name"] for row in sets[0]} == {"till", "ledger"}
    assert all(row["repairs"] == [] for row in sets[0])


def _rows(system: System, channel: int, origin: str) -> list[dict[str, Any]]:
    sql = f"SELECT * EXCEPT ({origin}) FROM events WHERE channel_id = {{channel:UInt64}} ORDER BY source_ordinal"
    return system.rows(sql, RECORDS, channel=channel)


@pytest.mark.parametrize("coding", CODINGS)
def test_refused_records_are_counted_alike(system: System, coding: str) -> None:
    """Two of three spans have no identity: the count and the sentence are the same in both encodings."""
    (channel,) = new_channels(system, 1)
    json_body = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{},{"traceId":"%s","spanId":"%s"},{}]}]}]}'
    body = json_body % (b"a" * 32, b"b" * 16)
    said = export(system, "/v1/traces", body, "json", coding, channel)
    good = b"\x0a\x10" + b"\xaa" * 16 + b"\x12\x08" + b"\xbb" * 8
    spans = b"\x12\x00" + b"\x12" + bytes([len(good)]) + good + b"\x12\x00"
    body = b"\x0a" + bytes([len(spans) + 2]) + b"\x12" + bytes([len(spans)]) + spans
    partial = ExportTraceServiceResponse.FromString(
        export(system, "/v1/traces", body, "protobuf", coding, channel)
    ).partial_success
    assert partial.rejected_spans == 2
    assert partial.error_message.startswith("invalid_trace_id: span 0 of resource 0: ")
    assert said == otlp.partial_success("traces", "json", 2, partial.error_message)
