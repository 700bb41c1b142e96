"""Quotas: what a minute is, what several receivers add up to, and what a refusal says and leaves behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st

from receiver.admission.quotas import REASON_KEY, REASON_ORGANISATION, STALE_S, QuotaExceeded, Quotas
from receiver.admission.refusals import MAX_COUNTS, RefusalCounter
from receiver.app import App
from receiver.delivery.publish import BodyTooLarge, StoredBody, Unavailable
from receiver.endpoints import rate_limits
from receiver.endpoints.rate_limits import RateLimit
from receiver.settings import ReceiverSettings
from receiver.steps import RequestSteps
from schemas import headers, refusals
from schemas.otlp import http_bodies as otlp
from schemas.outcomes import OUTCOME_COLUMNS
from schemas.refusals import Refusal
from schemas.registry import Key, Organisation, key_hash
from tests.unit.receiver.test_app import LOGS, SECRET, Client
from tests.unit.worker_fakes import origin
from workers.normalise import outcome
from workers.normalise.verdict import Invalid

ENVELOPE_PATH = "/api/42/envelope/"
MINUTE_NS = 60_000_000_000


class Clock:
    """Seconds that only pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


_KEYS: dict[tuple[object, ...], Key] = {}


def key(
    quota: int | None, name: str = "a", organisation: str = "acme", *, size: int | None = None, rows: int | None = None
) -> Key:
    """The same object for the same words, as the registry holds one until it changes."""
    said = (quota, name, organisation, size, rows)
    if said not in _KEYS:
        _KEYS[said] = Key(
            sha256=key_hash(name),
            organisation=organisation,
            environment="production",
            kind="secret",
            quota_per_minute=quota,
            quota_bytes_per_minute=size,
            quota_rows_per_minute=rows,
        )
    return _KEYS[said]


def organisation(slug: str, quota: int | None, **others: int) -> Callable[[str], Organisation | None]:
    """What the registry says about organisations: one of them is limited."""
    return {slug: Organisation(slug=slug, quota_per_minute=quota, **others)}.get


def refused(one: Key, channel: int = 42) -> tuple[Key, str, int]:
    """Whose request was refused: the first arguments of RefusalCounter.add."""
    return one, one.environment, channel


def taken(quotas: Quotas, one: Key, tries: int) -> int:
    """How many of `tries` requests went in."""
    found = 0
    for _ in range(tries):
        try:
            quotas.take(one)
            found += 1
        except QuotaExceeded:
            continue
    return found


def exchange(*receivers: Quotas, everything: bool = False) -> None:
    """Everybody hears everybody, as over the broker."""
    for speaker in receivers:
        used = speaker.report(everything=everything)
        for listener in receivers:
            if listener is not speaker:
                listener.hear(str(id(speaker)), used)


def test_a_quota_is_a_number_of_requests_in_any_minute() -> None:
    """No second burst at the turn of a minute, and the whole of it again a minute later."""
    clock = Clock()
    quotas = Quotas(clock=clock)
    assert taken(quotas, key(10), 7) == 7
    clock.now_s += 30
    assert taken(quotas, key(10), 7) == 3
    clock.now_s += 30
    assert taken(quotas, key(10), 20) == 7
    clock.now_s += 60
    assert taken(quotas, key(10), 20) == 10


def test_a_key_without_a_quota_costs_nothing() -> None:
    """It is neither counted nor reported."""
    quotas = Quotas()
    assert quotas.take(key(None)) is None
    assert quotas.report(everything=True) == {}


def test_a_quota_of_zero_lets_nothing_in() -> None:
    """Zero is a limit, not the lack of one."""
    assert taken(Quotas(), key(0), 3) == 0


def test_an_organisations_quota_covers_all_its_keys_and_no_others() -> None:
    """Its own keys share it; the refusal says whose quota it was."""
    quotas = Quotas(organisation("acme", 5), Clock())
    assert taken(quotas, key(None, "a"), 3) + taken(quotas, key(None, "b"), 9) == 5
    assert taken(quotas, key(None, "c", "other"), 9) == 9
    with pytest.raises(QuotaExceeded) as refused:
        quotas.take(key(100, "a"))
    assert refused.value.reason == REASON_ORGANISATION


def test_a_request_refused_for_one_quota_does_not_use_up_the_other() -> None:
    """The organisation's share stays for its other keys."""
    quotas = Quotas(organisation("acme", 10), Clock())
    assert taken(quotas, key(2, "a"), 50) == 2
    assert taken(quotas, key(None, "b"), 50) == 8


