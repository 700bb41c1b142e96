"""What `axonpush status` says of the cause: a process that was stopped, a quota that was removed, lost bodies."""

from __future__ import annotations

import asyncio
import datetime as dt
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ops.cli import status as status_screen
from ops.cli import terminal
from ops.cli.unreachable import unreachable
from ops.provisioning.lost_tables import meanwhile_text
from ops.runtime.settings import Settings
from ops.runtime.stream_state import StreamState
from ops.status import report
from ops.status.findings import Status, WorkerStatus
from ops.status.local_up import LocalUp, running_up
from ops.status.parts import reason_of
from ops.status.quotas import QuotaListener
from ops.status.reconciliation import Account, Reconciliation, read_totals
from ops.status.servers import ClickHouseState, ReceiverHealth, RefusedSender, RefusedWorker
from ops.status.vanished_rows import VanishedRows
from schemas.registry import Key, Organisation, key_hash
from tests.unit.ops.test_quota_status import Registry

NOW = dt.datetime(2026, 11, 27, 12, 0, tzinfo=dt.UTC)
READY = [ReceiverHealth("r1", "host:8080", {"broker": True})]
UP = LocalUp("7", "/d/logs", pids={kind: (number,) for number, kind in enumerate(("nats", "receiver", "worker"), 41)})
NO_ANSWER = "expected an answer of NATS at nats://a:1, found no answer in time: it is stopped, overloaded or cut off."
SILENT = {"ClickHouse": "no answer within 8 s"}


@contextmanager
def running(folder: Path, pids: dict[str, list[int]]) -> Iterator[None]:
    """The lock and ready.json of an `up` that runs."""
    folder.mkdir(exist_ok=True)
    (folder / "ready.json").write_text(json.dumps({"pids": pids, "nats_url": "nats://a:1"}))
    (folder / "lock").write_text("7")
    with (folder / "lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_stopped_process_of_up_is_known(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        try:
            with running(tmp_path, {"console": [child.pid], "worker": [os.getpid()], "receiver": [2**22 + 1]}):
                os.kill(child.pid, signal.SIGSTOP)
                os.waitpid(child.pid, os.WUNTRACED)
                found = running_up(tmp_path)
        finally:
            os.kill(child.pid, signal.SIGCONT)
            child.kill()
    assert found
    assert found.pids == {"console": (child.pid,), "worker": (os.getpid(),)}
    assert found.stopped == {"console": (child.pid,)}
    (text,) = Status(receivers=READY, up=found).problems
    assert f"the console of this folder's `axonpush up` (pid {child.pid})" in text
    assert f"`kill -CONT {child.pid}` continues it" in text
    assert "the Web API do not answer" in text


@pytest.mark.parametrize(("kind", "pid"), [("nats", 41), ("receiver", 42), ("worker", 43)])
@pytest.mark.parametrize("is_stopped", [True, False])
def test_a_silent_process_of_up_is_named_with_its_pid(kind: str, pid: int, is_stopped: bool) -> None:
    """It said: look at its process, start a receiver, start that worker."""
    up = replace(UP, stopped={kind: (pid,)}) if is_stopped else UP
    status = Status(receivers=READY, up=up)
    if kind == "nats":
        status.unknown["NATS"] = NO_ANSWER
    elif kind == "receiver":
        status.receivers = []
    else:
        status.workers = [WorkerStatus("native", pending=3), WorkerStatus("unpack", pending=4)]
    (text,) = status.problems
    assert f"`kill -CONT {pid}` continues" in text
    assert (f"`kill -9 {pid}`, and up starts a new one" in text) != is_stopped
    assert "Start one" not in text
    assert "start th" not in text


def test_every_command_names_the_process_of_a_silent_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "_named_folder", [tmp_path])
    monkeypatch.delenv("AXONPUSH_NATS_URL", raising=False)
    with running(tmp_path, {"nats": [os.getpid()]}):
        assert f"kill -CONT {os.getpid()}" in unreachable("NATS", "nats://a:1", "AXONPUSH_NATS_URL", TimeoutError())
        monkeypatch.setenv("AXONPUSH_NATS_URL", "nats://b:1")
        others = unreachable("NATS", "nats://b:1", "AXONPUSH_NATS_URL", TimeoutError())
    assert "kill" not in others
    assert "Look at its process and its log" in others


