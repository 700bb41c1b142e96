"""Errors per second from the socket to rows that SQL finds, beside a server that does nothing (the floor)."""

from __future__ import annotations

import asyncio
import gzip
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import aiohttp

from tests.bench import bodies
from tests.polling import eventually
from tests.servers import free_port
from tests.system import System

REQUESTS = 4000
CONNECTIONS = 32
ROUNDS = 3
FLOOR = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})
"""


@dataclass(frozen=True)
class Stored:
    """Medians of ROUNDS, requests per second. The load generator runs on the same machine, also for the floor."""

    accepted_s: float
    stored_s: float
    floor_s: float

    @property
    def accepted_ratio(self) -> float:
        """Accepted requests for each one the floor answers."""
        return self.accepted_s / self.floor_s

    @property
    def stored_ratio(self) -> float:
        """Rows that SQL finds for each request the floor answers."""
        return self.stored_s / self.floor_s


def measure() -> Stored:
    """Start both, load them by turns."""
    with tempfile.TemporaryDirectory() as folder, floor(Path(folder)) as floor_url, running(Path(folder)) as system:
        found = [(*_store(system), asyncio.run(load(floor_url, fresh_bodies()))) for _ in range(ROUNDS)]
    accepted, stored, floor_rate = (median(values) for values in zip(*found, strict=True))
    return Stored(accepted, stored, floor_rate)


def fresh_bodies() -> list[bytes]:
    """Compressed errors that nobody has sent before."""
    return [gzip.compress(bodies.error(), 1) for _ in range(REQUESTS)]


def _store(system: System) -> tuple[float, float]:
    """(accepted, stored) per second of one round."""
    ready, sent = system.ready, fresh_bodies()
    query = "SELECT count() AS n FROM events"
    before = system.query(query)[0]["n"]
    url = f"{ready['url']}/api/{ready['channel']}/envelope/?sentry_key={ready['public_token']}"
    began = time.perf_counter()
    accepted = asyncio.run(load(url, sent))
    eventually(lambda: system.query(query)[0]["n"] == before + REQUESTS, f"{REQUESTS} rows", 120)
    return accepted, REQUESTS / (time.perf_counter() - began)


async def load(url: str, sent: list[bytes]) -> float:
    """Post every body over CONNECTIONS connections; returns answers per second. Each must be a 200."""
    left = iter(sent)
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector, headers={"content-encoding": "gzip"}) as session:

        async def sender() -> None:
            for body in left:
                async with session.post(url, data=body) as answer:
                    await answer.read()
                    assert answer.status == 200, answer.status

        began = time.perf_counter()
        await asyncio.gather(*(sender() for _ in range(CONNECTIONS)))
        return len(sent) / (time.perf_counter() - began)


@contextmanager
def running(folder: Path) -> Iterator[System]:
    """The whole system, as `make up` starts it."""
    (folder / "system").mkdir()
    system = System(folder / "system").start()
    try:
        yield system
    finally:
        system.stop()


@contextmanager
def floor(folder: Path) -> Iterator[str]:
    """A server of the same make that reads a body and answers 200."""
    (folder / "floor.py").write_text(FLOOR)
    port = free_port()
    command = [sys.executable, "-m", "granian", "--interface", "asgi", "--port", str(port), "--no-ws", "floor:app"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/"
    try:
        eventually(lambda: asyncio.run(load(url, [gzip.compress(b"x")])), "the floor to answer")
        yield url
    finally:
        process.terminate()
        process.wait(20)