def test_receivers_that_hear_each_other_enforce_one_quota() -> None:
    """Whoever took them: the sum counts, and a change of the limit counts at once."""
    clock = Clock()
    left, right = Quotas(clock=clock), Quotas(clock=clock)
    assert taken(left, key(10), 6) == 6
    exchange(left, right)
    assert taken(right, key(10), 50) == 4
    exchange(left, right)
    assert taken(left, key(10), 50) == 0
    assert taken(left, key(12), 50) == 2


def test_reports_are_absolute() -> None:
    """One that came twice, or one that was lost and repeated, changes nothing."""
    clock = Clock()
    left, right = Quotas(clock=clock), Quotas(clock=clock)
    taken(left, key(10), 6)
    left.report(everything=False)  # lost
    assert left.report(everything=False) == {}, "nothing has changed"
    exchange(left, right, everything=True)
    exchange(left, right, everything=True)
    assert taken(right, key(10), 50) == 4


def test_a_receiver_that_is_gone_counts_for_one_minute_more() -> None:
    """What it let in counts until it is old; then the others have the whole quota."""
    clock = Clock()
    left, right = Quotas(clock=clock), Quotas(clock=clock)
    taken(left, key(10), 6)
    exchange(left, right)
    clock.now_s += 30
    assert taken(right, key(10), 50) == 4
    clock.now_s += 61
    right.forget_ended_reporters()
    assert taken(right, key(10), 50) == 10


def test_what_was_taken_a_minute_ago_is_reported_as_gone() -> None:
    """Others hear the decrease too, so that nobody waits for a minute after the minute."""
    clock = Clock()
    left, right = Quotas(clock=clock), Quotas(clock=clock)
    taken(left, key(10), 10)
    exchange(left, right)
    assert taken(right, key(10), 1) == 0
    clock.now_s += 60
    exchange(left, right)
    assert taken(right, key(10), 50) == 10
    assert left.report(everything=True) == {}, "nothing is kept of what is over"


def test_others_that_cannot_be_heard_do_not_close_the_receiver() -> None:
    """Stale means open: each receiver then counts for itself, and the metric's hook is told."""
    clock = Clock()
    quotas = Quotas(clock=clock)
    checks: list[None] = []
    quotas.admitted_while_stale = lambda: checks.append(None)
    quotas.hear("other", {f"key.{key(10).id}": 10})
    assert taken(quotas, key(10), 1) == 0
    quotas.report_sent()
    clock.now_s += STALE_S + 0.1
    assert quotas.stale
    assert taken(quotas, key(10), 50) == 10
    assert checks
    quotas.report_returned()
    assert not quotas.stale
    assert taken(quotas, key(10), 1) == 0


def test_a_fast_quota_is_reported_at_once() -> None:
    """The first request of a small quota already hurries; a single one of a large quota does not."""
    hurried: list[str] = []
    quotas = Quotas(clock=Clock())
    quotas.hurry = lambda: hurried.append("now")
    quotas.take(key(10))
    assert hurried == ["now"]
    quotas.take(key(1000, "b"))
    assert hurried == ["now"]


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 20), st.booleans()), max_size=120), st.integers(0, 20))
def test_no_minute_ever_holds_more_than_the_quota(steps: list[tuple[int, float, bool]], limit: int) -> None:
    """Whatever the pace and whatever is given back: any 59 seconds hold at most the quota."""
    clock = Clock()
    quotas = Quotas(clock=clock)
    times: list[float] = []
    for tries, pause_s, back in steps:
        for _ in range(tries):
            try:
                charge = quotas.take(key(limit))
            except QuotaExceeded:
                continue
            assert charge is not None
            if back:
                charge.end(is_our_fault=False)
            else:
                times.append(clock.now_s)
        clock.now_s += pause_s
    for start in times:
        assert sum(start <= one < start + 59 for one in times) <= limit


# --- the answer


def client_of(quota: int, quotas: Quotas | None = None) -> Client:
    """A receiver without sockets whose key has the given quota."""
    client = Client()
    sha256 = key_hash(SECRET)
    client.registry.keys[sha256] = client.registry.keys[sha256].model_copy(update={"quota_per_minute": quota})
    settings = ReceiverSettings(counts_wait_otlp_ms=0, counts_wait_sentry_ms=0)
    client.steps = RequestSteps(settings, client.registry, client.publisher, client.inbox, quotas=quotas or Quotas())
    client.app = App(client.steps)
    return client


def auth() -> dict[str, str]:
    return {"X-Sentry-Auth": f"Sentry sentry_key={SECRET}"}


