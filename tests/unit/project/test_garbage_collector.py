"""Receivers and workers collect garbage rarely, and never walk what was there at their start (decision 27).

In processes of their own, started as the commands start them: the settings are for a process's whole life.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

import pytest

# Makes and keeps 15,000 objects, as a batch of rows does, and prints what the collector did meanwhile.
WORK = """
import gc, json

def work():
    collections = []
    gc.callbacks.append(lambda phase, info: collections.append(info["generation"]) if phase == "start" else None)
    kept = [[number] for number in range(15_000)]
    print(json.dumps([len(collections), gc.get_freeze_count()]))
"""
PLAIN = f"{WORK}\nwork()"
WORKER = f"""{WORK}
from workers import process

async def run(types):
    work()

process.run = run
process.main(["event"])
"""
RECEIVER = f"""{WORK}
import asyncio
from receiver import server
from receiver.settings import ReceiverSettings

async def opened(settings, closing):
    return object()

def serve(app, settings, port):
    work()
    raise SystemExit

server._open, server._app, server._server = opened, (lambda steps, closing: None), serve
asyncio.run(server.run(ReceiverSettings(port=0, receiver_metrics_port=0)))
"""


@dataclass(frozen=True)
class Seen:
    """What a process did."""

    collections: int
    frozen_objects: int


def ran(program: str) -> Seen:
    """Runs it in a process of its own."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    lines = done.stdout.splitlines()
    assert lines, done.stderr
    return Seen(*json.loads(lines[-1]))


@pytest.mark.parametrize("program", [WORKER, RECEIVER], ids=["worker", "receiver"])
def test_a_batch_of_objects_starts_no_collection(program: str) -> None:
    """Python's own settings would start one every few hundred objects."""
    assert ran(PLAIN).collections > 5
    seen = ran(program)
    assert seen.collections <= 1
    assert seen.frozen_objects > 10_000, "modules and classes are walked by every full collection"
