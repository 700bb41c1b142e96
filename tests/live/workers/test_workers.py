"""Workers against a real broker and a real engine: nothing is lost, nothing doubles, whoever is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import clickhouse_connect
import nats
import pytest
from faststream.nats import NatsBroker
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from ops.provisioning import migrate
from ops.provisioning.streams import MIB, Budgets, consumers
from schemas import headers, subjects
from schemas.headers import Origin
from schemas.outcomes import OUTCOME_COLUMNS, OutcomeRow
from tests import databases
from tests.brokers import on_broker
from tests.polling import ANSWER_TIMEOUT_S, DEADLINE_S, eventually
from tests.servers import ROOT, Server, environment
from workers.clock import SystemClock
from workers.consume.pull import FetchSize, attach
from workers.normalise.sentry.event import COLUMNS as EVENT_COLUMNS
from workers.normalise.sentry.event import normalise as normalise_event
from workers.settings import WorkerSettings
from workers.store.clickhouse_errors import OurFault
from workers.store.insert import Inserter
from workers.store.writers import ClickHouseWriter

pytestmark = pytest.mark.live

T = TypeVar("T")
BUDGETS = Budgets(raw_max_bytes=256 * MIB, items_max_bytes=64 * MIB, dead_max_bytes=64 * MIB, artifacts_max_bytes=MIB)
CHANNEL = 7
STOP_DEADLINE_S = 120.0


class WorkerSystem:
    """Servers, worker processes, and questions to both."""

    def __init__(self, folder: Path, nats_server: Server, clickhouse: Server) -> None:
        self.folder = folder
        self.nats_server = nats_server
        self.clickhouse = clickhouse
        self.processes: list[subprocess.Popen[bytes]] = []
        self.log = folder / "workers.log"
        self.settings = WorkerSettings(
            nats_url=nats_server.url,
            clickhouse_url=clickhouse.url,
            clickhouse_database=databases.take(clickhouse),
        )

    def migrate(self) -> None:
        asyncio.run(migrate.migrate(self.settings, BUDGETS, dry_run=False))

    def start(self, *types: str, code: str = "", output: int | None = None, **settings: str) -> subprocess.Popen[bytes]:
        """`python -m workers TYPE…`, or `code` in its place."""
        told = environment(
            AXONPUSH_NATS_URL=self.settings.nats_url,
            AXONPUSH_CLICKHOUSE_URL=self.clickhouse.url,
            AXONPUSH_CLICKHOUSE_DATABASE=self.settings.clickhouse_database,
            **settings,
        )
        command = [sys.executable, *(["-c", code] if code else ["-m", "workers"]), *types]
        with self.log.open("ab") as log:
            out = log if output is None else output
            self.processes.append(
                subprocess.Popen(command, env=told, cwd=ROOT, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
            )
        return self.processes[-1]

    def start_each(self, processes: tuple[str, ...]) -> list[subprocess.Popen[bytes]]:
        """One process for each of the texts, with the workers named in it."""
        return [self.start(*types.split()) for types in processes]

    def started(self) -> None:
        eventually(lambda: b"worker_started" in self.log.read_bytes(), f"a worker to start; log: {self.log}")

    def end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        databases.give_back(self.clickhouse, self.settings.clickhouse_database)

    def on_broker(self, work: Callable[[JetStreamContext], Awaitable[T]]) -> T:
        """Runs `work` on a connection of its own."""
        return on_broker(self.settings.nats_url, lambda client: work(client.jetstream(timeout=60)))

    def use_ack_wait(self, seconds: float) -> None:
        """What workers do not acknowledge is offered again after this long."""

        async def work(js: JetStreamContext) -> None:
            for stream in (subjects.RAW, subjects.ITEMS):
                for config in consumers()[stream]:
                    await js.add_consumer(stream, config.evolve(ack_wait=seconds))

        self.on_broker(work)

    def publish(self, bodies: list[bytes], route: str = subjects.SENTRY_ENVELOPE, first: int = 0) -> None:
        """As the receiver would; each body has an id of its own."""

        async def work(js: JetStreamContext) -> None:
            slots = asyncio.Semaphore(64)

            async def one(number: int, body: bytes) -> None:
                async with slots:
                    told = headers.write(origin(content_type="application/json"), f"{route}-{number}")
                    await js.publish(subjects.raw(route, CHANNEL), body, headers=told)

            await asyncio.gather(*(one(number, body) for number, body in enumerate(bodies, first)))

        self.on_broker(work)

    def query(self, sql: str) -> list[Any]:
        client = clickhouse_connect.get_client(
            dsn=self.clickhouse.url,
            database=self.settings.clickhouse_database,
            autogenerate_session_id=False,
        )
        try:
            return [row[0] if len(row) == 1 else tuple(row) for row in client.query(sql).result_rows]
        finally:
            client.close()

    def rows(self, sql: str, expected: list[Any], deadline_s: float = DEADLINE_S) -> None:
        """Waits until a query answers `expected`."""
        eventually(lambda: self.query(sql) == expected, f"{expected} from {sql}; log: {self.log}", deadline_s)

    def pending(self) -> int:
        """Messages that some worker still has to acknowledge."""

        async def work(js: JetStreamContext) -> int:
            infos = [await js.consumer_info(source.stream, source.durable) for source in subjects.SOURCES.values()]
            return sum((info.num_pending or 0) + (info.num_ack_pending or 0) for info in infos)

        return self.on_broker(work)

    def done(self, deadline_s: float = DEADLINE_S) -> None:
        eventually(lambda: self.pending() == 0, f"everything acknowledged; log: {self.log}", deadline_s)


@pytest.fixture
def normaliser(tmp_path: Path, own_nats_server: Server, clickhouse_server: Server) -> Iterator[WorkerSystem]:
    """A broker and a database of this test's own, both migrated."""
    made = WorkerSystem(tmp_path, own_nats_server, clickhouse_server)
    made.migrate()
    try:
        yield made
    finally:
        made.end()


