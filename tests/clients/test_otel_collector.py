"""The OpenTelemetry Collector between exporters and the receiver: both encodings, compression, batches, retries."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import pytest

from schemas.subjects import SOURCES
from tests.clients.conftest import wait_until_drained
from tests.clients.otel_processes import Facts, running
from tests.clients.sentry_clients import text_pin
from tests.clients.toolchains import PROGRAMS, go_program
from tests.polling import eventually
from tests.servers import HOST, free_port

pytestmark = pytest.mark.clients

# How the collector's otlphttp exporter writes: (encoding, compression).
Way = tuple[str, str]
WAYS: list[Way] = [("proto", "gzip"), ("json", "zstd")]
# The private broker has little room; the streams of a default installation would not fit.
SMALL_STREAMS = {f"AXONPUSH_{stream}_MAX_BYTES": "500000000" for stream in ("RAW", "ITEMS", "DEAD")}
BEFORE_OUTAGE, DURING_OUTAGE, AFTER_OUTAGE = 100, 200, 100
OF_ONE_RUN = {
    *("event_id", "trace_id", "span_id", "parent_span_id", "resource", "service_instance_id", "span_events", "payload"),
    *("timestamp", "duration_ns", "received_at", "observed_at", "source_seq", "source_ordinal", "version"),
}
STEADY = (
    "SELECT count() AS rows, uniqExact(attributes_int['number']) AS numbers FROM events "
    "WHERE item_type = '%s' AND service_name = 'steady'"
)
RECOVERY_DEADLINE_S = 90.0
# What was on its way to a worker when the broker died comes again after the durable's ack_wait: a minute, unless told.
ACK_WAIT_S = 10.0
SENDER_STOP_S = 30


def proves(feature: str, result: str) -> pytest.MarkDecorator:
    """A claim for the collector."""
    version = text_pin("otel-collector/go.mod", r"collector/otelcol v(\S+)")
    return pytest.mark.proves("OpenTelemetry Collector", version, feature, result)


class Collector:
    """A collector that forwards what it gets at `url` to the system of `ready`; `log` is what it says."""

    def __init__(self, folder: Path, ready: Facts, way: Way) -> None:
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        self.log = folder / "collector.log"
        self._config = folder / "collector.json"
        self._config.write_text(json.dumps(self._configuration(ready, *way)))

    @contextlib.contextmanager
    def serving(self) -> Iterator[Collector]:
        """Runs for as long as the block."""
        with running([go_program("otel-collector"), self._config], self.log) as process:
            eventually(lambda: process.poll() is not None or self._listens(), "the collector to listen")
            assert process.poll() is None, self.log.read_text()[-4000:]
            yield self

    def _listens(self) -> bool:
        with socket.create_connection((HOST, self.port), timeout=2):
            return True

    def _configuration(self, ready: Facts, encoding: str, compression: str) -> dict[str, Any]:
        exporter = {
            "endpoint": ready["url"],
            "encoding": encoding,
            "compression": compression,
            "headers": {"X-API-Key": ready["api_key"], "X-Axonpush-Channel": str(ready["channel"])},
            "retry_on_failure": {"initial_interval": "100ms", "max_interval": "1s", "max_elapsed_time": "0s"},
            "sending_queue": {"queue_size": 10_000},
        }
        pipeline = {"receivers": ["otlp"], "processors": ["batch"], "exporters": ["otlphttp"]}
        return {
            "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"{HOST}:{self.port}"}}}},
            "processors": {"batch": {"timeout": "300ms"}},
            "exporters": {"otlphttp": exporter},
            "service": {
                "telemetry": {"metrics": {"level": "none"}},
                "pipelines": {"traces": pipeline, "logs": pipeline},
            },
        }


class Steady:
    """The program otel-steady while it runs."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log

    def sent(self) -> int:
        """How many spans, and as many logs, the collector has taken from it."""
        said = [line for line in self._log.read_text().splitlines(keepends=True) if line.startswith('{"sent"')]
        complete = [line for line in said if line.endswith("\n")]
        return int(json.loads(complete[-1])["sent"]) if complete else 0

    def wait_for(self, count: int) -> None:
        """Returns when `count` have been taken."""
        eventually(lambda: self._process.poll() is not None or self.sent() >= count, f"{count} to be sent")
        assert self._process.poll() is None, self._log.read_text()[-4000:]

    def stop(self) -> int:
        """Lets it end; returns how many were sent in all."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(SENDER_STOP_S) == 0, self._log.read_text()[-4000:]
        return self.sent()


@contextlib.contextmanager
def steady(url: str, folder: Path) -> Iterator[Steady]:
    """Spans and logs to `url` for as long as the block, or until it is stopped."""
    log = folder / "steady.log"
    with running([sys.executable, PROGRAMS / "otel-steady" / "steady.py", url], log) as process:
        yield Steady(process, log)


def alike(row: dict[str, Any]) -> dict[str, Any]:
    """What two runs of one program have in common: all but ids, times, and what says how a row came."""
    return {name: value for name, value in row.items() if name not in OF_ONE_RUN}


def wait_for_rows(sql: Any, query: str, wanted: int) -> dict[str, int]:
    """The one row of `query` once its `rows` are as many as `wanted`."""

    def enough() -> dict[str, int]:
        (counted,) = sql.rows(query)
        return counted if counted["rows"] >= wanted else {}

    return eventually(enough, f"{wanted} rows: {query}", RECOVERY_DEADLINE_S)


async def deliver_again_soon(nats_url: str) -> None:
    """Shortens ack_wait of every durable; workers only take what the broker gives them."""
    client = await nats.connect(nats_url)
    try:
        jetstream = client.jetstream()
        for source in SOURCES.values():
            found = await jetstream.consumer_info(source.stream, source.durable)
            await jetstream.add_consumer(source.stream, found.config.evolve(ack_wait=ACK_WAIT_S))
    finally:
        await client.close()


@proves("otlphttp in protobuf with gzip and in JSON with zstd", "the rows of a direct export")
@pytest.mark.parametrize("way", WAYS, ids="-".join)
def test_what_goes_through_a_collector_is_as_if_sent_directly(
    ready: Any, sql: Any, program: Any, tmp_path: Path, way: Way
) -> None:
    """Every column of the spans is the same but for what says how and when they came."""
    with Collector(tmp_path, ready, way).serving() as collector:
        address = (ready["api_key"], str(ready["channel"]))
        direct = program("otel_traces", "proto", ready["url"], *address)
        through = program("otel_traces", "proto", collector.url, *address)
        query = "SELECT * FROM events WHERE trace_id = '%s' ORDER BY name"
        rows = [sql.wait(query % sent["trace_id"], 2) for sent in (direct, through)]
        assert [alike(row) for row in rows[0]] == [alike(row) for row in rows[1]]
        (root,) = sql.wait(f"SELECT duration_ns FROM events WHERE span_id = '{through['root']}'", 1)
        assert root["duration_ns"] == through["root_ns"]


@proves("batches of many requests", "a row for each span")
def test_a_collector_joins_many_requests_to_few(ready: Any, sql: Any, tmp_path: Path) -> None:
    """Forty rounds of spans, each a request of its own, come as few bodies and lose nothing."""
    with Collector(tmp_path, ready, WAYS[0]).serving() as collector, steady(collector.url, tmp_path) as sender:
        sender.wait_for(400)
        sent = sender.stop()
        query = "SELECT count() AS rows, uniqExact(source_seq) AS bodies FROM events WHERE name = 'tick'"
        found = wait_for_rows(sql, query, sent)
        assert found["rows"] == sent
        assert found["bodies"] < sent / 10 / 2


@proves("retries while the broker is away", "nothing lost, nothing double")
@pytest.mark.parametrize("way", WAYS, ids="-".join)
def test_an_outage_of_the_broker_loses_and_doubles_nothing(
    own_nats_server: Any, make_system: Any, sql_at: Any, tmp_path: Path, way: Way
) -> None:
    """The broker is killed while spans and logs flow; the collector retries, and each is there once."""
    system = make_system(AXONPUSH_NATS_URL=own_nats_server.url, **SMALL_STREAMS).start()
    sql = sql_at(system.ready)
    asyncio.run(deliver_again_soon(own_nats_server.url))
    with Collector(tmp_path, system.ready, way).serving() as collector:
        with steady(collector.url, tmp_path) as sender:
            sender.wait_for(BEFORE_OUTAGE)
            own_nats_server.kill()
            sender.wait_for(sender.sent() + DURING_OUTAGE)
            eventually(lambda: "Will retry" in collector.log.read_text(), "the collector to meet the outage")
            own_nats_server.start()
            sender.wait_for(sender.sent() + AFTER_OUTAGE)
            sent = sender.stop()
        for query in (STEADY % "otlp_span", STEADY % "otlp_log"):
            wait_for_rows(sql, query, sent)
    assert "Dropping data" not in collector.log.read_text()
    eventually(lambda: asyncio.run(wait_until_drained(own_nats_server.url)) is None, "workers", RECOVERY_DEADLINE_S)
    for query in (STEADY % "otlp_span", STEADY % "otlp_log"):
        assert sql.rows(query) == [{"rows": sent, "numbers": sent}]
