"""Channels and keys made on the command line, used at once by real requests."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID, uuid4

import pytest
import urllib3

pytestmark = pytest.mark.clients

POOL = urllib3.PoolManager()
DEADLINE_S = 5.0
POLL_S = 0.05


def send(ready: dict[str, Any], channel: int, key: str, **headers: str) -> tuple[int, str]:
    """Post one message; returns the status and the event's id."""
    event_id = uuid4().hex
    body = f'{{"event_id":"{event_id}"}}\n{{"type":"event"}}\n{{"message":"m","environment":"from-event"}}\n'
    url = f"{ready['url']}/api/{channel}/envelope/?sentry_key={key}"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return POOL.request("POST", url, body=body, headers=named, retries=False, timeout=30).status, event_id


def until(status: int, ready: dict[str, Any], channel: int, key: str, **headers: str) -> str:
    """Send until the answer has this status; returns the event's id. A registry change takes effect within a second."""
    deadline = time.monotonic() + DEADLINE_S
    while (found := send(ready, channel, key, **headers))[0] != status and time.monotonic() < deadline:
        time.sleep(POLL_S)
    assert found[0] == status
    return found[1]


def test_a_new_channel_and_key_work_at_once(ready: Any, sql: Any, command: Any) -> None:
    """Rows carry the new channel and the environment the key is bound to."""
    channel = command("channels", "create")["id"]
    key = command("keys", "mint", "--channel", str(channel), "--environment", "production")["key"]
    event_id = until(200, ready, channel, key)
    (row,) = sql.wait(f"SELECT channel_id, environment FROM events WHERE event_id = '{UUID(event_id)}'", 1)
    assert row == {"channel_id": channel, "environment": "production"}


def test_a_key_limited_to_one_channel_is_403_elsewhere(ready: Any, command: Any) -> None:
    """Also for a channel of another organisation, and 404 for one that does not exist."""
    own, other = command("channels", "create")["id"], command("channels", "create")["id"]
    foreign = command("channels", "create", "--organisation", "elsewhere", "--new-organisation")["id"]
    key = command("keys", "mint", "--channel", str(own), "--environment", "production")["key"]
    until(200, ready, own, key)
    until(403, ready, other, key)
    until(403, ready, foreign, key)
    assert send(ready, 2**62, key)[0] == 404


def test_a_revoked_key_is_401(ready: Any, command: Any) -> None:
    """Within a second, on every receiver."""
    minted = command("keys", "mint", "--environment", "production")
    until(200, ready, ready["channel"], minted["key"])
    command("keys", "revoke", minted["id"])
    until(401, ready, ready["channel"], minted["key"])


def test_environment_is_overridden_only_where_the_key_allows(ready: Any, sql: Any, command: Any) -> None:
    """The header wins over the event's own, the event's own over the key's."""
    strict = command("keys", "mint", "--environment", "production")["key"]
    open_key = command("keys", "mint", "--environment", "production", "--allow-environment-override")["key"]
    header = {"X_Axonpush_Environment": "from-header"}
    expected = {
        until(200, ready, ready["channel"], strict, **header): "production",
        until(200, ready, ready["channel"], open_key, **header): "from-header",
        until(200, ready, ready["channel"], open_key): "from-event",
    }
    ids = ", ".join(f"'{UUID(event_id)}'" for event_id in expected)
    rows = sql.wait(f"SELECT toString(event_id) AS id, environment FROM events WHERE event_id IN ({ids})", 3)
    assert {UUID(row["id"]).hex: row["environment"] for row in rows} == expected


def test_pages_of_other_origins_are_403(ready: Any, command: Any) -> None:
    """A public token may be limited to web origins; senders that are no browser pass."""
    key = command("keys", "mint", "--environment", "web", "--public", "--origin", "https://shop.example")["key"]
    until(200, ready, ready["channel"], key, Origin="https://shop.example")
    until(403, ready, ready["channel"], key, Origin="https://evil.example")
    assert send(ready, ready["channel"], key)[0] == 200