def origin(**changes: Any) -> Origin:
    fields: dict[str, Any] = {
        "organisation": "acme",
        "channel_id": CHANNEL,
        "key_id": "0123456789abcdef",
        "environment": "production",
        "environment_from_event": False,
        "received_at_ns": time.time_ns(),
    }
    return Origin(**(fields | changes))


def event(number: int) -> bytes:
    """An envelope of one event, named by `number`."""
    return b'{"event_id":"%032x"}\n{"type":"event"}\n{"message":"hello %d"}\n' % (number + 1, number)


def log(number: int) -> bytes:
    """One more item for an envelope: a container of one log record."""
    where = b'"timestamp":%d,"trace_id":"%032x"' % (int(time.time()), number + 1)
    record = b'{"items":[{%b,"level":"info","body":"line %d"}]}' % (where, number)
    kind = b'"content_type":"application/vnd.sentry.items.log+json"'
    return b'{"type":"log","item_count":1,%b,"length":%d}\n%b\n' % (kind, len(record), record)


def traces(number: int, spans: int = 20) -> bytes:
    """An OTLP body of `spans` spans, in JSON."""
    made = [
        {
            "traceId": f"{number + 1:032x}",
            "spanId": f"{number * spans + index + 1:016x}",
            "name": "GET /",
            "startTimeUnixNano": str(time.time_ns()),
            "endTimeUnixNano": str(time.time_ns()),
        }
        for index in range(spans)
    ]
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": made}]}]}).encode()


# Items reach their worker in memory where it runs beside unpack, by way of the broker where it does not.
TOGETHER, APART = ("unpack event",), ("unpack", "event")
BOTH_WAYS = pytest.mark.parametrize("processes", [TOGETHER, APART], ids=["together", "apart"])


