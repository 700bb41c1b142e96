"""Refused requests have a budget too: beyond it 429, before anything of a body is read."""

from __future__ import annotations

import gzip
import tracemalloc
from typing import Any

import orjson
import pytest
from google.rpc.status_pb2 import Status

from receiver.admission.refusal_budget import (
    ADDRESSES,
    BYTES_PER_REFUSAL,
    LEAST,
    MAX_SENDERS,
    REASON,
    WINDOW_S,
    RefusalBudget,
    TooManyRefusals,
)
from receiver.admission.refusals import RefusalCounter
from tests.unit.receiver.test_app import SECRET, Client, auth, key, otlp
from tests.unit.receiver.test_parts import Clock

LIMIT = 5
BAD = b'{"identifier":"a","channel_id":42,"payload":{"a":[[],NaN]'
EVENT = b'{"identifier":"a","channel_id":42,"payload":{}}'
NATIVE = {"x_api_key": SECRET, "content_type": "application/json"}
ONE = key(SECRET)


class Unread:
    """Messages of a body that count how many were asked for."""

    def __init__(self, body: bytes) -> None:
        self.asked = 0
        self._body = body

    def __iter__(self) -> Any:
        self.asked += 1
        yield self._body


def exceeded(budget: RefusalBudget, route: str = "event", network: str = "a", of: Any = ONE) -> bool:
    try:
        budget.check(of, route, network)
    except TooManyRefusals:
        return True
    return False


@pytest.mark.parametrize(
    ("path", "headers", "bad"),
    [
        ("/event", NATIVE, BAD),
        ("/event/batch", NATIVE, b'{"events":[{}],"channel_id":42}'),
        ("/api/42/envelope/", {"x_sentry_auth": auth(), "content_encoding": "gzip"}, b"no gzip"),
        ("/api/42/store/", {"x_sentry_auth": auth(), "content_encoding": "deflate"}, b"no deflate"),
        ("/api/42/minidump/", {"x_sentry_auth": auth()}, b""),
        ("/v1/logs", otlp(), b""),
        ("/api/42/security/", {"x_sentry_auth": auth(), "content_type": "text/html"}, b"<p>"),
    ],
)
def test_beyond_it_nothing_is_read(path: str, headers: dict[str, str], bad: bytes) -> None:
    """Bad bodies are refused for what they are, until there were too many; then 429 without a look at the body."""
    client = Client(refused_per_minute=LIMIT)
    answers = [client.post(path, bad, **headers).status for _ in range(LIMIT)]
    assert set(answers) <= {400, 415}
    held = client.steps.bodies.budget
    held.enter = None  # type: ignore[method-assign, assignment]  # a body that is read fails
    answer = client.post(path, bad, **headers)
    assert (answer.status, answer.headers["retry-after"]) == (429, str(WINDOW_S))
    assert b"refus" in answer.body


def test_each_dialect_says_it_in_its_own_way() -> None:
    """Sentry SDKs read a header, OTLP exporters a status message, native SDKs a code."""
    client = Client(refused_per_minute=1)
    for path, headers in (("/api/42/envelope/", {"x_sentry_auth": auth()}), ("/v1/logs", otlp()), ("/event", NATIVE)):
        client.post(path, b"", **headers)
    sentry = client.post("/api/42/envelope/", b"", x_sentry_auth=auth())
    assert sentry.headers["x-sentry-rate-limits"].startswith("60:error:organization")
    protobuf = otlp(content_type="application/x-protobuf")
    assert Status.FromString(client.post("/v1/logs", b"", **protobuf).body).code == 8
    assert client.post("/event", b"", **NATIVE).json["code"] == "rate_limited"


def test_bad_bodies_do_not_bypass_a_quota() -> None:
    """The quota is asked before the body is read, and refusals do not go on for ever."""
    client = Client()
    one = client.registry.keys[ONE.sha256] = ONE.model_copy(update={"quota_per_minute": 1})
    statuses = [client.post("/event", BAD, **NATIVE).status for _ in range(LEAST + 1)]
    assert (statuses[0], statuses[-1]) == (400, 429)
    assert statuses.count(400) == LEAST
    fresh = Client()
    fresh.registry.keys[one.sha256] = one
    assert fresh.post("/event", EVENT, **NATIVE).status in (200, 201)
    assert (
        fresh.post("/event", gzip.compress(BAD), **NATIVE, content_encoding="gzip").json["message"].startswith("quota")
    )


def test_refusals_are_in_outcomes() -> None:
    """With the key and the endpoint; the channel is 0 where it stands in a body that was not read."""
    client = Client(refused_per_minute=1)
    for _ in range(3):
        client.post("/event", BAD, **NATIVE)
        client.post("/v1/logs", b"", **otlp())
    refusals: RefusalCounter = client.steps.refusals
    found = {(sender.channel_id, sender.key_id, *kind): count
             for sender, kinds in refusals._counts.items() for kind, count in kinds.items()}  # fmt: skip
    assert found == {
        (0, ONE.id, "event", REASON, "rate_limited", ""): 2,
        (42, ONE.id, "otlp_logs", REASON, "rate_limited", ""): 2,
        (0, ONE.id, "event", "400:invalid", "refused", ""): 1,
        (42, ONE.id, "otlp_logs", "400:invalid", "refused", ""): 1,
    }