def test_a_worker_that_waits_for_clickhouse_is_not_to_be_started() -> None:
    workers = [WorkerStatus("native", pending=56)]
    held = Status(receivers=READY, workers=workers, refused_workers=[RefusedWorker("h pid 1", ("native",), ("start",))])
    assert not any("no process fetches" in text for text in held.problems)
    of_up = Status(receivers=READY, workers=workers, up=UP, unknown=SILENT)
    assert not any("no process fetches" in text for text in of_up.problems)
    alone = Status(receivers=READY, workers=workers, unknown=SILENT).problems[-1]
    assert alone.startswith("no process fetches messages of native, and 56 wait: start that worker, if it does not run")
    (absent,) = Status(receivers=READY, workers=workers).problems
    assert absent == "no process fetches messages of native, and 56 wait: start that worker"


def test_a_killed_clickhouse_of_up_is_no_matter_of_this_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """It advised to compare a variable that the shell did not have."""
    monkeypatch.delenv("AXONPUSH_CLICKHOUSE_URL", raising=False)
    unknown = {"ClickHouse": "expected ClickHouse at http://a:1, could not connect (connection refused)"}
    busy = [WorkerStatus("native", acknowledged_s=1.0, listeners=1)]
    up = replace(UP, ended=frozenset({"clickhouse"}))
    own = Status(receivers=READY, workers=busy, up=up, unknown=unknown).problems[0]
    assert "AXONPUSH_CLICKHOUSE_URL" not in own
    assert "ClickHouse of this folder's `axonpush up` has ended, or is starting: `up` starts it again" in own
    paused = Status(receivers=READY, workers=busy, up=replace(up, is_stopped=True), unknown=unknown).problems[0]
    assert "someone stopped `up` itself: `kill -CONT 7` continues it" in paused
    other = Status(receivers=READY, workers=busy, up=replace(up, has_clickhouse=False), unknown=unknown)
    assert "First compare" not in other.problems[0]
    assert "AXONPUSH_CLICKHOUSE_URL is not set in this shell: set what they use" in other.problems[0]
    monkeypatch.setenv("AXONPUSH_CLICKHOUSE_URL", "http://a:1")
    assert "First compare AXONPUSH_CLICKHOUSE_URL of this shell" in other.problems[0]


@pytest.mark.parametrize("own", ["http://axonpush_reader:secret@127.0.0.1:1", "http://localhost:1"])
def test_the_clickhouse_of_up_is_known_by_its_place(own: str, tmp_path: Path) -> None:
    """ready.json has user and password in the address, settings have them apart; a variable may say localhost."""
    with running(tmp_path, {"clickhouse": [os.getpid()]}):
        ready = json.loads((tmp_path / "ready.json").read_text()) | {"clickhouse_url": own}
        (tmp_path / "ready.json").write_text(json.dumps(ready))
        up = report.Observer(Settings(nats_url="nats://a:1", clickhouse_url="http://127.0.0.1:1"), tmp_path)._up()
        elsewhere = report.Observer(Settings(nats_url="nats://a:1", clickhouse_url="http://b:1"), tmp_path)._up()
    assert up
    assert elsewhere
    assert not elsewhere.has_clickhouse
    (text,) = Status(receivers=READY, up=up, unknown=SILENT).problems
    assert f"`kill -CONT {os.getpid()}` continues" in text
    assert "Check that it runs" not in text


def test_a_killed_worker_of_up_is_not_to_be_started() -> None:
    workers = [WorkerStatus("native", pending=5)]
    (text,) = Status(receivers=READY, workers=workers, up=LocalUp("7", "/l", ended=frozenset({"worker"}))).problems
    assert "the worker of this folder's `axonpush up` has ended, or is starting: `up` starts it again" in text
    assert "start that worker" not in text