@BOTH_WAYS
def test_envelopes_become_rows_and_outcomes(normaliser: WorkerSystem, processes: tuple[str, ...]) -> None:
    """A hundred envelopes of an event and a dropped item: a hundred of each, and nothing left to do."""
    normaliser.start_each(processes)
    normaliser.publish([event(number) + b'{"type":"statsd"}\na:1|c\n' for number in range(100)])
    normaliser.rows("SELECT count(), uniqExact(event_id) FROM events", [(100, 100)])
    dropped = "SELECT outcome, reason, sum(quantity) FROM outcomes WHERE outcome != 'accepted' GROUP BY ALL"
    normaliser.rows(dropped, [("dropped", "unsupported_item_type:statsd", 100)])
    normaliser.done()
    items = normaliser.on_broker(lambda js: js.stream_info(subjects.ITEMS)).state
    assert (items.messages, items.last_seq) == (0, 0 if processes == TOGETHER else 100)


def test_all_workers_run_in_one_process(normaliser: WorkerSystem) -> None:
    """`all`: Sentry and OTLP side by side, and the counts come back to the receiver's inbox."""
    normaliser.start("all")

    async def ask(client: Client) -> list[dict[str, Any]]:
        inbox = client.new_inbox()
        replies = await client.subscribe(inbox)
        told = headers.write(origin(counts_to=inbox), "one")
        await client.jetstream(timeout=60).publish(
            subjects.raw(subjects.SENTRY_ENVELOPE, CHANNEL), event(1), headers=told
        )
        return [json.loads((await replies.next_msg(ANSWER_TIMEOUT_S)).data) for _ in range(2)]

    told = {reply["stage"]: reply for reply in on_broker(normaliser.settings.nats_url, ask)}
    assert (told["unpack"]["expect"], told["event"]["accepted"]) == (1, 1)

    async def otlp(js: JetStreamContext) -> None:
        written = headers.write(origin(content_type="application/json"), "two")
        await js.publish(subjects.raw(subjects.OTLP_TRACES, CHANNEL), traces(1, 3), headers=written)

    normaliser.on_broker(otlp)
    normaliser.rows("SELECT item_type, count() FROM events GROUP BY 1 ORDER BY 1", [("event", 1), ("otlp_span", 3)])


def test_a_malformed_envelope_is_kept_and_visible(normaliser: WorkerSystem) -> None:
    """In REFUSED with its bytes, in dead_letters with its reason, in outcomes as invalid; its neighbours are rows."""
    normaliser.start("unpack", "event", "dead")
    normaliser.publish([event(1), b"\xff no envelope", event(2)])
    normaliser.rows("SELECT count() FROM events", [2])
    normaliser.rows("SELECT stage, reason, hex(body), channel_id FROM dead_letters", [
        ("unpack", "invalid", b"\xff no envelope".hex().upper(), CHANNEL)
    ])  # fmt: skip
    normaliser.rows("SELECT reason, quantity FROM outcomes WHERE outcome = 'invalid'", [("invalid", 1)])
    message = normaliser.on_broker(lambda js: js.get_msg(subjects.REFUSED, subjects.REFUSED_FIRST_SEQ))
    assert message.data == b"\xff no envelope"
    normaliser.done()


