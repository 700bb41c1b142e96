"""Quotas of inflated bytes and of rows: when they are asked, what counts, what a refusal says, who tells whom."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import weakref
import zlib
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import OutboundBufferLimitError

from receiver.admission.quota_exchange import QuotaExchange
from receiver.admission.quotas import MAX_PLANS, Charge, QuotaExceeded, Quotas
from receiver.admission.refusals import RefusalCounter
from receiver.app import App
from receiver.delivery.publish import Unavailable
from receiver.settings import ReceiverSettings
from receiver.steps import RequestSteps
from schemas import headers, subjects, usage
from schemas.outcomes import CLIENT_PREFIX, DROPPED, REJECTED, Outcome, OutcomeRow, outcome_row
from schemas.registry import Organisation, key_hash
from schemas.usage import MAX_NAMES, WINDOW_S, Unit, Window, Windows, counter_name, split_name
from tests.unit import worker_fakes
from tests.unit.receiver.admission.test_quotas import Clock, exchange, key, organisation
from tests.unit.receiver.test_app import SECRET, Client
from tests.unit.worker_fakes import Bench, FakeClock, settled
from tests.unit.workers.consume.test_pipeline import pipeline
from workers.consume.message import Entry
from workers.consume.row_counts import RowCounts, rows_of

ENVELOPE_PATH = "/api/42/envelope/"
STORE_PATH = "/api/42/store/"


def charged(quotas: Quotas, one: Any) -> Charge:
    found = quotas.take(one)
    assert found is not None
    return found


# --- windows and reports


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 1000), st.booleans()), max_size=80),
    st.integers(0, 200),
)
def test_a_window_is_the_sum_of_its_last_minute(steps: list[tuple[int, int, bool]], later: int) -> None:
    """Whatever comes, is taken back and expires: the total is what was added within the last WINDOW_S seconds."""
    window, second, added = Window(), 1000, []
    for pause, amount, is_taken_back in steps:
        second += pause
        window.expire(second)
        window.add(second, amount)
        if is_taken_back:
            window.take_back(second, amount)
        else:
            added.append((second, amount))
    second += later
    window.expire(second)
    assert window.total == sum(amount for at, amount in added if at > second - WINDOW_S)


def test_what_is_over_cannot_be_taken_back() -> None:
    """A request that took longer than the window gives nothing back that is not there."""
    window = Window()
    window.add(1000, 5)
    window.expire(1000 + WINDOW_S)
    window.take_back(1000, 5)
    assert window.total == 0


def test_reports_are_what_changed_or_everything() -> None:
    """A total that went back to nothing is said once, and then forgotten."""
    windows = Windows()
    windows.of("a").add(1000, 5)
    windows.of("b").add(1000, 7)
    assert windows.report(1000, everything=False) == {"a": 5, "b": 7}
    windows.of("a").add(1001, 1)
    assert windows.report(1001, everything=False) == {"a": 6}
    assert windows.report(1001, everything=True) == {"a": 6, "b": 7}
    assert windows.report(1000 + WINDOW_S + 1, everything=False) == {"a": 0, "b": 0}
    assert windows.by_name == {}
    assert windows.report(1100, everything=True) == {}


def test_names_of_counts_are_told_apart() -> None:
    """Requests keep the name they always had: receivers of two versions understand each other."""
    assert counter_name("key.x", Unit.REQUESTS) == "key.x"
    for unit in Unit:
        assert split_name(counter_name("organisation.a.b-c_d", unit)) == ("organisation.a.b-c_d", unit)
    assert split_name("key.x:minutes") is None


@given(st.dictionaries(st.text(), st.integers(0, 2**63 - 1)))
def test_a_report_comes_back_as_it_went(used: dict[str, int]) -> None:
    """encode and decode are each other's reverse."""
    for body in usage.reports("me", used):
        assert usage.decode(body) == ("me", used)


