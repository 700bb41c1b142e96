"""Plain HTTP clients of Go and Node hear why a large body was refused, in every try."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.toolchains import PROGRAMS, require_go, require_node
from tests.live.receiver_process import SECRET, Receiver, key, running_broker

pytestmark = pytest.mark.clients

TRIES = 50
TIMEOUT_S = 300
WRONG = "ak_" + "x" * 32
QUOTA = "ak_" + "q" * 32

# What is refused, the path, the size of the body, its headers.
REFUSED: dict[str, tuple[str, int, list[str]]] = {
    "401": (f"/api/42/envelope/?sentry_key={WRONG}", 5_000_000, []),
    "401 otlp": ("/v1/traces", 5_000_000, ["X-API-Key", WRONG, "Content-Type", "application/x-protobuf"]),
    "413": (f"/api/42/envelope/?sentry_key={SECRET}", 7_000_000, []),
    "415": ("/v1/traces", 5_000_000, ["X-API-Key", SECRET, "Content-Type", "text/plain"]),
    "429": (f"/api/42/envelope/?sentry_key={QUOTA}", 5_000_000, []),
    "429 event": ("/event", 5_000_000, ["X-API-Key", QUOTA, "Content-Type", "application/json"]),
}


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """A receiver with a key whose quota is used up."""
    with running_broker(tmp_path_factory.mktemp("nats")) as broker:
        broker.put(key(QUOTA, quota_per_minute=0))
        running = Receiver(broker, tmp_path_factory.mktemp("receiver"), counts_wait_sentry_ms="0")
        try:
            yield running.wait_ready()
        finally:
            running.stop()


@pytest.fixture(scope="module", params=["go", "node"])
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of one client."""
    if request.param == "node":
        return [require_node(), str(PROGRAMS / "plain-node" / "post.mjs")]
    program = tmp_path_factory.mktemp("go") / "plain"
    build = [require_go(), "build", "-o", str(program), "."]
    subprocess.run(build, cwd=PROGRAMS / "plain-go", env=_go_environment(program.parent), check=True, timeout=TIMEOUT_S)
    return [str(program)]


def _go_environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "GOFLAGS": "-mod=mod", "GOCACHE": os.environ.get("GOCACHE", str(folder / "cache"))}


@pytest.mark.parametrize("name", REFUSED)
def test_every_refusal_is_heard(receiver: Receiver, client: list[str], name: str) -> None:
    """Go heard a broken pipe in half of the tries, and sent the whole body again for ever."""
    path, size, headers = REFUSED[name]
    command = [*client, receiver.url + path, str(TRIES), str(size), *headers]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)
    assert json.loads(done.stdout) == {name[:3]: TRIES}