# A worker whose process is gone after its first insert and before the ack: as a crash at the worst moment.
DIES_AFTER_INSERT = """
import asyncio, os, signal, sys
from workers.process import startup
from workers.store.writers import ClickHouseWriter
from workers.settings import WorkerSettings

class Dying(ClickHouseWriter):
    async def insert(self, table, columns, rows):
        await super().insert(table, columns, rows)
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    settings = WorkerSettings()
    await startup(sys.argv[1:], settings, Dying(settings))
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_worker_killed_between_insert_and_ack_doubles_nothing(normaliser: WorkerSystem) -> None:
    """The redelivered messages make the same rows: ids and versions come from the message alone."""
    dying = normaliser.start("otlp_span", code=DIES_AFTER_INSERT)
    normaliser.publish([traces(number) for number in range(30)], subjects.OTLP_TRACES)
    assert dying.wait(STOP_DEADLINE_S) == -signal.SIGKILL
    assert normaliser.query("SELECT count() FROM event_rows")[0] > 0
    normaliser.use_ack_wait(2)
    normaliser.start("otlp_span")
    normaliser.done()
    assert normaliser.query("SELECT count(), uniqExact(event_id) FROM events") == [(600, 600)]


def test_a_process_killed_with_items_in_hand_loses_none_and_doubles_none(normaliser: WorkerSystem) -> None:
    """Their bodies were not acknowledged: they come again, and their items go through the broker this time."""
    dying = normaliser.start("unpack", "event", "log", code=DIES_AFTER_INSERT)
    normaliser.publish([event(number) + log(number) for number in range(100)])
    assert dying.wait(STOP_DEADLINE_S) == -signal.SIGKILL
    assert normaliser.on_broker(lambda js: js.stream_info(subjects.ITEMS)).state.last_seq == 0
    # Now, and not before: a slow machine would have seen the bodies again while it lived.
    normaliser.use_ack_wait(2)
    normaliser.start("unpack", "event", "log")
    normaliser.done()
    found = "SELECT item_type, count(), uniqExact(source_seq) FROM events GROUP BY 1 ORDER BY 1"
    assert normaliser.query(found) == [("event", 100, 100), ("log", 100, 100)]
    assert normaliser.on_broker(lambda js: js.stream_info(subjects.ITEMS)).state.last_seq > 0


@pytest.mark.parametrize(
    "processes",
    [pytest.param(TOGETHER, id="together"), pytest.param(APART, id="apart", marks=pytest.mark.long)],
)
def test_clickhouse_away_loses_nothing(normaliser: WorkerSystem, processes: tuple[str, ...]) -> None:
    """Killed under load and started again: every row arrives, none is a dead letter, none is delivered twice."""
    normaliser.start_each(processes)
    normaliser.publish([event(number) for number in range(50)])
    normaliser.rows("SELECT count() FROM events", [50])
    normaliser.clickhouse.kill()
    try:
        normaliser.publish([event(number) for number in range(50, 300)], first=50)
        eventually(lambda: b"insert_held" in normaliser.log.read_bytes(), "the worker to notice")
    finally:
        normaliser.clickhouse.start()
    normaliser.rows("SELECT count(), uniqExact(event_id) FROM events", [(300, 300)])
    normaliser.done()
    for stream, durable in ((subjects.RAW, "unpack-v1"), (subjects.ITEMS, "event-v1")):
        info = normaliser.on_broker(lambda js, where=(stream, durable): js.consumer_info(*where))  # type: ignore[misc]
        assert (info.num_redelivered or 0) == 0
    assert normaliser.on_broker(lambda js: js.stream_info(subjects.DEAD)).state.messages == 0


@BOTH_WAYS
def test_the_broker_killed_under_load_loses_nothing(normaliser: WorkerSystem, processes: tuple[str, ...]) -> None:
    """What it had acknowledged to the sender becomes rows after its return, once."""
    normaliser.start_each(processes)
    normaliser.started()
    normaliser.publish([event(number) for number in range(300)])
    eventually(lambda: normaliser.query("SELECT count() FROM events")[0], "the worker to be in the middle of it")
    normaliser.nats_server.kill()
    normaliser.nats_server.start()
    normaliser.publish([event(number) for number in range(300, 350)], first=300)
    normaliser.rows("SELECT count(), uniqExact(event_id) FROM events", [(350, 350)])


def test_sigterm_under_load_gives_everything_back(normaliser: WorkerSystem) -> None:
    """Exit code 0, and the next worker finishes though ack_wait would not offer the rest again for an hour."""
    normaliser.use_ack_wait(3_600)
    first = normaliser.start("unpack", "event")
    normaliser.started()
    normaliser.publish([event(number) for number in range(500)])
    first.send_signal(signal.SIGTERM)
    assert first.wait(STOP_DEADLINE_S) == 0
    normaliser.start("unpack", "event")
    normaliser.rows("SELECT count(), uniqExact(event_id) FROM events", [(500, 500)])
    normaliser.done()


def test_a_worker_that_clickhouse_refuses_takes_no_messages(normaliser: WorkerSystem) -> None:
    """They would wait with it, while another worker could insert them."""
    normaliser.use_ack_wait(3_600)
    refused = normaliser.start("otlp_span", AXONPUSH_CLICKHOUSE_USER="nobody", AXONPUSH_CLICKHOUSE_PASSWORD="hush")
    eventually(lambda: b"waiting_for_clickhouse" in normaliser.log.read_bytes(), "the worker to say that it waits")
    assert b"AXONPUSH_CLICKHOUSE_PASSWORD" in normaliser.log.read_bytes()
    assert b"hush" not in normaliser.log.read_bytes()
    normaliser.publish([traces(number) for number in range(5)], subjects.OTLP_TRACES)
    info = normaliser.on_broker(lambda js: js.consumer_info(subjects.RAW, subjects.SOURCES["otlp_span"].durable))
    assert (info.num_pending, info.num_ack_pending, info.num_waiting) == (5, 0, 0)
    normaliser.start("otlp_span")
    normaliser.rows("SELECT count(), uniqExact(event_id) FROM events", [(100, 100)])
    refused.send_signal(signal.SIGTERM)
    assert refused.wait(STOP_DEADLINE_S) == 0


def test_a_worker_started_while_clickhouse_is_away_begins_by_itself(normaliser: WorkerSystem) -> None:
    """It says what it waits for; the broker keeps the messages."""
    normaliser.clickhouse.kill()
    try:
        normaliser.publish([traces(number) for number in range(5)], subjects.OTLP_TRACES)
        normaliser.start("otlp_span")
        eventually(lambda: b"waiting_for_clickhouse" in normaliser.log.read_bytes(), "the worker to say that it waits")
    finally:
        normaliser.clickhouse.start()
    normaliser.rows("SELECT count(), uniqExact(event_id) FROM events", [(100, 100)])


def test_sigterm_while_clickhouse_is_away_ends_in_time(normaliser: WorkerSystem) -> None:
    """What cannot be finished is given back; no row is lost."""
    normaliser.use_ack_wait(3_600)
    worker = normaliser.start("otlp_span", AXONPUSH_WORKER_DRAIN_S="2")
    eventually(lambda: b"clickhouse_answers" in normaliser.log.read_bytes(), "the worker to begin")
    normaliser.clickhouse.kill()
    try:
        normaliser.publish([traces(number) for number in range(5)], subjects.OTLP_TRACES)
        eventually(lambda: b"insert_held" in normaliser.log.read_bytes(), "the worker to notice")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(STOP_DEADLINE_S) == 0
    finally:
        normaliser.clickhouse.start()
    normaliser.start("otlp_span")
    normaliser.rows("SELECT count(), uniqExact(event_id) FROM events", [(100, 100)])


def test_workers_may_start_before_everything_else(
    tmp_path: Path, own_nats_server: Server, clickhouse_server: Server
) -> None:
    """No durable yet: it says which and what to run, makes none itself, and works once they are there."""
    normaliser = WorkerSystem(tmp_path, own_nats_server, clickhouse_server)
    try:
        normaliser.start("unpack", "event")
        eventually(lambda: b"axonpush migrate" in normaliser.log.read_bytes(), "the worker to name the command")
        assert normaliser.on_broker(lambda js: js.streams_info()) == []
        normaliser.migrate()
        normaliser.publish([event(1)])
        normaliser.rows("SELECT count() FROM events", [1])
    finally:
        normaliser.end()


def test_a_worker_waits_for_the_broker_and_still_obeys_sigterm(normaliser: WorkerSystem) -> None:
    """Stopped while it waits: a clean exit."""
    normaliser.nats_server.stop()
    worker = normaliser.start("event")
    eventually(lambda: b"nats_error" in normaliser.log.read_bytes(), "the worker to try")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(STOP_DEADLINE_S) == 0


def test_sigterm_while_the_broker_is_away_ends_in_time(normaliser: WorkerSystem) -> None:
    """Nothing can be given back then; the broker finds out by itself, and the exit is clean all the same."""
    worker = normaliser.start("unpack", "event")
    normaliser.started()
    normaliser.publish([event(number) for number in range(50)])
    normaliser.nats_server.kill()
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(STOP_DEADLINE_S) == 0


def test_an_unknown_worker_is_bad_usage(normaliser: WorkerSystem) -> None:
    """Exit code 2, and the names there are."""
    assert normaliser.start("nonsense").wait(STOP_DEADLINE_S) == 2
    assert b"unpack" in normaliser.log.read_bytes()


@pytest.mark.asyncio
async def test_a_raising_handler_terminates_nothing(normaliser: WorkerSystem) -> None:
    """FastStream's default policy would terminate, and so lose, what a handler raised on."""
    bodies = [traces(number) for number in range(5)]
    await asyncio.to_thread(normaliser.publish, bodies, subjects.OTLP_TRACES)

    raised: asyncio.Queue[int] = asyncio.Queue()

    async def handle(messages: list[Msg]) -> None:
        raised.put_nowait(len(messages))
        raise RuntimeError("clickhouse down")

    broker = NatsBroker(normaliser.settings.nats_url, apply_types=False, logger=None)
    source = subjects.SOURCES["otlp_span"]
    attach(broker, source, handle, on_bound=lambda _: None, size=FetchSize(10, 1_000_000))
    await broker.start()
    seen = 0
    while seen < 5:
        seen += await asyncio.wait_for(raised.get(), DEADLINE_S)
    client = await nats.connect(normaliser.settings.nats_url)
    info = await client.jetstream(timeout=ANSWER_TIMEOUT_S).consumer_info(source.stream, source.durable)
    await broker.stop()
    await client.close()
    assert (info.num_ack_pending or 0) == 5