def test_a_report_of_many_names_is_several_messages() -> None:
    """None of them is larger than a broker takes."""
    used = {f"key.{number:016x}:bytes": 2**62 for number in range(2 * MAX_NAMES + 1)}
    bodies = usage.reports("me", used)
    assert len(bodies) == 3
    assert max(map(len, bodies)) < 1_000_000
    assert {name: total for body in bodies for name, total in usage.decode(body)[1].items()} == used


@given(
    st.binary() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_what_is_no_report_is_a_value_error(data: bytes) -> None:
    """Anything may lie on the subject."""
    with pytest.raises(ValueError, match=r".*"):
        usage.decode(data)


# --- bytes


def test_bytes_are_asked_before_the_body_and_counted_after_it() -> None:
    """The body that crosses the line goes in; the next one does not, until a minute is over."""
    clock = Clock()
    quotas, one = Quotas(clock=clock), key(None, size=1000)
    charged(quotas, one).count_bytes(999)
    charged(quotas, one).count_bytes(5_000)
    with pytest.raises(QuotaExceeded) as refused:
        quotas.take(one)
    assert refused.value.reason == "quota:key:bytes"
    clock.now_s += WINDOW_S
    charged(quotas, one)


def test_a_growing_body_counts_once() -> None:
    """What has come is told several times, as it grows."""
    quotas, one = Quotas(clock=Clock()), key(None, size=1000)
    charge = charged(quotas, one)
    for size_bytes in (100, 100, 400, 300):
        charge.count_bytes(size_bytes)
    assert quotas.report(everything=True) == {f"key.{one.id}:bytes": 400}


def test_bytes_count_when_they_come_and_not_when_the_request_began() -> None:
    """A slow body is within the minute for as long as one that came at once, and is given back whole."""
    clock = Clock()
    quotas, one = Quotas(clock=clock), key(None, size=1000)
    name = f"key.{one.id}:bytes"
    slow = charged(quotas, one)
    clock.now_s += 20
    charged(quotas, one).count_bytes(100)
    clock.now_s += 5
    slow.count_bytes(40)
    clock.now_s += 5
    slow.count_bytes(50)
    assert quotas.report(everything=True) == {name: 150}
    clock.now_s += WINDOW_S - 10
    assert quotas.report(everything=True) == {name: 50}
    clock.now_s += 5
    assert quotas.report(everything=True) == {name: 10}
    slow = charged(quotas, one)
    slow.count_bytes(7)
    clock.now_s += 1
    slow.count_bytes(20)
    slow.end(is_our_fault=True)
    assert quotas.report(everything=True) == {name: 10}


@pytest.mark.parametrize(("is_our_fault", "left"), [(False, 400), (True, 0)])
def test_bytes_of_a_refused_body_stay_unless_it_was_our_fault(is_our_fault: bool, left: int) -> None:
    """It was read and inflated; only where we could not store it, its sender will send it again."""
    quotas, one = Quotas(clock=Clock()), key(10, size=1000)
    charge = charged(quotas, one)
    charge.count_bytes(400)
    charge.end(is_our_fault=is_our_fault)
    used = quotas.report(everything=True)
    assert used.get(f"key.{one.id}", 0) == 0, "nothing was stored"
    assert used.get(f"key.{one.id}:bytes", 0) == left


def test_a_stored_body_keeps_what_it_cost() -> None:
    """The answer changes nothing any more."""
    quotas, one = Quotas(clock=Clock()), key(10, size=1000)
    charge = charged(quotas, one)
    charge.count_bytes(400)
    charge.is_stored = True
    charge.end(is_our_fault=True)
    assert quotas.report(everything=True) == {f"key.{one.id}": 1, f"key.{one.id}:bytes": 400}


def test_receivers_add_up_their_bytes() -> None:
    """As they do with requests."""
    clock = Clock()
    left, right = Quotas(clock=clock), Quotas(clock=clock)
    one = key(None, size=1000)
    charged(left, one).count_bytes(600)
    exchange(left, right)
    charged(right, one).count_bytes(400)
    exchange(left, right)
    for quotas in (left, right):
        with pytest.raises(QuotaExceeded):
            quotas.take(one)


def test_a_large_body_of_a_small_quota_is_told_at_once() -> None:
    """Others must not wait half a second for it."""
    hurried: list[str] = []
    quotas = Quotas(clock=Clock())
    quotas.hurry = lambda: hurried.append("now")
    charge = charged(quotas, key(None, size=1_000_000))
    charge.count_bytes(10)
    assert hurried == []
    charge.count_bytes(100_000)
    assert hurried == ["now"]


# --- rows


def test_rows_count_as_workers_say() -> None:
    """Each worker's last word; a receiver counts none itself."""
    clock = Clock()
    quotas, one = Quotas(clock=clock), key(None, rows=100)
    charged(quotas, one)
    name = counter_name(f"key.{one.id}", Unit.ROWS)
    quotas.hear("worker a", {name: 60})
    charged(quotas, one)
    quotas.hear("worker b", {name: 40})
    with pytest.raises(QuotaExceeded) as refused:
        quotas.take(one)
    assert refused.value.reason == "quota:key:rows"
    quotas.hear("worker b", {name: 0})
    charged(quotas, one)


def test_only_a_quota_of_rows_has_the_workers_count() -> None:
    """Of the key, or of its organisation."""
    assert not charged(Quotas(), key(5, size=5)).counts_rows
    assert charged(Quotas(), key(None, rows=5)).counts_rows
    assert charged(Quotas(organisation("acme", None, quota_rows_per_minute=5)), key(None)).counts_rows


def test_an_organisation_is_limited_in_all_three() -> None:
    """Its refusals say so, and what it is that was used up."""
    limited = organisation("acme", None, quota_bytes_per_minute=10, quota_rows_per_minute=10)
    quotas = Quotas(limited, Clock())
    charged(quotas, key(None, "a")).count_bytes(10)
    with pytest.raises(QuotaExceeded) as refused:
        quotas.take(key(None, "b"))
    assert refused.value.reason == "quota:organisation:bytes"
    quotas = Quotas(limited, Clock())
    quotas.hear("worker", {"organisation.acme:rows": 10})
    with pytest.raises(QuotaExceeded) as refused:
        quotas.take(key(None, "b"))
    assert refused.value.reason == "quota:organisation:rows"


def test_an_entry_that_changes_holds_at_once() -> None:
    """The registry hands out another object then; what was worked out for the old one is not used."""
    found: dict[str, Organisation] = {}
    quotas = Quotas(found.get, Clock())
    assert quotas.take(key(None, "z")) is None
    with pytest.raises(QuotaExceeded):
        quotas.take(key(0, "z"))
    found["acme"] = Organisation(slug="acme", quota_rows_per_minute=0)
    with pytest.raises(QuotaExceeded) as refused:
        quotas.take(key(None, "z"))
    assert refused.value.reason == "quota:organisation:rows"
    del found["acme"]
    assert quotas.take(key(None, "z")) is None


def test_what_is_remembered_of_keys_is_bounded() -> None:
    """However many there are."""
    quotas, one = Quotas(), key(None)
    first = one.model_copy(update={"sha256": "f" * 64})
    gone = weakref.ref(first)
    quotas.take(first)
    del first
    for number in range(MAX_PLANS - 1):
        quotas.take(one.model_copy(update={"sha256": f"{number:064x}"}))
    gc.collect()
    assert gone() is not None
    quotas.take(one)
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    ("one", "heard", "words"),
    [
        (key(3, "m"), {}, ("3 requests a minute", "keys limit", "--quota N/min")),
        (key(None, "m", size=7), {}, ("7 bytes of inflated bodies a minute", "keys limit", "--quota-bytes N/min")),
        (key(None, "m", rows=9), {"rows": 9}, ("9 rows a minute", "keys limit", "--quota-rows N/min")),
    ],
)
def test_a_refusal_says_what_is_used_up_and_how_to_raise_it(
    one: Any, heard: dict[str, int], words: tuple[str, ...]
) -> None:
    """The limit, whose it is, and the command with the key's id."""
    quotas = Quotas(clock=Clock())
    for unit, total in heard.items():
        quotas.hear("worker", {f"key.{one.id}:{unit}": total})
    if not heard:
        for _ in range(one.quota_per_minute or 1):
            charged(quotas, one).count_bytes(7)
    with pytest.raises(QuotaExceeded) as refused:
        quotas.take(one)
    for word in (*words, one.id, "come back after 60 s"):
        assert word in refused.value.detail
    assert refused.value.retry_after_s == 60


