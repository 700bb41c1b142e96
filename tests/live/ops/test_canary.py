"""`axonpush canary` against a running system: in time, and late when ClickHouse is away."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator

import pytest

from tests.commands import COMMAND
from tests.polling import eventually
from tests.servers import environment, free_port
from tests.system import System

pytestmark = pytest.mark.live

CHANNEL = 999
IN_TIME_S = "30"


@pytest.fixture(scope="module")
def key(operated: System) -> str:
    """The canary's own key, for its own channel."""
    operated.cli("channels", "create", "--id", str(CHANNEL), "--name", "canary")
    return operated.mint("--channel", str(CHANNEL), environment="canary")


@pytest.fixture
def stopped_clickhouse(operated: System) -> Iterator[None]:
    """ClickHouse takes connections and says nothing, as a server does that hangs."""
    (pid,) = operated.ready["pids"]["clickhouse"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def once(system: System, key: str, deadline_s: str = IN_TIME_S, check: bool = True) -> subprocess.CompletedProcess[str]:
    """One event."""
    settings = {"AXONPUSH_CANARY_KEY": key, "AXONPUSH_CANARY_CHANNEL": str(CHANNEL)}
    return system.cli("canary", "--once", "--json", "--deadline", deadline_s, check=check, **settings)


def test_an_event_comes_through_in_time(operated: System, key: str) -> None:
    """Exit 0; its row is marked, in a channel of its own, with the key's environment."""
    found = json.loads(once(operated, key).stdout)
    assert found["in_time"] is True
    assert 0 < found["seconds"] < float(IN_TIME_S)
    rows = operated.query(
        "SELECT environment, body FROM events WHERE event_id = {id:UUID} AND channel_id = {channel:UInt64} "
        "AND attributes['axonpush.canary'] = 'true'",
        id=found["event_id"],
        channel=CHANNEL,
    )
    assert rows == [{"environment": "canary", "body": "canary"}]


def test_a_dsn_will_do(operated: System) -> None:
    """In place of the settings; and what is neither is a failure that says what is needed."""
    assert "was in SQL after" in operated.cli("canary", "--once", "--dsn", operated.ready["dsn"]).stdout
    done = operated.cli("canary", "--once", check=False)
    assert done.returncode == 1
    assert "AXONPUSH_CANARY_KEY" in done.stderr


@pytest.mark.usefixtures("stopped_clickhouse")
def test_it_is_late_when_clickhouse_is_away(operated: System, key: str) -> None:
    """Exit 1, with what is known of the event: it was stored."""
    done = once(operated, key, "3", check=False)
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert (found["in_time"], found["stage"] in {"workers", "query"}) == (False, True)


def test_it_tells_prometheus(operated: System, key: str) -> None:
    """Seconds, late ones by stage, and the time of the last one that came in time; Ctrl-C ends it cleanly."""
    port = free_port()
    settings = {
        "AXONPUSH_CANARY_KEY": key,
        "AXONPUSH_CANARY_CHANNEL": str(CHANNEL),
        "AXONPUSH_CANARY_METRICS_PORT": str(port),
    }
    line = [*COMMAND, "canary", "--every", "1", "--deadline", IN_TIME_S, "--data-dir", str(operated.data_dir)]
    process = subprocess.Popen(line, env=environment(**settings), stderr=subprocess.PIPE)
    try:
        eventually(lambda: metrics(port).get("axonpush_canary_seconds_count", 0) >= 2, "two events")
        found = metrics(port)
        assert found["axonpush_canary_success_timestamp_seconds"] > 1.7e9
        assert {
            found[f'axonpush_canary_late_total{{stage="{stage}"}}'] for stage in ("receiver", "workers", "query")
        } == {0}
    finally:
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=120)
    assert process.returncode == 0
    assert b'"event": "seen"' in told
    assert key.encode() not in told


def metrics(port: int) -> dict[str, float]:
    """What it serves, by name with labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    return {match[1]: float(match[2]) for match in re.finditer(r"^(axonpush_\S+) (\S+)$", text, re.MULTILINE)}
