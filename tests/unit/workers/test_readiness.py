"""What a worker process says of itself over HTTP."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.polling import ANSWER_TIMEOUT_S
from workers import metrics, readiness


@pytest.fixture
def url() -> Iterator[str]:
    """A process that serves, with no worker in it yet."""
    metrics.UNBOUND.clear()
    metrics.CLICKHOUSE_REFUSES.clear()
    server = readiness.serve(0, "127.0.0.1")
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    metrics.UNBOUND.clear()
    metrics.CLICKHOUSE_REFUSES.clear()


def ask(url: str) -> tuple[int, dict[str, object]]:
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_TIMEOUT_S) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_not_ready_before_the_broker_was_asked(url: str) -> None:
    """Nobody knows yet whether there is anything to work on."""
    assert ask(f"{url}/ready") == (503, {"status": "not ready", "connected": False})


def test_not_ready_while_a_durable_is_missing(url: str) -> None:
    """It is named, with what to do; one that is there again is not."""
    metrics.UNBOUND.labels("event").set(0)
    metrics.UNBOUND.labels("unpack").set(1)
    status, told = ask(f"{url}/ready")
    assert (status, told["missing_durables"]) == (503, ["unpack"])
    assert "axonpush migrate" in str(told["remedy"])
    metrics.UNBOUND.labels("unpack").set(0)
    assert ask(f"{url}/ready/") == (200, {"status": "ready"})


def test_not_ready_while_clickhouse_refuses(url: str) -> None:
    """Not asked yet, or refused: it fetches nothing then."""
    metrics.UNBOUND.labels("event").set(0)
    metrics.CLICKHOUSE_REFUSES.labels("start").set(1)
    status, told = ask(f"{url}/ready")
    assert (status, told["refused"]) == (503, ["start"])
    metrics.CLICKHOUSE_REFUSES.labels("start").set(0)
    assert ask(f"{url}/ready")[0] == 200


def test_metrics_are_where_they_were(url: str) -> None:
    """For Prometheus, at any other path as before."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=ANSWER_TIMEOUT_S) as answer:
        assert b"axonpush_worker_messages" in answer.read()