def test_every_command_says_that_a_killed_clickhouse_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with a variable that names the same server; a process that ended and that nobody took away is dead too."""
    monkeypatch.setattr(terminal, "_named_folder", [tmp_path])
    with subprocess.Popen([sys.executable, "-c", ""]) as child, running(tmp_path, {"clickhouse": [child.pid]}):
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        ready = {
            "runs": ["clickhouse"],
            "clickhouse_url": "http://u:p@127.0.0.1:1",
            "pids": {"clickhouse": [child.pid]},
        }
        (tmp_path / "ready.json").write_text(json.dumps(ready))
        monkeypatch.setenv("AXONPUSH_CLICKHOUSE_URL", "http://localhost:1")
        text = unreachable("ClickHouse", "http://localhost:1", "AXONPUSH_CLICKHOUSE_URL", ConnectionRefusedError())
    assert "ClickHouse of this folder's `axonpush up` has ended, or is starting: `up` starts it again" in text
    assert "Correct" not in text


def test_a_missing_database_is_said_in_words_and_once() -> None:
    error = OSError("Received ClickHouse exception, code: 81, server response: Code: 81. DB::Exception: Database typo "
                    "does not exist. Maybe you meant axonpush? (UNKNOWN_DATABASE) (for url http://a)")  # fmt: skip
    why = reason_of(error)
    assert why.startswith("ClickHouse has no database typo: ")
    status = Status(receivers=READY, unknown={"refusals": why, "reconciliation": "x"}, wrong_system="two systems")
    assert status.problems == ["two systems"]
    assert any(why in text for text in Status(receivers=READY, unknown={"refusals": why}).problems)


def test_an_error_of_the_broker_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Silent:
        def __init__(self, *_: object) -> None:
            return

        async def status(self) -> Status:
            return Status(unknown={"NATS": NO_ANSWER})

    monkeypatch.setattr(report, "Observer", Silent)
    settings: Any = None
    assert not asyncio.run(status_screen._run(settings, tmp_path, 1.0, watch=False, as_json=False))
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "PROBLEM: this command reaches no broker" in captured.out


def test_a_user_that_was_left_in_the_shell_is_the_first_suspect(monkeypatch: pytest.MonkeyPatch) -> None:
    """It said to set the variables that were set, or to name a folder, which fails with the same text."""
    for name in ("USER", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"AXONPUSH_NATS_{name}", raising=False)
    refused = PermissionError("Authorization Violation")

    def told() -> str:
        return unreachable("NATS", "nats://a:1", "AXONPUSH_NATS_URL", refused)

    assert "Set AXONPUSH_NATS_USER and AXONPUSH_NATS_PASSWORD" in told()
    monkeypatch.setenv("AXONPUSH_NATS_TOKEN", "hush")
    assert told().endswith("AXONPUSH_NATS_TOKEN of this shell is used: correct or unset it")
    monkeypatch.delenv("AXONPUSH_NATS_TOKEN")
    for name in ("USER", "PASSWORD"):
        monkeypatch.setenv(f"AXONPUSH_NATS_{name}", "hush")
    assert told().endswith(
        "AXONPUSH_NATS_USER and AXONPUSH_NATS_PASSWORD of this shell are used: correct or unset them"
    )
    monkeypatch.delenv("AXONPUSH_NATS_USER")
    assert told().endswith(
        "AXONPUSH_NATS_PASSWORD of this shell is used, and AXONPUSH_NATS_USER is not set: set both or none"
    )
    assert "hush" not in told()


def key(name: str, **fields: Any) -> Key:
    return Key(sha256=key_hash(name), organisation="acme", environment="production", kind="secret", **fields)


@pytest.mark.parametrize(
    ("reason", "owner", "word"),
    [
        ("quota:key", key("a", quota_per_minute=5), "raises it"),
        ("quota:key:rows", key("a", quota_rows_per_minute=5), "--quota-rows N/min` raises it"),
        ("quota:key", None, "What it has now is not known"),
        ("quota:key", key("a"), "removed since"),
        ("quota:key:rows", key("a", quota_per_minute=5), "removed since"),
        ("quota:key", key("a", quota_per_minute=5, revoked=True), "revoked now"),
        ("quota:organisation:bytes", Organisation(slug="acme"), "removed since"),
    ],
)
def test_a_note_of_a_used_quota_is_of_the_quota_as_it_is_now(
    reason: str, owner: Key | Organisation | None, word: str
) -> None:
    """It was shown after the quota was removed, and said of a revoked key how to raise its quota."""
    sender = RefusedSender(reason, "acme", key("a").id, 0, 2, owner)
    (note,) = Status(receivers=READY, refused_senders=[sender]).notes
    assert word in note
    assert ("raises it" in note) == ("raises it" in word)
    assert "2 requests refused" in note
    document = Status(receivers=READY, refused_senders=[sender]).as_json()["refused_senders"][0]
    assert "owner" not in document
    json.dumps(document)


@pytest.mark.asyncio
async def test_owners_of_quotas_are_looked_up_by_their_names() -> None:
    one, acme = key("a"), Organisation(slug="acme")
    listener = QuotaListener(Registry(one, acme))  # type: ignore[arg-type]
    names = [RefusedSender(reason, "acme", one.id, 0, 1).owner_name for reason in ("quota:key", "quota:organisation")]
    assert await listener.owners([*names, "key.0000000000000000"]) == dict(zip(names, (one, acme), strict=True))
    assert await listener.owners([]) == {}


@pytest.mark.parametrize(
    ("held", "words", "not_words"),
    [
        (NOW - dt.timedelta(hours=1), ["`axonpush replay --since '2026-11-27 12:00'", "while RAW has"], ["backup"]),
        (NOW + dt.timedelta(minutes=30), ["axonpush replay", "a backup has older ones"], []),
        (NOW + dt.timedelta(hours=3), ["RAW has none of these bodies", "only a backup"], ["axonpush replay"]),
        (None, ["it holds none", "only a backup", "`Rows are missing`"], ["axonpush replay"]),
    ],
)
def test_a_replay_of_bodies_that_raw_has_lost_is_not_advised(
    held: dt.datetime | None, words: list[str], not_words: list[str]
) -> None:
    """Status advised it for ever, and the replay said that every row is stored."""
    first, last = NOW.replace(tzinfo=None), (NOW + dt.timedelta(hours=1)).replace(tzinfo=None)
    missing = VanishedRows(missing=3, first_at=first, last_at=last)
    of_channel = Account(8, received=5, rows=2, missing=3)
    found = Reconciliation(replace(of_channel, channel=None), [of_channel], missing, held_since=held)
    (text,) = Status(receivers=READY, reconciliation=found, clickhouse=ClickHouseState("25.1")).problems
    assert all(word in text for word in words)
    assert not any(word in text for word in not_words)


def test_the_rows_of_a_dropped_table_are_said_to_be_gone() -> None:
    """`Nothing that was received is lost` stood beside rows that never came back."""
    text = meanwhile_text(["event_rows"])
    assert "Nothing that was received is lost" not in text
    assert "What comes now is not lost" in text
    assert "Rows that event_rows held are gone" in text
    assert "only in a backup" in text
    assert "held are gone" not in meanwhile_text(["error_rows"])


class Tables:
    """The answers of ClickHouse: `taken` is the first body that the ledger knows; everything else is empty."""

    def __init__(self, taken: int) -> None:
        self.taken = taken
        self.begins: set[int] = set()

    def query(self, sql: str, parameters: dict[str, Any]) -> Any:
        class Answer:
            result_rows: list[Any] = [(self.taken,)] if sql.lstrip().startswith("SELECT min(origin_seq)") else []

        if not Answer.result_rows:
            self.begins.add(parameters["begin"])
        return Answer


@pytest.mark.parametrize(
    ("taken", "held", "begin"),
    [(500, 100, 100), (0, 100, 100), (50, 100, 50), (100, 100, 100), (7, None, 3), (0, 0, 1)],
)
def test_bodies_that_lost_tables_know_nothing_of_are_counted_where_rows_expire(
    taken: int, held: int | None, begin: int
) -> None:
    """With a TTL and a lost ClickHouse, only bodies since the loss were counted: status said that all is well."""
    tables: Any = Tables(taken)
    assert read_totals(tables, 3, 30, first_held=held).begin == begin
    assert tables.begins == {begin}


@pytest.mark.asyncio
async def test_bodies_whose_rows_have_expired_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of RAW, those that came within the time for which rows are kept."""

    async def asked(*_: object) -> int:
        return 70

    monkeypatch.setattr(report, "first_seq_since", asked)

    class Client:
        def jetstream(self, **_: object) -> None:
            return

    client: Any = Client()
    raw = StreamState("RAW", 9, 9, 9, 40, 90, NOW, {})
    assert await report.held_since(client, raw, NOW - dt.timedelta(days=1)) == 40
    assert await report.held_since(client, raw, NOW + dt.timedelta(days=1)) == 70
    assert await report.held_since(client, raw, None) == 40


def test_a_printed_command_is_one_that_runs() -> None:
    """`axonpush dead retry` alone ends with 2."""
    stream = report.StreamStatus("DEAD", 3, 1, 10, 0.1, 0.0, 1.0, 1.0)
    (note,) = Status(receivers=READY, streams=[stream]).notes
    assert "`axonpush dead retry --all`" in note
