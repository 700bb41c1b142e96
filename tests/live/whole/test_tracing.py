"""A trace of ourselves, from the socket to the insert: exported to our own endpoint and read back by SQL."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.polling import eventually
from tests.receivers import CHANNEL, STOP_DEADLINE_S, Site
from tests.servers import HOST, ROOT, Server, environment, free_port

pytestmark = pytest.mark.live

SPANS = """SELECT service_name, name, trace_id, span_id, parent_span_id, toInt64(duration_ns) FROM events
    WHERE item_type = 'otlp_span' ORDER BY timestamp"""
REQUEST = "POST /api/{channel}/envelope"


class Fleet:
    """A receiver and workers that trace every request, and send what they trace to themselves."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._key = site.mint(None)
        self._port = free_port()
        self.log = site.folder / "traced.log"
        told = environment(
            AXONPUSH_PORT=str(self._port),
            AXONPUSH_TRACING_URL=f"http://{HOST}:{self._port}",
            AXONPUSH_TRACING_SAMPLE_RATIO="1",
            AXONPUSH_TRACING_HEADERS=f"X-API-Key={self._key},X-Axonpush-Channel={CHANNEL}",
            **site.settings(),
        )
        with self.log.open("ab") as output:
            self.processes = [
                subprocess.Popen([sys.executable, "-m", *words], env=told, cwd=ROOT, stdout=output, stderr=output)
                for words in (["receiver"], ["workers", "unpack"], ["workers", "event", "otlp_span"])
            ]
        eventually(self._is_up, f"receiver and workers (log: {self.log})")

    def _is_up(self) -> bool:
        text = self.log.read_text()
        assert all(process.poll() is None for process in self.processes), text
        return "receiver_ready" in text and text.count("worker_started") == 2

    def send(self) -> None:
        """One event of its own."""
        body = b'{"event_id":"%s"}\n{"type":"event"}\n{"message":"hello"}\n' % uuid.uuid4().hex.encode()
        url = f"http://{HOST}:{self._port}/api/{CHANNEL}/envelope/?sentry_key={self._key}"
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=60) as answer:
            assert answer.status == 200

    def spans(self) -> list[tuple[str, ...]]:
        """Every span of ours that is in SQL: service, name, trace, id, parent, duration."""
        return [tuple(map(str, row)) for row in self._site.query(SPANS)]

    def traces(self, number: int) -> dict[str, dict[str, tuple[str, ...]]]:
        """Spans by trace and name, as soon as `number` traces have reached their insert."""

        def whole() -> dict[str, dict[str, tuple[str, ...]]]:
            found: dict[str, dict[str, tuple[str, ...]]] = {}
            for span in self.spans():
                found.setdefault(span[2], {})[span[1]] = span
            ends = [one for one in found.values() if "INSERT event_rows" in one and REQUEST in one]
            return found if len(ends) >= number else {}

        return eventually(whole, f"{number} whole traces (log: {self.log})")

    def end(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(STOP_DEADLINE_S)


@pytest.fixture
def fleet(tmp_path: Path, own_nats_server: Server, clickhouse_server: Server) -> Iterator[Fleet]:
    """Servers of this test's own but for ClickHouse, where it has a database."""
    site = Site(tmp_path, own_nats_server, clickhouse_server)
    made = Fleet(site)
    try:
        yield made
    finally:
        made.end()
        site.end()


def test_the_way_of_one_event_is_one_trace_in_sql(fleet: Fleet) -> None:
    """receiver -> publish -> unpack -> normalise -> insert, each below the one before; and spans make no traces."""
    fleet.send()
    ((trace_id, spans),) = fleet.traces(1).items()
    assert trace_id
    way = [REQUEST, "publish RAW", "unpack", "normalise event", "INSERT event_rows"]
    assert set(spans) == set(way)
    services = [spans[name][0] for name in way]
    assert services == ["axonpush-receiver"] * 2 + ["axonpush-worker"] * 3
    parents = ["", *(spans[name][3] for name in way[:-1])]
    assert [spans[name][4] for name in way] == parents
    assert all(int(spans[name][5]) > 0 for name in way)

    # What carried that trace came in as requests of its own by now: had they been traced, they would be here as well.
    fleet.send()
    fleet.traces(2)
    eventually(lambda: len(fleet.spans()) >= 2 * len(way), "the last span of the second trace")
    assert {name for _, name, *_ in fleet.spans()} == set(way)
    assert len(fleet.spans()) == 2 * len(way), fleet.spans()
    print(*fleet.spans(), sep="\n")