# --- the receiver


def client_of(**quota: int) -> Client:
    """A receiver without sockets whose key has these quotas."""
    client = Client()
    sha256 = key_hash(SECRET)
    client.registry.keys[sha256] = client.registry.keys[sha256].model_copy(update=quota)
    settings = ReceiverSettings(counts_wait_otlp_ms=0, counts_wait_sentry_ms=0)
    client.steps = RequestSteps(
        settings,
        client.registry,
        client.publisher,
        client.inbox,
        quotas=Quotas(clock=Clock()),
        refusals=RefusalCounter(lambda: 0),
    )
    client.app = App(client.steps)
    return client


def used(client: Client, unit: Unit) -> int:
    """What the receiver would tell the others now."""
    name = counter_name(f"key.{key_hash(SECRET)[:16]}", unit)
    return client.steps.quotas.report(everything=True).get(name, 0)


def auth(**others: str) -> dict[str, str]:
    return {"X-Sentry-Auth": f"Sentry sentry_key={SECRET}", **others}


LARGE = b'{"event_id":"%s"}\n{"type":"event"}\n{"a":"%s"}\n' % (b"a" * 32, b"x" * 300_000)


def test_inflated_bytes_count_and_not_those_on_the_wire() -> None:
    """One kilobyte that becomes 300 counts as 300."""
    client = client_of(quota_bytes_per_minute=10**9)
    assert client.post(ENVELOPE_PATH, gzip.compress(LARGE), **auth(**{"Content-Encoding": "gzip"})).status == 200
    assert used(client, Unit.BYTES) == len(LARGE)


