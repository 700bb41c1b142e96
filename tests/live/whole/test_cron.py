"""Monitored jobs from ping to run: plain HTTP and envelopes in, one row per run out of the view `check_ins`."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import Any
from uuid import uuid4

import orjson
import pytest

from tests.polling import eventually
from tests.system import System

pytestmark = pytest.mark.live

RUNS = (
    "SELECT environment, check_in_id, status, isNull(closed_at) AS open, duration_ns, monitor_config, "
    "length(event_ids) AS states, opened_at <= coalesce(closed_at, opened_at) AS ordered "
    "FROM check_ins WHERE monitor = {monitor:String} ORDER BY opened_at, check_in_id"
)
STATES = "SELECT status, repairs, metadata.checkIn AS is_check_in FROM events WHERE name = {monitor:String}"


class Job:
    """A monitor of its own, and the ways to report about it. Each report is stored before the next is sent."""

    def __init__(self, system: System, key: str = "") -> None:
        self.system = system
        self.name = f"job-{uuid4().hex}"
        self.key = key or str(system.ready["api_key"])
        self.url = f"{system.ready['url']}/api/{system.ready['channel']}"

    def ping(self, query: str, body: bytes | None = None, *, key_in_path: bool = True) -> int:
        path = f"{self.url}/cron/{self.name}/" + (f"{self.key}/?{query}" if key_in_path else f"?{query}")
        headers = {"Content-Type": "application/json"} if body else {}
        if not key_in_path:
            headers["X-Sentry-Auth"] = f"Sentry sentry_key={self.key}"
        return send(path, body, headers)

    def report(self, status: str, check_in_id: str, **fields: Any) -> int:
        """As an SDK does it: one check_in item in an envelope."""
        payload = {"check_in_id": check_in_id, "monitor_slug": self.name, "status": status, **fields}
        body = b'{}\n{"type":"check_in"}\n%b\n' % orjson.dumps(payload)
        return send(f"{self.url}/envelope/", body, {"X-Sentry-Auth": f"Sentry sentry_key={self.key}"})

    def runs(self, states: int) -> list[dict[str, Any]]:
        """The runs, once `states` reports are rows."""
        self.system.rows(STATES, states, monitor=self.name)
        return self.system.query(RUNS, monitor=self.name)


def send(url: str, body: bytes | None, headers: dict[str, str]) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def brief(runs: list[dict[str, Any]]) -> list[tuple[str, str, int]]:
    assert all(run["ordered"] for run in runs)
    return [(run["check_in_id"][:2], run["status"], run["states"]) for run in runs]


def test_a_crontab_line_makes_a_run_each_night(system: System) -> None:
    """Two equal pings are two runs: nothing but the end is reported, so each is whole."""
    job = Job(system)
    assert [job.ping("status=ok&duration=1.5"), job.ping("status=ok&duration=1.5")] == [200, 200]
    runs = job.runs(2)
    assert brief(runs) == [("", "ok", 1), ("", "ok", 1)]
    assert {run["duration_ns"] for run in runs} == {1_500_000_000}
    assert {row["is_check_in"] for row in system.query(STATES, monitor=job.name)} == {True}


def test_start_and_end_are_one_run_by_id_and_without(system: System) -> None:
    """By its id; and for pings that have none, the latest that is open."""
    job = Job(system)
    first, second = "a" * 32, "b" * 32
    config = {"schedule": {"type": "crontab", "value": "0 3 * * *"}, "max_runtime": 30}
    assert job.report("in_progress", first, monitor_config=config) == 200
    assert job.report("in_progress", second) == 200
    assert job.report("ok", first, duration=2.0) == 200
    assert job.ping("status=error", key_in_path=False) == 200
    assert job.ping("status=in_progress") == 200
    assert job.ping("", orjson.dumps({"status": "ok", "monitor_config": {"timezone": "UTC"}})) == 200
    runs = job.runs(6)
    assert brief(runs) == [("aa", "ok", 2), ("bb", "error", 2), ("", "ok", 2)]
    assert runs[0]["duration_ns"] == 2_000_000_000
    assert runs[0]["monitor_config"] == {
        "schedule.type": "crontab", "schedule.value": "0 3 * * *", "max_runtime": "30",
    }  # fmt: skip
    assert runs[2]["monitor_config"] == {"timezone": "UTC"}
    assert all(run["duration_ns"] > 0 for run in runs)


def test_overlapping_runs_close_from_the_inside(system: System) -> None:
    """A run with an id keeps its own end; the others pair like brackets, and one that is left stays open."""
    job = Job(system)
    named = "c" * 32
    for query in (
        "status=in_progress",
        "status=in_progress",
        f"status=in_progress&check_in_id={named}",
        "status=error",
        f"status=ok&check_in_id={named}",
        f"status=error&check_in_id={named}",
    ):
        assert job.ping(query) == 200
    runs = job.runs(6)
    assert brief(runs) == [("", "in_progress", 1), ("", "error", 2), ("cc", "ok", 3)]
    assert [bool(run["open"]) for run in runs] == [True, False, False]


def test_environments_and_channels_do_not_close_each_others_runs(system: System) -> None:
    """The same job twice: what production reports says nothing about staging."""
    channel = str(system.ready["channel"])
    job = Job(system, system.mint("--channel", channel, "--allow-environment-override"))
    for query in (
        "status=in_progress&environment=production",
        "status=in_progress&environment=staging",
        "status=ok&environment=production",
    ):
        assert job.ping(query) == 200
    runs = job.runs(3)
    assert [(run["environment"], run["status"]) for run in runs] == [("production", "ok"), ("staging", "in_progress")]


def test_a_replay_changes_no_run(system: System) -> None:
    """The same reports as later versions of the same rows, and a report sent twice: the same runs."""
    job = Job(system)
    for status in ("in_progress", "ok", "ok"):
        job.report(status, "d" * 32)
    for query in ("status=in_progress", "status=ok"):
        job.ping(query)
    before = job.runs(4)
    assert brief(before) == [("dd", "ok", 2), ("", "ok", 2)]
    columns = "SELECT * REPLACE (version + 1 AS version) FROM event_rows WHERE name = {monitor:String}"
    system.query_only(f"INSERT INTO event_rows {columns}", monitor=job.name)
    assert system.query(RUNS, monitor=job.name) == before


def test_pings_that_are_none_are_refused(system: System) -> None:
    """By the receiver what it can see, by the workers what is in the body; nothing of them becomes a run."""
    job = Job(system)
    assert job.ping("") == 400
    # a verdict of the workers that comes too late for one answer comes in time for another
    eventually(lambda: job.ping("", b"{") == 400, "a refusal of a body that is not JSON")
    eventually(lambda: job.ping("", b'{"duration":1}') == 400, "a refusal of a check-in without a status")
    job.key = "pt_" + "x" * 32
    assert job.ping("status=ok") == 401
    job.key = str(system.ready["api_key"])
    assert job.ping("status=ok") == 200
    assert brief(job.runs(1)) == [("", "ok", 1)]
