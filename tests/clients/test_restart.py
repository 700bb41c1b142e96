"""`axonpush up` stopped and started again on the same folder: same keys, same rows, nothing accepted is lost."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import urllib3

pytestmark = pytest.mark.clients

POOL = urllib3.PoolManager()
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 90.0
POLL_S = 0.05


@contextmanager
def running(folder: Path) -> Iterator[dict[str, Any]]:
    """`axonpush up` on free ports; yields ready.json, then Ctrl-C, and asserts a clean end."""
    ports = ("--port", "0", "--clickhouse-port", "0", "--nats-port", "0")
    command = [sys.executable, "-m", "ops.cli", "up", "--data-dir", str(folder), *ports]
    said = folder.with_suffix(".out")
    with said.open("ab") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            yield wait_for_ready(folder / "ready.json", process, said)
        finally:
            process.send_signal(signal.SIGINT)
            code = process.wait(STOP_TIMEOUT_S)
    assert code == 0, said.read_text()
    assert not (folder / "ready.json").exists()


def wait_for_ready(path: Path, process: subprocess.Popen[bytes], said: Path) -> dict[str, Any]:
    """ready.json as soon as it is there; fails with what was printed when the process ends or takes too long."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not path.exists():
        assert process.poll() is None, said.read_text()
        assert time.monotonic() < deadline, said.read_text()
        time.sleep(POLL_S)
    ready: dict[str, Any] = json.loads(path.read_text())
    return ready


def send(ready: dict[str, Any], key: str) -> UUID:
    """Post one message and expect it to be taken; returns its id."""
    event_id = uuid4()
    body = json.dumps({"event_id": event_id.hex}) + '\n{"type":"event"}\n{"message":"m"}\n'
    url = f"{ready['url']}/api/{ready['channel']}/envelope/?sentry_key={key}"
    answer = POOL.request("POST", url, body=body, retries=False, timeout=30)
    assert answer.status == 200, answer.data
    return event_id


def among(ids: list[UUID]) -> str:
    """A query for the rows with these ids."""
    return f"SELECT event_id FROM events WHERE event_id IN ({', '.join(repr(str(one)) for one in ids)})"


def test_a_restart_keeps_keys_rows_and_what_was_under_way(tmp_path: Path, sql_at: Any) -> None:
    """Rows of the first run are there in the second, so are the keys, and bodies accepted just before the stop."""
    folder = tmp_path / "data"
    with running(folder) as first:
        seen = [send(first, first["public_token"])]
        sql_at(first).wait(among(seen), 1)
        late = [send(first, first["api_key"]) for _ in range(50)]
    with running(folder) as second:
        names = ("api_key", "public_token", "channel", "environment")
        assert {name: second[name] for name in names} == {name: first[name] for name in names}
        new = [send(second, first["api_key"]), send(second, first["public_token"])]
        sql_at(second).wait(among([*seen, *late, *new]), 1 + 50 + 2)
