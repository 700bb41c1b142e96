"""Processes whose log cannot be written: everything is worked off as ever, and nothing stays held."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from schemas import subjects
from tests.live.workers.test_workers import WorkerSystem, event, normaliser
from tests.polling import DEADLINE_S, eventually
from tests.receivers import Receiver, Site
from tests.servers import ROOT, Server, environment
from tests.system import System
from tests.traffic import Sender, account, settled

pytestmark = [pytest.mark.live, pytest.mark.long]
__all__ = ["normaliser"]

MakeSystem = Callable[..., System]


@pytest.fixture(params=["closed pipe", "full", "pipe nobody reads"])
def unwritable(request: pytest.FixtureRequest) -> Iterator[int]:
    """An output for a process that takes nothing."""
    if request.param == "full":
        made = os.open("/dev/full", os.O_WRONLY)
        yield made
        os.close(made)
        return
    reader, writer = os.pipe()
    if request.param == "closed pipe":
        os.close(reader)
    else:
        os.set_blocking(writer, False)
        while True:
            try:
                os.write(writer, b"x" * 4096)
            except BlockingIOError:
                break
        os.set_blocking(writer, True)
    yield writer
    os.close(writer)
    if request.param != "closed pipe":
        os.close(reader)


def test_a_worker_holds_nothing_for_ever(normaliser: WorkerSystem, unwritable: int) -> None:
    """It has much to say: ClickHouse goes and comes, bodies are invalid, a message dies."""
    normaliser.start("unpack", "event", "dead", output=unwritable)
    normaliser.publish([event(number) for number in range(50)])
    normaliser.rows("SELECT count() FROM events", [50])
    normaliser.clickhouse.kill()
    try:
        bodies = [event(number) for number in range(50, 200)]
        normaliser.publish([*bodies, b"\xff no envelope"], first=50)
        # What it cannot say to its log it still does: it asks for messages while ClickHouse is away.
        eventually(lambda: in_hand(normaliser) > 0, "the worker to have taken some")
    finally:
        normaliser.clickhouse.start()
    normaliser.rows("SELECT count(), uniqExact(event_id) FROM events", [(200, 200)])
    normaliser.rows(
        "SELECT outcome, sum(quantity) FROM outcomes WHERE outcome != 'accepted' GROUP BY ALL", [("invalid", 1)]
    )
    normaliser.done()
    (process,) = normaliser.processes
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE_S) == 0


def in_hand(normaliser: WorkerSystem) -> int:
    async def work(js: object) -> int:
        return int((await js.consumer_info(subjects.RAW, "unpack-v1")).num_ack_pending or 0)  # type: ignore[attr-defined]

    return normaliser.on_broker(work)


def test_a_receiver_answers(tmp_path_factory: pytest.TempPathFactory, own_nats_server: Server,
                            clickhouse_server: Server, unwritable: int) -> None:  # fmt: skip
    """Also while the broker goes and comes, of which it has much to say."""
    site = Site(tmp_path_factory.mktemp("site"), own_nats_server, clickhouse_server)
    receiver = Receiver(site)
    key = site.mint(None)
    receiver.end()
    told = environment(AXONPUSH_PORT=str(receiver.port), AXONPUSH_COUNTS_WAIT_SENTRY_MS="0", **site.settings())
    receiver.process = subprocess.Popen(
        [sys.executable, "-m", "receiver"], env=told, cwd=ROOT, stdout=unwritable, stderr=unwritable
    )
    try:
        eventually(lambda: answers(receiver) == 200, "the receiver to be ready")
        assert receiver.send(key) == 200
        own_nats_server.kill()
        eventually(lambda: receiver.send(key) == 503, "the receiver to notice")
        own_nats_server.start()
        eventually(lambda: receiver.send(key) == 200, "the receiver to be back")
        assert receiver.metric("axonpush_log_lines_lost_total") > 0
        receiver.process.terminate()
        assert receiver.process.wait(DEADLINE_S) == 0
    finally:
        receiver.end()


def answers(receiver: Receiver) -> int:
    try:
        return receiver.get("/ready")
    except OSError:
        return 0


def test_up_keeps_its_children_running(make_system: MakeSystem, unwritable: int) -> None:
    """A worker that is killed is started again, which `up` would say; then it stops cleanly."""
    system = make_system()
    system.process = subprocess.Popen(
        system.up_command(), stdout=unwritable, stderr=unwritable, stdin=subprocess.DEVNULL, env=system.environment
    )
    eventually(lambda: system.ready.get("pids", {}).get("worker"), "ready.json")
    sender = Sender(system, int(system.ready["channel"]))
    assert sender.event("before") == 200
    (worker,) = system.ready["pids"]["worker"]
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: system.ready["pids"]["worker"] not in ([], [worker]), "another worker")
    assert sender.event("after") == 200
    assert account(settled(system), sender.channel)["rows"] == 2
    assert system.stop() == 0
