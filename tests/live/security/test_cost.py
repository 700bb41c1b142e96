"""Hostile bodies beside honest traffic in a whole system: honest rows come, each once, and no worker dies of them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.polling import eventually
from tests.system import System
from tests.traffic import Sender

pytestmark = [pytest.mark.live, pytest.mark.long]

ROUNDS = 2
HONEST, HOSTILE = 201, 202


def of_item(kind: str, payload: bytes) -> bytes:
    """An envelope of one item; its id makes it another message than the last one."""
    head = orjson.dumps({"event_id": uuid.uuid4().hex})
    return head + b'\n{"type":"%s","length":%d}\n%s\n' % (kind.encode(), len(payload), payload)


def of_message(**message: Any) -> bytes:
    return of_item("event", orjson.dumps({"logentry": message}))


# What each was before: twelve seconds of all workers, gigabytes of memory, seconds of one loop.
BODIES: dict[str, Callable[[], bytes]] = {
    "a template of three million places": lambda: of_message(message="%(" * 2_900_000, params=[1]),
    "a thousand places for one parameter": lambda: of_message(message="{0}" * 1_000, params=["x" * 3_000_000]),
    "ninety thousand aggregates": lambda: of_item(
        "sessions", b'{"aggregates":[%s]}' % b",".join([b'{"started":1}'] * 90_000)
    ),
    "records that are none": lambda: of_item("log", b'{"items":[%s]}' % b",".join([b"0"] * 90_000)),
    "lists and NaN": lambda: of_item("event", b'{"extra":{"a":[%s,NaN]}}' % b",".join([b"[]"] * 400_000)),
}


@pytest.fixture
def system(tmp_path: Path) -> Any:
    """One that no other test uses: it must not stumble."""
    running = System(tmp_path, AXONPUSH_WORKER_MESSAGE_CPU_S="20")
    try:
        yield running.start()
        running.stop()
    finally:
        running.end()


def test_honest_rows_come_beside_hostile_bodies(system: System) -> None:
    """All of them, once; workers live on; what was refused is counted."""
    for channel in (HONEST, HOSTILE):
        system.cli("channels", "create", "--id", str(channel))
    honest, hostile = Sender(system, HONEST), Sender(system, HOSTILE)
    workers = system.ready["pids"]["worker"]
    for turn in range(ROUNDS):
        for body in BODIES.values():
            assert hostile.envelope(body()) == 200
            assert honest.event(f"honest {turn}") == 200
    sent = ROUNDS * len(BODIES)
    counted = "SELECT count() AS n FROM events WHERE channel_id = {channel:UInt64}"
    eventually(lambda: system.query(counted, channel=HONEST)[0]["n"] in (sent, str(sent)), "every honest row")
    refused = (
        "SELECT reason, sum(quantity) AS n FROM outcomes WHERE channel_id = {channel:UInt64} AND outcome = 'rejected' "
        "GROUP BY reason"
    )
    expected = {"invalid_log": ROUNDS * 90_000}
    eventually(
        lambda: {row["reason"]: int(row["n"]) for row in system.query(refused, channel=HOSTILE)} == expected,
        "every refused record counted",
        120,
    )
    rows = ROUNDS * (90_000 + 3)
    eventually(
        lambda: int(system.query(counted, channel=HOSTILE)[0]["n"]) == rows, f"{rows} rows of hostile bodies", 120
    )
    assert system.ready["pids"]["worker"] == workers
    dead = "SELECT count() AS n FROM dead_letters WHERE channel_id IN (201, 202)"
    assert int(system.query(dead)[0]["n"]) == 0
