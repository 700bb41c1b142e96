"""Waiters of waiting requests: each ends with its request, and says no more than workers have said."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from receiver.delivery.counts import Inbox, Tally, Waiter
from schemas.counts import Counts
from tests.unit.receiver.endpoints.test_native import EVENT, NativeClient
from tests.unit.receiver.test_app import ENVELOPE, LOGS, Client, auth, otlp


def waiters() -> int:
    """How many waiters of waiting requests there are in the process."""
    gc.collect()
    return sum(isinstance(one, Waiter) for one in gc.get_objects())


@pytest.mark.asyncio
async def test_a_closed_waiter_is_forgotten() -> None:
    """The inbox holds nothing of it any more: else every waiting request would leak."""
    inbox = Inbox("_INBOX.x")
    waiter = inbox.open_waiter(1)
    gone = weakref.ref(waiter.future)
    inbox.close(waiter)
    del waiter
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("is_answered", [True, False])
def test_requests_that_waited_leave_no_waiter(is_answered: bool) -> None:
    """Whether their counts came or not, whatever the endpoint."""
    client = Client(counts_wait_otlp_ms=1, counts_wait_sentry_ms=1)

    def answer(headers: dict[str, str]) -> None:
        token = headers["Counts-To"].rpartition(".")[2]
        client.inbox.deliver(token, Counts(stage="x", expect=0).encode())

    if is_answered:
        client.publisher.on_publish = answer
    before = waiters()
    for number in range(4):
        assert client.post("/api/42/envelope/", ENVELOPE + b"\n" * number, x_sentry_auth=auth()).status == 200
        assert client.post("/v1/logs", LOGS + b" " * number, **otlp()).status == 200
    assert waiters() == before


@pytest.mark.asyncio
async def test_a_waiting_request_hears_its_own_counts_only() -> None:
    """Two at once: each reply ends the wait of its own waiter."""
    inbox = Inbox("_INBOX.x")
    one, other = inbox.open_waiter(1), inbox.open_waiter(1)
    assert one.reply_to != other.reply_to
    inbox.deliver(one.reply_to.rpartition(".")[2], Counts(stage="a", accepted=3).encode())
    tally = await asyncio.wait_for(one.future, 60)
    assert (tally.accepted, other.future.done()) == (3, False)
    inbox.close(one)
    inbox.close(other)


@pytest.mark.parametrize(("told", "expected"), [([False], False), ([True], True), ([False, True], True)])
def test_only_a_worker_says_that_rows_are_stored(told: list[bool], expected: bool) -> None:
    """`sync` confirms by it: a reply before the insert must not."""
    tally = Tally(expected=len(told))
    assert tally.stored is False
    for stored in told:
        tally.add(Counts(stage="native", accepted=1, stored=stored))
    assert (tally.done, tally.stored) == (True, expected)


def test_native_requests_that_were_answered_leave_no_waiter() -> None:
    """With an idempotency key, which late counts could still be noted for, and without one."""
    client = NativeClient()
    client.replying(accepted=1, stored=True)
    before = waiters()
    for number in range(4):
        assert client.event(EVENT | {"sync": True}).status == 201
        assert client.event(EVENT | {"sync": True}, idempotency_key=f"k{number}").status == 201
    assert waiters() == before
