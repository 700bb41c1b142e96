"""Invalid bodies: each key fills its own share, whatever is wrong with the broker is nobody's trouble."""

from __future__ import annotations

import asyncio

import pytest
from nats.errors import NoRespondersError
from nats.js.errors import NoStreamResponseError

from schemas import headers, subjects
from tests.unit.worker_fakes import Bench, FakeClock, origin
from workers.consume.message import Dead, Message
from workers.store.dead_letters import (
    INVALID_PAUSE_S,
    MAX_INVALID_BYTES,
    DeadLetterNotStored,
    DeadStreamSink,
    InvalidBodies,
)
from workers.store.shares import COST_BYTES, MAX_KEYS, REFILL_S, Shares

INVALID = Dead("invalid", "why", by_sender=True)


def test_a_key_fills_only_its_own_share() -> None:
    """Small bodies cost more than their bytes; the share comes back with time, and never beyond itself."""
    clock = FakeClock()
    shares = Shares(10 * (COST_BYTES + 100), clock)
    mine, other = ("acme", "a"), ("acme", "b")
    assert [shares.take(mine, 100) for _ in range(12)] == [True] * 10 + [False] * 2
    assert shares.take(other, 100)
    clock.pass_by(REFILL_S / 10)
    assert [shares.take(mine, 100) for _ in range(2)] == [True, False]
    clock.pass_by(100 * REFILL_S)
    assert [shares.take(mine, 100) for _ in range(11)] == [True] * 10 + [False]


def test_keys_are_bounded() -> None:
    """However many keys send: the one that has not sent for the longest time is forgotten, and no other."""
    shares = Shares(COST_BYTES + 1, FakeClock())
    for number in range(MAX_KEYS):
        assert shares.take(("acme", str(number)), 1)
    assert not shares.take(("acme", "0"), 1)
    assert shares.take(("acme", "one more"), 1)
    assert [shares.take(("acme", str(number)), 1) for number in (0, 2, 1)] == [False, False, True]


class Kept:
    """A worker's dead letters with a broker that writes down what it gets, or fails."""

    def __init__(self, share_bytes: int = 1_000_000) -> None:
        self.clock = FakeClock()
        self.published: list[str] = []
        self.error: Exception | None = None
        refusals = InvalidBodies(self._publish, Shares(share_bytes, self.clock), self.clock)
        self.messages = DeadStreamSink(self._publish, "unpack", refusals)

    async def _publish(self, subject: str, _body: bytes, _headers: dict[str, str]) -> None:
        self.published.append(subject)
        if self.error is not None:
            raise self.error

    def store(self, message: Message, dead: Dead = INVALID) -> bool:
        try:
            asyncio.run(self.messages.store(message, dead))
        except DeadLetterNotStored:
            return False
        return True


def message(**changes: object) -> Message:
    return Bench().message(subject="raw.sentry.envelope.7", **changes)  # type: ignore[arg-type]


def test_refused_bodies_and_our_faults_never_meet() -> None:
    """Another stream; what died of our fault does not ask for a share."""
    kept = Kept(share_bytes=0)
    assert not kept.store(message())
    assert kept.store(message(), Dead("poison", "why"))
    assert kept.published == ["dead.unpack.sentry_envelope.7"]
    kept = Kept()
    assert kept.store(message())
    assert kept.published == ["refused.unpack.sentry_envelope.0123456789abcdef.7"]
    assert not kept.store(message(body=b"x" * (MAX_INVALID_BYTES + 1)))


def test_a_retried_body_is_kept_whatever_its_share() -> None:
    """Else `dead retry` would lose what it cannot bring to life."""
    kept = Kept(share_bytes=0)
    told = headers.write(origin(), "m") | {headers.REPLAY_GENERATION: "3"}
    assert kept.store(message(headers=told))
    assert not kept.store(message())


@pytest.mark.parametrize("error", [NoStreamResponseError(), NoRespondersError(), OSError("away")])
def test_a_broker_without_the_stream_costs_one_attempt(error: Exception) -> None:
    """Before `migrate`, or without a leader: no body waits for it, and it is asked again later."""
    kept = Kept()
    kept.error = error
    assert [kept.store(message()) for _ in range(50)] == [False] * 50
    assert len(kept.published) == 1
    kept.clock.pass_by(INVALID_PAUSE_S)
    kept.error = None
    assert kept.store(message())


def test_a_number_tells_its_stream() -> None:
    """`dead show N` needs nothing else."""
    assert subjects.dead_stream(1) == subjects.DEAD
    assert subjects.dead_stream(subjects.REFUSED_FIRST_SEQ) == subjects.REFUSED


@pytest.mark.parametrize("key", ["", "a.b", "*", ">", "a b", "é"])
def test_an_odd_key_makes_no_odd_subject(key: str) -> None:
    """Nothing of a header steers where a body goes."""
    assert subjects.refused("unpack", "event", key, 7) == "refused.unpack.event.unknown.7"