@pytest.mark.asyncio
async def test_a_value_that_does_not_fit_is_found(normaliser: WorkerSystem) -> None:
    """On the real engine, in the encoder and in the server: the bad rows are named, the others stored."""
    good = [OutcomeRow(60 * n, "o", n, "k", "event", "dropped", "r", n + 1, 1, 1, "event", 0) for n in range(20)]
    rows = [list(row) for row in good]
    rows[3][OUTCOME_COLUMNS.index("quantity")] = -1
    rows[7][OUTCOME_COLUMNS.index("quantity")] = 2**64
    rows[11][OUTCOME_COLUMNS.index("reason")] = "\ud800"
    rows[15][OUTCOME_COLUMNS.index("minute")] = None

    writer = ClickHouseWriter(normaliser.settings)
    refused = await Inserter(writer, SystemClock()).insert("outcome_rows", OUTCOME_COLUMNS, [tuple(r) for r in rows])
    with pytest.raises(OurFault):
        await writer.insert("no_such_table", ("a",), [(1,)])
    with pytest.raises(OurFault):
        await writer.insert("outcome_rows", ("no_such_column",), [(1,)])
    await writer.close()
    assert ({one.index for one in refused}) == {3, 7, 11, 15}
    assert normaliser.query("SELECT count() FROM outcome_rows") == [16]