def test_what_is_stored_costs_nothing() -> None:
    """Any number of good bodies beside a few bad ones."""
    client = Client(refused_per_minute=LIMIT)
    for _ in range(LIMIT - 1):
        assert client.post("/event", BAD, **NATIVE).status == 400
    assert {client.post("/event", EVENT, **NATIVE).status for _ in range(10 * LIMIT)} <= {200, 201}


def test_others_are_not_stopped() -> None:
    """Neither another endpoint of the key, nor its other addresses, nor other keys; a minute later nobody is."""
    clock = Clock()
    budget = RefusalBudget(LIMIT, clock)
    for _ in range(LIMIT):
        budget.add(ONE, "event", "a", 0)
    assert exceeded(budget)
    assert not exceeded(budget, route="otlp.logs")
    assert not exceeded(budget, network="b")
    assert not exceeded(budget, of=key("ak_" + "z" * 32))
    clock.now_s += WINDOW_S
    assert not exceeded(budget)


def test_a_key_has_one_budget_for_all_addresses() -> None:
    """Many addresses with one public token end too, some time later."""
    budget = RefusalBudget(LIMIT, Clock())
    for number in range(ADDRESSES * LIMIT):
        assert not exceeded(budget, network="fresh")
        budget.add(ONE, "event", str(number), 0)
    assert exceeded(budget, network="fresh")


def test_what_was_inflated_in_vain_counts() -> None:
    """A body of six megabytes is more than one refusal."""
    budget = RefusalBudget(LIMIT, Clock())
    budget.add(ONE, "event", "a", (LIMIT - 1) * BYTES_PER_REFUSAL)
    assert exceeded(budget)


def test_senders_without_a_key_are_counted_by_address() -> None:
    """Tunnels of an address that had too many wrong keys are refused unread; known keys of that address go in."""
    client = Client(refused_per_minute=LIMIT)
    tunnel = b'{"dsn":"https://%s@host/42"}\n' % (b"ak_" + b"x" * 32)
    assert {client.post("/api/42/envelope/", tunnel).status for _ in range(LIMIT)} == {401}
    assert client.post("/api/42/envelope/", tunnel).status == 429
    assert client.post("/api/42/envelope/", b"{}\n", x_sentry_auth=auth()).status == 200
    assert client.post("/event", EVENT, **NATIVE).status in (200, 201)


def test_a_wrong_key_stays_a_wrong_key() -> None:
    """401 is final for exporters, 429 is not: nobody is asked to come back with a key that is none."""
    client = Client(refused_per_minute=1)
    wrong = otlp(secret="ak_" + "x" * 32)
    assert {client.post("/v1/logs", b"{}", **wrong).status for _ in range(5)} == {401}


def test_memory_of_it_is_bounded() -> None:
    """A crowd of addresses pushes out the oldest."""
    budget = RefusalBudget(LIMIT, Clock())
    for network in ("first", "second"):
        for _ in range(LIMIT):
            budget.add(None, "", network, 0)
    for number in range(MAX_SENDERS - 2):
        budget.add(None, "", str(number), 0)
    assert budget.is_exceeded("first")
    budget.add(None, "", "one more", 0)
    assert not budget.is_exceeded("first")
    assert budget.is_exceeded("second")


def test_memory_of_it_comes_back() -> None:
    """After their minute nothing is kept of a crowd."""
    clock = Clock()
    budget = RefusalBudget(LIMIT, clock)
    tracemalloc.start()
    try:
        for number in range(MAX_SENDERS // 2):
            budget.add(None, "", str(number), 0)
        crowd_bytes, _ = tracemalloc.get_traced_memory()
        clock.now_s += WINDOW_S
        budget.add(None, "", "late", 0)
        late_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert late_bytes < crowd_bytes / 2


def test_it_can_be_turned_off() -> None:
    """0 a minute is no limit."""
    client = Client(refused_per_minute=0)
    assert {client.post("/event", BAD, **NATIVE).status for _ in range(20)} == {400}


def test_the_answer_of_an_event_is_what_it_was() -> None:
    """Where the channel is refused after the body was read: 404 and 403 as before, and the quota is given back."""
    client = Client()
    client.registry.keys[ONE.sha256] = ONE.model_copy(update={"quota_per_minute": 1})
    wrong = orjson.dumps({"identifier": "a", "channel_id": 4711, "payload": {}})
    assert [client.post("/event", wrong, **NATIVE).status for _ in range(3)] == [404] * 3
    assert client.post("/event", EVENT, **NATIVE).status in (200, 201)
