"""What SDKs lose and what nobody stores, through the whole system: rows of `outcomes`, and a header that stops it."""

from __future__ import annotations

import urllib.request
from uuid import uuid4

import orjson
import pytest

from tests.polling import eventually
from tests.system import System

pytestmark = pytest.mark.live

LOST = (
    "SELECT outcome, item_type, reason, quantity FROM outcomes "
    "WHERE reason IN ({reason:String}, 'counted_in_outcomes:client_report') AND outcome != 'accepted' "
    "AND key_id = (SELECT any(key_id) FROM outcomes WHERE reason = {reason:String}) ORDER BY outcome, item_type"
)


def send(system: System, key: str, *items: tuple[str, bytes]) -> str:
    """Posts an envelope and returns its answer's X-Sentry-Rate-Limits."""
    lines = [b"{}"] + [b'{"type":"%b","length":%d}\n%b' % (kind.encode(), len(body), body) for kind, body in items]
    url = f"{system.ready['url']}/api/{system.ready['channel']}/envelope/?sentry_key={key}"
    with urllib.request.urlopen(urllib.request.Request(url, b"\n".join(lines)), timeout=60) as answer:
        return str(answer.headers.get("X-Sentry-Rate-Limits", ""))


def test_a_report_is_rows_of_outcomes_and_no_event(system: System) -> None:
    """Counted once, although it is sent twice; the report itself is a drop with a name."""
    key, reason = system.mint("--channel", str(system.ready["channel"])), f"r{uuid4().hex[:20]}"
    report = {
        "timestamp": "2026-11-21T14:46:05Z",
        "discarded_events": [
            {"reason": reason, "category": "error", "quantity": 3},
            {"reason": reason, "category": "default", "quantity": 2},
            {"reason": reason, "category": "monitor", "quantity": 1},
        ],
        "rate_limited_events": [{"reason": reason, "category": "transaction", "quantity": 4}],
    }
    for _ in range(2):
        send(system, key, ("client_report", orjson.dumps(report)))
    expected = [
        ("client_discarded", "check_in", reason, 1),
        ("client_discarded", "event", reason, 5),
        ("client_rate_limited", "transaction", reason, 4),
        ("dropped", "client_report", "counted_in_outcomes:client_report", 1),
    ]
    found = [tuple(row.values()) for row in system.rows(LOST, 4, reason=reason)]
    assert found == expected


def test_what_is_not_stored_is_limited_once_the_workers_say_so(system: System) -> None:
    """On a 200; an SDK that sends profiles beside its transactions stops only these."""
    key = str(system.ready["public_token"])

    def limits() -> str:
        profile = orjson.dumps({"event_id": uuid4().hex})
        return send(system, key, ("profile", profile), ("event", orjson.dumps({"message": uuid4().hex})))

    assert eventually(limits, "a limit") == "86400:profile;profile_chunk;profile_chunk_ui:organization:unsupported"
    assert not send(system, key, ("event", orjson.dumps({"message": uuid4().hex})))