@pytest.mark.asyncio
async def test_equal_rows_of_one_insert_are_one_row_to_whoever_asks(normaliser: WorkerSystem) -> None:
    """The engine is told not to look for them on the way in, which costs a copy of the block: FINAL finds them."""
    [row] = normalise_event(origin(origin_id="o", origin_seq=5), event(1)).rows

    writer = ClickHouseWriter(normaliser.settings)
    await writer.insert("event_rows", EVENT_COLUMNS, [row, row, row])
    await writer.close()
    assert normaliser.query("SELECT count() FROM event_rows") == [3]
    assert normaliser.query("SELECT count() FROM events") == [1]
    assert normaliser.query("SELECT outcome, quantity FROM outcomes") == [("accepted", 1)]
    assert normaliser.query("SELECT bitmapCardinality(ordinals) FROM stored_messages") == [1]


def test_a_worker_idles_for_next_to_nothing(normaliser: WorkerSystem) -> None:
    """All subscribers waiting: long pulls, no polling."""
    worker = normaliser.start("all")
    normaliser.started()

    def cpu_s() -> float:
        fields = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before_s, began_s = cpu_s(), time.monotonic()
    eventually(lambda: time.monotonic() - began_s > 4, "four seconds to pass")
    assert (cpu_s() - before_s) / (time.monotonic() - began_s) < 0.10