def test_a_sentry_sdk_hears_when_to_come_back_and_what_is_meant() -> None:
    """429, Retry-After, every data category by name in X-Sentry-Rate-Limits, and JSON with the reason."""
    client = client_of(1)
    body = b'{"event_id":"%s"}\n{"type":"event"}\n{}\n'
    assert client.post(ENVELOPE_PATH, body % (b"a" * 32), **auth()).status == 200
    refused = client.post(ENVELOPE_PATH, body % (b"b" * 32), **auth())
    assert refused.status == 429
    assert refused.headers["retry-after"] == "60"
    limits = refused.headers["x-sentry-rate-limits"].split(", ")
    assert {f"60:{name}:organization" for name in ("error", "transaction", "default", "log_item")} <= set(limits)
    assert len(limits) == len(rate_limits.ALL_CATEGORIES)
    assert "1 requests a minute" in refused.json["detail"]
    assert refused.headers["x-sentry-error"].startswith("quota:")
    assert "x-sentry-rate-limits" in refused.headers["access-control-expose-headers"]
    assert SECRET not in refused.body.decode()


def test_an_organisations_quota_says_organization() -> None:
    """The scope is the organisation's, as Sentry spells it."""
    client = client_of(100, Quotas(organisation("default", 0)))
    refused = client.post(ENVELOPE_PATH, b"x", **auth())
    assert refused.status == 429
    assert {"60:error:organization", "60:transaction:organization"} <= set(
        refused.headers["x-sentry-rate-limits"].split(", ")
    )


@pytest.mark.parametrize("media_type", ["application/json", "application/x-protobuf"])
def test_an_exporter_gets_a_status_with_retry_info(media_type: str) -> None:
    """429 as google.rpc.Status in the request's own encoding, with Retry-After and a RetryInfo detail."""
    client = client_of(0)
    told = {"X-API-Key": SECRET, "X-Axonpush-Channel": "42", "Content-Type": media_type}
    refused = client.post("/v1/logs", LOGS, **told)
    assert (refused.status, refused.headers["retry-after"]) == (429, "60")
    assert refused.headers["content-type"] == media_type
    assert "x-sentry-rate-limits" not in refused.headers
    if media_type == "application/json":
        (detail,) = refused.json["details"]
        assert refused.json["code"] == 8
        assert detail == {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "60s"}
    else:
        status = Status.FromString(refused.body)
        info = RetryInfo()
        assert status.code == 8
        assert status.details[0].Unpack(info)
        assert info.retry_delay.seconds == 60


def test_a_status_without_a_delay_has_no_details() -> None:
    """Other errors stay as they were."""
    assert json.loads(otlp.status("json", 3, "x")) == {"code": 3, "message": "x"}
    assert not Status.FromString(otlp.status("protobuf", 3, "x")).details


def test_a_refused_request_is_refused_before_its_body_is_read() -> None:
    """A body that nobody asked for does not have to come."""
    client = client_of(0)
    encoded = [(name.lower().encode(), value.encode()) for name, value in auth().items()]
    assert client.run("POST", ENVELOPE_PATH, encoded, []).status == 429


def test_only_what_was_stored_counts() -> None:
    """A body refused for its own sake, or one the broker did not take, leaves the quota as it was."""
    client = client_of(1)
    for error, status in ((Unavailable("timeout"), 503), (BodyTooLarge("max_payload"), 413)):
        client.publisher.error = error
        for _ in range(3):
            assert client.post(ENVELOPE_PATH, b"{}\n", **auth()).status == status
    client.publisher.error = None
    assert client.post(ENVELOPE_PATH, b"", **auth()).status == 400
    assert client.post(ENVELOPE_PATH, b"{}\n", **auth()).status == 200
    assert client.post(ENVELOPE_PATH, b"{}\n\n", **auth()).status == 429


# --- the outcome


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


class Broker:
    """A publisher that keeps what it is given, unless it is away."""

    connected = True

    def __init__(self) -> None:
        self.away = False
        self.found: list[tuple[str, bytes, dict[str, str]]] = []

    async def publish(self, subject: str, body: bytes, fields: dict[str, str]) -> StoredBody:
        self.found.append((subject, body, dict(fields)))
        if self.away:
            raise Unavailable("timeout")
        return StoredBody(len(self.found), False)


def rows_of(broker: Broker) -> dict[Any, Any]:
    """Stored outcome rows by their id, as the worker makes them."""
    found = {}
    for seq, (_, body, fields) in enumerate(broker.found, 1):
        for row in outcome.normalise(headers.read(fields, seq), body).rows:
            found[row[7]] = dict(zip(OUTCOME_COLUMNS, row, strict=True))
    return found