def test_a_body_in_many_chunks_counts_as_much() -> None:
    """It is read by another way than a small one."""
    client = client_of(quota_bytes_per_minute=10**9)
    packed = gzip.compress(LARGE)
    parts = [packed[start : start + 100] for start in range(0, len(packed), 100)]
    chunks = [{"type": "http.request", "body": part, "more_body": part is not parts[-1]} for part in parts]
    told = [(name.lower().encode(), value.encode()) for name, value in auth(**{"Content-Encoding": "gzip"}).items()]
    assert client.run("POST", ENVELOPE_PATH, told, chunks).status == 200
    assert used(client, Unit.BYTES) == len(LARGE)


@pytest.mark.parametrize(
    ("path", "body", "encoding", "status", "least"),
    [
        (ENVELOPE_PATH, b"", "", 400, 0),
        (ENVELOPE_PATH, gzip.compress(LARGE)[:-100], "gzip", 400, 500),
        (ENVELOPE_PATH, gzip.compress(bytes(7_000_000)), "gzip", 413, 6_000_000),
        (ENVELOPE_PATH, b"no gzip at all" * 100, "gzip", 400, 1_400),
        (STORE_PATH, b64encode(zlib.compress(b'{"message":"%s"}' % (b"x" * 1_000_000))), "", 200, 1_000_000),
        (STORE_PATH, b64encode(zlib.compress(b"{" + bytes(7_000_000))), "", 200, 6_000_000),
    ],
    ids=["empty", "cut off", "bomb", "no gzip", "packed twice", "bomb within"],
)
def test_what_came_counts_whatever_became_of_it(path: str, body: bytes, encoding: str, status: int, least: int) -> None:
    """Refused bodies cost what they cost: who sends nothing else is refused for that."""
    client = client_of(quota_bytes_per_minute=10**9, quota_per_minute=10)
    told = auth(**({"Content-Encoding": encoding} if encoding else {}))
    assert client.post(path, body, **told).status == status
    assert used(client, Unit.BYTES) >= least
    assert used(client, Unit.REQUESTS) == (status == 200)


