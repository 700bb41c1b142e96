"""Plain HTTP clients of Go and Node hear why a large body was refused, in every try."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.clients.refusals import QUOTA, TRIES, WRONG, receiver
from tests.clients.toolchains import PROGRAMS, go_program, require_node
from tests.live.receiver_process import SECRET, Receiver

pytestmark = pytest.mark.clients

__all__ = ["receiver"]

TIMEOUT_S = 300

# What is refused, the path, the size of the body, its headers.
REFUSED: dict[str, tuple[str, int, list[str]]] = {
    "401": (f"/api/42/envelope/?sentry_key={WRONG}", 5_000_000, []),
    "401 otlp": ("/v1/traces", 5_000_000, ["X-API-Key", WRONG, "Content-Type", "application/x-protobuf"]),
    "413": (f"/api/42/envelope/?sentry_key={SECRET}", 7_000_000, []),
    "415": (
        "/v1/traces",
        5_000_000,
        ["X-API-Key", SECRET, "X-Axonpush-Channel", "42", "Content-Type", "text/plain"],
    ),
    "429": (f"/api/42/envelope/?sentry_key={QUOTA}", 5_000_000, []),
    "429 event": ("/event", 5_000_000, ["X-API-Key", QUOTA, "Content-Type", "application/json"]),
}


@pytest.fixture(scope="module", params=["go", "node"])
def client(request: pytest.FixtureRequest) -> list[str]:
    """The command of one client."""
    if request.param == "node":
        return [require_node(), str(PROGRAMS / "plain-node" / "post.mjs")]
    return [str(go_program("plain-go"))]


@pytest.mark.parametrize("name", REFUSED)
def test_every_refusal_is_heard(receiver: Receiver, client: list[str], name: str) -> None:
    """Go heard a broken pipe in half of the tries, and sent the whole body again for ever."""
    path, size, headers = REFUSED[name]
    command = [*client, receiver.url + path, str(TRIES), str(size), *headers]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)
    assert json.loads(done.stdout) == {name[:3]: TRIES}
