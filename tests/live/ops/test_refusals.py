"""`axonpush refusals` on a running system: real requests that are refused, and who sent them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from tests.polling import eventually
from tests.system import System
from tests.traffic import status

pytestmark = pytest.mark.live

ENVELOPE = b'{"event_id":"%032x"}\n{"type":"event"}\n{}\n' % 7


def post(system: System, path: str, body: bytes = ENVELOPE) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(system.ready["url"] + path, body), timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def refusals(system: System, *options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(system.cli("refusals", "--json", *options).stdout)
    return found


def test_who_lost_its_key(operated: System) -> None:
    """A key is revoked while its sender goes on: its key and number are known; of an unknown key, the channel."""
    operated.cli("channels", "create", "--id", "555")
    minted = json.loads(operated.cli("keys", "mint", "--environment", "production", "--json").stdout)
    path = f"/api/555/envelope/?sentry_key={minted['key']}"
    assert post(operated, path) == 200
    operated.cli("keys", "revoke", minted["id"])
    eventually(lambda: post(operated, path) == 401, "the receiver to know that the key is revoked")
    for _ in range(91):
        assert post(operated, path) == 401
    for _ in range(5):
        assert post(operated, "/api/555/envelope/?sentry_key=ak_" + "u" * 32) == 401

    def counted() -> bool:
        found = {one["reason"]: one["requests"] for one in refusals(operated, "--channel", "555")}
        return found.get("401:revoked_key", 0) >= 92 and found.get("401:unknown_key") == 5

    eventually(counted, "the refusals to be counted")
    (revoked,) = refusals(operated, "--channel", "555", "--reason", "revoked")
    assert (revoked["key_id"], revoked["sender"], revoked["organisation"]) == (minted["id"], "", "default")
    (unknown,) = refusals(operated, "--channel", "555", "--reason", "unknown_key")
    assert (unknown["key_id"], unknown["sender"]) == ("", "loopback")
    shown = operated.cli("refusals").stdout
    assert f"key {minted['id']} of default was revoked and is still used" in shown
    assert minted["key"] not in shown
    sql = operated.query(
        "SELECT key_id, sum(quantity) AS n FROM outcomes WHERE outcome = 'refused' AND channel_id = 555 "
        "GROUP BY key_id ORDER BY n DESC"
    )
    assert [row["key_id"] for row in sql] == [minted["id"], ""]
    rates = status(operated, check=False)["refusals_per_minute"]
    assert rates["401:revoked_key"] >= 9
    assert status(operated, check=False)["reconciliation"]["total"]["difference"] == 0


def test_used_quotas_and_archived_channels_are_noted(operated: System) -> None:
    """`status` said OK and nothing more while their senders got 429 and 403."""
    operated.cli("channels", "create", "--id", "556")
    limited = json.loads(
        operated.cli("keys", "mint", "--environment", "production", "--quota", "1/min", "--json").stdout
    )
    path = f"/api/556/envelope/?sentry_key={limited['key']}"
    eventually(lambda: post(operated, path) == 429, "the quota to be used up")
    operated.cli("channels", "archive", "556")
    free = json.loads(operated.cli("keys", "mint", "--environment", "production", "--json").stdout)
    path = f"/api/556/envelope/?sentry_key={free['key']}"
    eventually(lambda: post(operated, path) == 403, "the receiver to know that the channel is archived")

    def noted() -> bool:
        notes = " ".join(status(operated, check=False)["notes"])
        return (
            f"key {limited['id']} has used its quota (--quota): " in notes
            and "channel 556 was used while it was archived" in notes
        )

    eventually(noted, "both to be counted")


def test_the_last_use_of_a_key_is_known(operated: System) -> None:
    """Stored requests are counted by key, in every twelfth interval of the receiver's reports."""
    minted = json.loads(operated.cli("keys", "mint", "--environment", "production", "--json").stdout)
    assert post(operated, f"/api/1/envelope/?sentry_key={minted['key']}") == 200
    rows = operated.rows(
        "SELECT sum(requests) AS n, max(minute) > now() - INTERVAL 5 MINUTE AS is_recent FROM key_use "
        "WHERE key_id = {key:String} GROUP BY key_id", key=minted["id"], deadline_s=120,
    )  # fmt: skip
    assert rows == [{"n": 1, "is_recent": 1}]