def test_who_sends_nothing_but_refused_bodies_is_refused_in_the_end() -> None:
    """A quota of bytes also ends a stream of 400s and 413s, which a quota of requests never sees."""
    client = client_of(quota_bytes_per_minute=20_000_000)
    bomb = gzip.compress(bytes(7_000_000))
    told = auth(**{"Content-Encoding": "gzip"})
    statuses = [client.post(ENVELOPE_PATH, bomb, **told).status for _ in range(6)]
    assert statuses == [413, 413, 413, 413, 429, 429]


def test_a_broker_that_is_away_does_not_use_up_the_bytes() -> None:
    """The sender will send the same once more."""
    client = client_of(quota_bytes_per_minute=10**9)
    client.publisher.error = Unavailable("timeout")
    assert client.post(ENVELOPE_PATH, LARGE, **auth()).status == 503
    assert used(client, Unit.BYTES) == 0


def test_a_native_event_is_refused_before_its_body_is_read() -> None:
    """Its channel stands in the body; the key is enough to ask. The outcome names no channel then."""
    client = client_of(quota_bytes_per_minute=0)
    told = [(b"x-api-key", SECRET.encode()), (b"content-type", b"application/json")]
    refused = client.run("POST", "/event", told, [])
    assert refused.status == 429
    asyncio.run(client.steps.refusals.flush(client.publisher))
    ((subject, body, _),) = client.publisher.published
    assert subject == "raw.outcome.0"
    assert json.loads(body) == [["event", "quota:key:bytes", 1]]


def test_a_native_event_counts_once() -> None:
    """Its quotas are asked before the body, and not again when its channel is known."""
    client = client_of(quota_per_minute=10, quota_bytes_per_minute=10**9)
    body = json.dumps({"identifier": "a", "payload": {}, "channel_id": 42}).encode()
    assert client.post("/event", body, **{"X-API-Key": SECRET}).status == 201
    assert (used(client, Unit.REQUESTS), used(client, Unit.BYTES)) == (1, len(body))


def test_a_tunnelled_envelope_counts_its_bytes_too() -> None:
    """Its key is known when the body was read already."""
    client = client_of(quota_bytes_per_minute=10**9)
    body = b'{"dsn":"https://%s@h/42"}\n{"type":"event"}\n{}\n' % SECRET.encode()
    assert client.post(ENVELOPE_PATH, body).status == 200
    assert used(client, Unit.BYTES) == len(body)


@pytest.mark.parametrize(
    ("quota", "said"), [({"quota_rows_per_minute": 9}, "1"), ({"quota_per_minute": 9}, None), ({}, None)]
)
def test_workers_are_told_whose_rows_to_count(quota: dict[str, int], said: str | None) -> None:
    """One header, of senders with a quota of rows; a change of the quota is in the next message."""
    client = client_of(**quota)
    assert client.post(ENVELOPE_PATH, LARGE, **auth()).status == 200
    assert client.publisher.published[-1][2].get(headers.COUNT_ROWS) == said
    sha256 = key_hash(SECRET)
    client.registry.keys[sha256] = client.registry.keys[sha256].model_copy(update={"quota_rows_per_minute": 5})
    assert client.post(ENVELOPE_PATH, LARGE + b"\n", **auth()).status == 200
    assert client.publisher.published[-1][2].get(headers.COUNT_ROWS) == "1"
    assert headers.read(client.publisher.published[-1][2], 1).counts_rows


# --- the workers


def outcome(kind: str, quantity: int) -> OutcomeRow:
    return outcome_row(worker_fakes.origin(), "event", Outcome(kind, "why", "event", quantity))


def test_rows_are_what_a_message_cost() -> None:
    """Rows, refused records, dropped ones; an SDK's own report is a row for each line, whatever it claims."""
    entry = Entry(Bench().message(), rows=[(1,), (2,)], outcomes=[outcome(REJECTED, 30), outcome(DROPPED, 4)])
    assert rows_of(entry) == 36
    entry.outcomes = [outcome(f"{CLIENT_PREFIX}discarded", 10**15)]
    assert rows_of(entry) == 3