@pytest.mark.asyncio
async def test_many_refusals_are_one_message() -> None:
    """One for each key, channel and minute, with the counts of each kind in it."""
    now_ns = [7 * MINUTE_NS + 5]
    counted, broker = RefusalCounter(lambda: now_ns[0]), Broker()
    for _ in range(1000):
        counted.add(*refused(key(1)), "sentry.envelope", REASON_KEY)
    counted.add(*refused(key(1)), "otlp.logs", REASON_ORGANISATION)
    await counted.flush(broker)
    ((subject, body, fields),) = broker.found
    assert subject == "raw.outcome.42"
    assert (fields["Organisation"], fields["Key-Id"]) == ("acme", key(1).id)
    assert {(one.item_type, one.reason, one.quantity) for one in refusals.decode(body)} == {
        ("sentry_envelope", REASON_KEY, 1000),
        ("otlp_logs", REASON_ORGANISATION, 1),
    }
    now_ns[0] += MINUTE_NS
    counted.add(*refused(key(1)), "sentry.envelope", REASON_KEY)
    await counted.flush(broker)
    assert [row["minute"] for row in rows_of(broker).values()] == [420, 420, 480]
    assert {row["outcome"] for row in rows_of(broker).values()} == {"rate_limited"}


@pytest.mark.asyncio
async def test_a_message_that_is_tried_again_is_the_same_outcome() -> None:
    """The broker may have stored it before, and may have forgotten its message id since: the rows are the same."""
    counted, broker = RefusalCounter(lambda: MINUTE_NS), Broker()
    counted.add(*refused(key(1)), "sentry.envelope", REASON_KEY)
    broker.away = True
    for _ in range(3):
        with pytest.raises(Unavailable):
            await counted.flush(broker)
    counted.add(*refused(key(1)), "sentry.envelope", REASON_KEY)
    broker.away = False
    await counted.flush(broker)
    await counted.flush(broker)
    assert len(broker.found) == 5
    assert sum(row["quantity"] for row in rows_of(broker).values()) == 2


@pytest.mark.asyncio
async def test_two_receivers_refusals_add_up() -> None:
    """The same key, channel and minute, counted by two processes: two outcomes, none replaces the other."""
    broker = Broker()
    for _ in range(2):
        counted = RefusalCounter(lambda: MINUTE_NS)
        counted.add(*refused(key(1)), "sentry.envelope", REASON_KEY)
        await counted.flush(broker)
    assert sum(row["quantity"] for row in rows_of(broker).values()) == 2


@pytest.mark.asyncio
async def test_refusals_are_bounded_while_the_broker_is_away() -> None:
    """Beyond the bound they are not kept, and what is kept still goes out."""
    counted, broker = RefusalCounter(lambda: MINUTE_NS), Broker()
    one = key(1)
    for channel in range(1, MAX_COUNTS + 11):
        counted.add(*refused(one, channel), "sentry.envelope", REASON_KEY)
    await counted.flush(broker)
    assert len(broker.found) == MAX_COUNTS


@pytest.mark.asyncio
async def test_a_closing_receiver_stores_its_last_refusals() -> None:
    """Once, at the end; a broker that is away then makes it a loss that is said, not a hang."""
    counted, broker = RefusalCounter(lambda: MINUTE_NS), Broker()
    counted.add(*refused(key(1)), "sentry.envelope", REASON_KEY)
    await counted.close(broker)
    assert len(broker.found) == 1
    counted.add(*refused(key(1)), "sentry.envelope", REASON_KEY)
    broker.away = True
    await counted.close(broker)


@given(st.binary() | st.recursive(st.none() | st.integers() | st.text() | st.booleans(), st.lists).map(as_json))
def test_a_foreign_body_is_invalid_and_nothing_else(body: bytes) -> None:
    """Whatever lies on the subject: rows, or Invalid."""
    try:
        verdict = outcome.normalise(origin(), body)
    except Invalid:
        return
    assert all(row[8] > 0 for row in verdict.rows)


@given(st.lists(st.builds(Refusal, st.text(), st.text(), st.integers(1, 2**63 - 1))))
def test_refusals_come_back_as_they_went(found: list[Refusal]) -> None:
    """encode and decode are each other's reverse."""
    assert refusals.decode(refusals.encode(found)) == found


# --- the header


def test_the_headers_grammar() -> None:
    """seconds:categories:scope[:reason], categories joined by semicolons, limits by commas."""
    limits = [
        RateLimit(60, ("error",)),
        RateLimit(86400, ("profile", "replay"), "organization", "unsupported"),
        RateLimit(1, (), "key"),
    ]
    expected = "60:error:organization, 86400:profile;replay:organization:unsupported, 1::key"
    assert rate_limits.header_value(limits) == expected
    assert rate_limits.header_value([]) == ""


def test_a_real_sdk_reads_the_header() -> None:
    """sentry-sdk's own parser finds every category of the 429, and for how long."""
    from sentry_sdk.transport import _parse_rate_limits

    value = rate_limits.header_value(rate_limits.for_each(rate_limits.ALL_CATEGORIES, 60))
    assert {category for category, _ in _parse_rate_limits(value)} == set(rate_limits.ALL_CATEGORIES)
