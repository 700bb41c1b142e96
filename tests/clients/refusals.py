"""A receiver that refuses large bodies for every reason there is; clients have to hear it. No test lives here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live.receiver_process import FOREIGN, SECRET, Receiver, key, running_broker

TRIES = 50
WRONG = "ak_" + "x" * 32
QUOTA = "ak_" + "q" * 32


def _named(text: str, channel: int = 42, *more: str) -> list[str]:
    return ["X-API-Key", text, "X-Axonpush-Channel", str(channel), *more]


# The size of an OTLP export, and its headers, by the status that has to be heard.
REFUSED_EXPORTS: dict[str, tuple[int, list[str]]] = {
    "401": (5_000_000, _named(WRONG)),
    "403": (5_000_000, _named(FOREIGN)),
    "404": (5_000_000, _named(SECRET, 777)),
    "413": (7_000_000, _named(SECRET)),
    "415": (5_000_000, _named(SECRET, 42, "Content-Encoding", "compress")),
    "429": (5_000_000, _named(QUOTA)),
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
