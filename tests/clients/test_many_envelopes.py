"""A thousand mixed envelopes at once: exactly the expected rows, and sending them again changes nothing."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
import urllib3

pytestmark = pytest.mark.clients

ENVELOPES = 1000
SENDERS = 16
LOGS_EACH = 3
POOL = urllib3.PoolManager(maxsize=SENDERS, block=True)
BY_TYPE = (
    "SELECT item_type, count() AS n, uniqExact(event_id) AS ids FROM events WHERE channel_id = {} GROUP BY item_type"
)


@dataclass(frozen=True)
class Sample:
    """One envelope and the rows it must become. `named`: its rows have ids of their own, whatever the encoding."""

    body: bytes
    rows: dict[str, int]
    named: bool = True


def envelope(event_id: str | None, item_type: str, payload: dict[str, Any], **header: Any) -> bytes:
    """One item in one envelope."""
    lines = ({"event_id": event_id} if event_id else {}, {"type": item_type, **header}, payload)
    return b"\n".join(json.dumps(line).encode() for line in lines)


def error(number: int, now: float) -> Sample:
    """An exception with a few frames."""
    frames = [{"filename": "till.py", "function": f"step_{n}", "lineno": n} for n in range(1, 6)]
    raised = {"type": "PaymentRefused", "value": f"no payment {number}", "stacktrace": {"frames": frames}}
    payload = {"timestamp": now, "exception": {"values": [raised]}, "tags": {"number": str(number)}}
    return Sample(envelope(uuid4().hex, "event", payload), {"event": 1})


def message(number: int, now: float) -> Sample:
    """A plain message."""
    return Sample(envelope(uuid4().hex, "event", {"timestamp": now, "message": f"message {number}"}), {"event": 1})


def transaction(number: int, now: float) -> Sample:
    """A transaction with none to four child spans."""
    trace_id, root = uuid4().hex, uuid4().hex[:16]
    times = {"start_timestamp": now - 1, "timestamp": now}
    spans = [
        {"trace_id": trace_id, "span_id": uuid4().hex[:16], "parent_span_id": root, "op": "db", **times}
        for _ in range(number % 5)
    ]
    trace = {"trace_id": trace_id, "span_id": root, "op": "http.server"}
    payload = {"transaction": "GET /", "contexts": {"trace": trace}, "spans": spans, **times}
    rows = {"transaction": 1} | ({"span": len(spans)} if spans else {})
    return Sample(envelope(uuid4().hex, "transaction", payload), rows)


def logs(number: int, now: float) -> Sample:
    """A container of logs, which have no ids."""
    items = [
        {"timestamp": now, "trace_id": uuid4().hex, "level": "info", "body": f"log {number}.{n}", "severity_number": 9}
        for n in range(LOGS_EACH)
    ]
    kind = "application/vnd.sentry.items.log+json"
    body = envelope(None, "log", {"items": items}, item_count=LOGS_EACH, content_type=kind)
    return Sample(body, {"log": LOGS_EACH}, named=False)


def samples() -> list[Sample]:
    """The envelopes of one run."""
    now = datetime.now(UTC).timestamp()
    kinds: tuple[Callable[[int, float], Sample], ...] = (error, message, transaction, logs)
    return [kinds[number % len(kinds)](number // len(kinds), now) for number in range(ENVELOPES)]


def send_all(ready: dict[str, Any], channel: int, bodies: list[bytes], **headers: str) -> Counter[int]:
    """Post every body from SENDERS threads; returns how often each status came back."""
    url = f"{ready['url']}/api/{channel}/envelope/?sentry_key={ready['api_key']}"

    def send(body: bytes) -> int:
        return POOL.request("POST", url, body=body, headers=headers, retries=False, timeout=60).status

    with ThreadPoolExecutor(SENDERS) as senders:
        return Counter(senders.map(send, bodies))


def stored(sql: Any, channel: int) -> dict[str, int]:
    """Rows by item type; asserts that none is there twice."""
    rows = sql.rows(BY_TYPE.format(channel))
    assert {row["item_type"]: row["ids"] for row in rows} == {row["item_type"]: row["n"] for row in rows}
    return {row["item_type"]: row["n"] for row in rows}


def test_a_thousand_envelopes_become_exactly_their_rows(ready: Any, sql: Any, command: Any, drained: Any) -> None:
    """No row lost, none doubled; the same bytes again, and named events in another encoding, change nothing."""
    channel = command("channels", "create")["id"]
    wait_for_channel(ready, channel)
    sent = samples()
    expected = dict(sum((Counter(sample.rows) for sample in sent), Counter()))

    assert send_all(ready, channel, [sample.body for sample in sent]) == {200: ENVELOPES}
    drained()
    assert stored(sql, channel) == expected

    assert send_all(ready, channel, [sample.body for sample in sent]) == {200: ENVELOPES}
    drained()
    assert stored(sql, channel) == expected

    named = [gzip.compress(sample.body, 1) for sample in sent if sample.named]
    assert send_all(ready, channel, named, **{"Content-Encoding": "gzip"}) == {200: len(named)}
    drained()
    assert stored(sql, channel) == expected

    accepted = f"SELECT sum(quantity) AS n FROM outcomes WHERE channel_id = {channel} AND outcome = 'accepted'"
    assert sql.rows(accepted)[0]["n"] == sum(expected.values())
    assert sql.rows(f"SELECT count() AS n FROM dead_letters WHERE channel_id = {channel}")[0]["n"] == 0


def wait_for_channel(ready: dict[str, Any], channel: int) -> None:
    """Until the receiver knows it: an envelope without items is accepted and makes no row."""
    for _ in range(200):
        if send_all(ready, channel, [b"{}\n"]) == {200: 1}:
            return
    pytest.fail("the receiver does not know the new channel")