@pytest.mark.asyncio
async def test_a_pipeline_counts_rows_by_key_and_organisation() -> None:
    """Rows and refusals of the senders that the receiver named, and nobody else's."""

    async def scene() -> dict[str, int]:
        async with Bench() as bench:
            messages = [
                bench.message("a", b"1", counts_rows=True),
                bench.message("b", b'"bad"', counts_rows=True, key_id="b" * 16),
                bench.message("c", b"null", counts_rows=True),
                bench.message("d", b"1"),
                bench.message("e", b"1", counts_rows=True, deliveries=2),
            ]
            await pipeline(bench).accept(messages)
            return bench.outlets.row_counts.report(everything=True)

    found = await scene()
    assert found == {"key.0123456789abcdef": 2, f"key.{'b' * 16}": 2, "organisation.acme": 4}


@pytest.mark.asyncio
async def test_what_is_replayed_costs_its_sender_nothing() -> None:
    """An operator asked for it."""

    async def scene() -> dict[str, int]:
        async with Bench() as bench:
            message = bench.message("a", b"1", counts_rows=True)
            message.headers = {**message.headers, headers.REPLAY_GENERATION: "1"}
            await pipeline(bench).accept([message])
            return bench.outlets.row_counts.report(everything=True)

    assert await scene() == {}


@pytest.mark.asyncio
async def test_workers_report_changes_and_now_and_then_everything() -> None:
    """Twice a second at most, nothing while nothing happens, and a broker that is away ends nothing."""
    said: list[tuple[str, dict[str, int]]] = []
    clock = FakeClock()
    rows = RowCounts(clock)
    bench = Bench()
    message = bench.message(counts_rows=True)
    origin = headers.read(message.headers, 1)

    async def publish(subject: str, body: bytes) -> None:
        said.append((subject, usage.decode(body)[1]))
        if len(said) == 1:
            raise OutboundBufferLimitError

    running = asyncio.create_task(rows.run(publish))
    await settled()
    assert said == []
    rows.add(origin, Entry(message, origin, rows=[(1,)] * 5))
    await clock.turn(0.5)
    await clock.turn(0.5)
    await clock.turn(0.5)
    assert len(said) == 1, "nothing has changed"
    await clock.turn(0.5)
    rows.add(origin, Entry(message, origin, rows=[(1,)]))
    await clock.turn(0.5)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert [subject for subject, _ in said] == [subjects.QUOTA_ROWS] * 3
    assert [used["organisation.acme"] for _, used in said] == [5, 5, 6]


# --- the exchange


class Heard:
    """A NATS client that only listens."""

    def __init__(self) -> None:
        self.callbacks: dict[str, Any] = {}

    async def subscribe(self, subject: str, cb: Any) -> None:
        self.callbacks[subject] = cb


class Message:
    def __init__(self, data: bytes) -> None:
        self.data = data


@pytest.mark.asyncio
async def test_a_worker_can_say_nothing_about_requests_or_bytes() -> None:
    """Whatever names it uses, they are counts of rows; what is no report is let be."""
    client, quotas = Heard(), Quotas(clock=Clock())
    await QuotaExchange(client, quotas).open()  # type: ignore[arg-type]
    hear = client.callbacks[subjects.QUOTA_ROWS]
    one = key(1, size=1, rows=100)
    await hear(Message(b"nonsense"))
    await hear(Message(usage.encode("worker", {f"key.{one.id}": 99, f"key.{one.id}:bytes": 99})))
    charged(quotas, one).end(is_our_fault=False)
    await hear(Message(usage.encode("worker", {f"key.{one.id}": 100})))
    with pytest.raises(QuotaExceeded) as refused:
        quotas.take(key(1, size=1, rows=100))
    assert refused.value.reason == "quota:key:rows"
