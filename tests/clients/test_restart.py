"""`axonpush up` stopped and started again on the same folder: same keys, same rows, nothing accepted is lost."""

from __future__ import annotations

import json
import signal
from typing import Any
from uuid import UUID, uuid4

import pytest
import urllib3

pytestmark = pytest.mark.clients

POOL = urllib3.PoolManager()


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


def test_a_restart_keeps_keys_rows_and_what_was_under_way(make_system: Any, sql_at: Any) -> None:
    """Rows of the first run are there in the second, so are the keys, and bodies accepted just before the stop."""
    system = make_system().start()
    first = system.ready
    seen = [send(first, first["public_token"])]
    sql_at(first).wait(among(seen), 1)
    late = [send(first, first["api_key"]) for _ in range(50)]
    assert system.stop(signal.SIGINT) == 0, system.output.read_text()
    assert not system.ready

    second = system.start().ready
    names = ("api_key", "public_token", "channel", "environment")
    assert {name: second[name] for name in names} == {name: first[name] for name in names}
    new = [send(second, first["api_key"]), send(second, first["public_token"])]
    sql_at(second).wait(among([*seen, *late, *new]), 1 + 50 + 2)
