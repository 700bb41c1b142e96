"""Refused requests leave a trace: by key where one is known, else by class of address; in bounded number."""

from __future__ import annotations

import asyncio

import pytest

from receiver import metrics
from receiver.admission.address_class import address_class
from receiver.admission.refusals import MAX_WITHOUT_KEY, OTHER, RefusalCounter
from receiver.delivery.publish import Unconfirmed
from receiver.http.answers import Refused
from receiver.http.request import Request
from schemas import headers, refusals
from schemas.credentials import key_placeholder
from schemas.outcomes import OUTCOME_COLUMNS
from schemas.registry import Key, key_hash
from tests.unit.receiver.admission.test_quotas import Broker, Unavailable
from tests.unit.receiver.test_app import ENVELOPE, REVOKED, SECRET, Client
from workers.normalise import outcome

MINUTE_NS = 60_000_000_000
UNKNOWN = "ak_" + "u" * 32


def owner_of(channel_id: int) -> str:
    return "default" if channel_id in {42, 43} else ""


def rows(broker: Broker) -> list[dict[str, object]]:
    """Outcome rows as the worker makes them of what was published; equal ids are one row."""
    found = {}
    for seq, (_, body, fields) in enumerate(broker.found, 1):
        for row in outcome.normalise(headers.read(fields, seq), body).rows:
            named = dict(zip(OUTCOME_COLUMNS, row, strict=True))
            found[named["source_id"]] = named
    return list(found.values())


def counted(client: Client) -> set[tuple[int, str, str, str, int]]:
    """(channel, key, reason, sender, requests) of every refusal."""
    counter: RefusalCounter = client.steps.refusals
    return {
        (sender.channel_id, sender.key_id, kind.reason, kind.sender, number)
        for sender, kinds in counter._counts.items()
        for kind, number in kinds.items()
    }


def made() -> Client:
    client = Client()
    client.steps.refusals.owner_of = owner_of
    return client


def test_a_revoked_key_is_named() -> None:
    """92 times 401 of a key that was revoked: its id, its channel, and how often."""
    client = made()
    for _ in range(92):
        assert client.post(f"/api/42/envelope/?sentry_key={REVOKED}", ENVELOPE).status == 401
    assert counted(client) == {(42, key_hash(REVOKED)[:16], "401:revoked_key", "", 92)}


def test_a_dsn_of_the_web_api_is_told_why_it_does_not_send() -> None:
    """Its key is a placeholder: the text of a key is stored nowhere."""
    placeholder = key_placeholder(is_public=True, key_id="0123456789abcdef")
    for key, is_told in ((placeholder, True), (f"{placeholder}0", False), (UNKNOWN, False)):
        answer = made().post(f"/api/42/envelope/?sentry_key={key}", ENVELOPE)
        assert answer.status == 401
        assert (b"the Web API" in answer.body) is is_told


@pytest.mark.parametrize(
    ("path", "body", "status", "expected"),
    [
        (f"/api/42/envelope/?sentry_key={UNKNOWN}", ENVELOPE, 401, (42, "", "401:unknown_key")),
        ("/api/42/store/", b"{}", 401, (42, "", "401:no_key")),
        (f"/api/77/envelope/?sentry_key={UNKNOWN}", ENVELOPE, 401, (0, "", "401:unknown_key")),
        (f"/api/77/envelope/?sentry_key={SECRET}", ENVELOPE, 404, (77, "key", "404:no_such_channel")),
        (f"/api/x/envelope/?sentry_key={SECRET}", ENVELOPE, 400, (0, "key", "400:channel")),
        ("/nowhere", b"", 404, (0, "", "404:path")),
        (f"/api/42/envelope/?sentry_key={SECRET}&sentry_key={UNKNOWN}", ENVELOPE, 401, (42, "", "401:key")),
    ],
)
def test_every_refusal_is_counted_once(path: str, body: bytes, status: int, expected: tuple[int, str, str]) -> None:
    """With the channel where it exists or the key is known."""
    client = made()
    assert client.post(path, body).status == status
    channel, key, reason = expected
    (found,) = counted(client)
    assert found[:3] == (channel, key_hash(SECRET)[:16] if key else "", reason)
    assert bool(found[3]) == (not key), "a class of address only where no key is known"
    assert found[4] == 1


_OTLP = {"x_api_key": SECRET, "x_axonpush_channel": "42"}
_DSN = f"?sentry_key={SECRET}"


@pytest.mark.parametrize(
    ("path", "sent", "reason"),
    [
        ("/v1/logs", {**_OTLP, "content_type": "text/xml"}, "415:unknown_type"),
        ("/v1/traces", {**_OTLP, "content_type": ""}, "415:unknown_type"),
        (f"/api/42/integration/otlp/v1/logs{_DSN}", {"content_type": "text/xml"}, "415:unknown_type"),
        (f"/api/42/security/{_DSN}", {"content_type": "text/xml"}, "415:unknown_type"),
        (f"/api/42/events/{'a' * 32}/attachments/{_DSN}", {"content_type": "text/xml"}, "415:unknown_type"),
        ("/event", {"x_api_key": SECRET, "content_type": "text/xml"}, "415:unknown_type"),
        ("/v1/logs", {**_OTLP, "content_type": "application/json", "content_encoding": "rar"}, "415:unknown_coding"),
        (f"/api/42/envelope/{_DSN}", {"content_encoding": "rar"}, "415:unknown_coding"),
        ("/v1/logs", {**_OTLP, "content_type": "application/json", "content_length": "9" * 9}, "413:too_large"),
        (f"/api/42/envelope/{_DSN}", {"content_length": "9" * 9}, "413:too_large"),
    ],
)
def test_a_refusal_for_form_or_size_names_the_key(path: str, sent: dict[str, str], reason: str) -> None:
    """A wrong Content-Type of a known key was counted as a stranger's."""
    client = made()
    client.send("POST", path, b"{}", sent)
    ((_, key_id, counted_reason, sender, number),) = counted(client)
    assert (key_id, counted_reason, sender, number) == (key_hash(SECRET)[:16], reason, "", 1)


@pytest.mark.parametrize(
    ("error", "expected", "words"),
    [
        (Unavailable("stream_full"), ("refused", "503:unavailable"), "did not store"),
        (Unavailable("disconnected"), ("refused", "503:unavailable"), "did not store"),
        (Unconfirmed("timeout"), ("unconfirmed", "503:not_confirmed"), "may be stored; send the same again: it is"),
    ],
)
def test_what_may_be_stored_is_not_counted_as_refused(
    error: Unavailable, expected: tuple[str, str], words: str
) -> None:
    """The same bytes are the same message, so sending them again is always right; the table says what is known."""
    client = made()
    client.publisher.error = error
    answer = client.post(f"/api/42/envelope/?sentry_key={SECRET}", ENVELOPE)
    assert answer.status == 503
    assert words in answer.json["detail"]
    (kinds,) = client.steps.refusals._counts.values()
    ((kind, requests),) = kinds.items()
    assert (kind.outcome, kind.reason, requests) == (*expected, 1)
    message = refusals.encode([refusals.Refusal("sentry_envelope", kind.reason, 1, kind.outcome)])
    assert refusals.decode(message)[0].outcome == expected[0]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("10.1.2.3", "private"),
        ("192.168.7.9", "private"),
        ("fe80::1%eth0", "private"),
        ("8.8.4.4", "8.8.4.0/24"),
        ("::ffff:8.8.4.4", "8.8.4.0/24"),
        ("2a00:1450:4001:82b::200e", "2a00:1450:4001::/48"),
        ("ak_secret", "unknown"),
        ("", "unknown"),
    ],
)
def test_no_whole_address_is_kept(address: str, expected: str) -> None:
    assert address_class(address) == expected


@pytest.mark.parametrize(
    ("channels", "expected"), [((42,), 42), ((42, 43), 0), (None, 0)], ids=["one", "two", "every channel"]
)
def test_a_native_request_counts_for_the_only_channel_of_its_key(
    channels: tuple[int, ...] | None, expected: int
) -> None:
    """Its channel is in a body that is not read when the key was revoked or a quota is used up."""
    key = Key(sha256=key_hash(SECRET), organisation="default", environment="p", kind="secret", channels=channels)
    counter = RefusalCounter()
    request = request_from("127.0.0.1", 0)
    request.channel_text, request.refused_key = "", key
    counter.add_refused(request, Refused(401, "revoked"), trust_forwarded=False)
    counter.add(key, "p", 0, "event", "quota:key")
    assert {sender.channel_id for sender in counter._counts} == {expected}


def request_from(address: str, channel: int = 42) -> Request:
    async def nothing() -> dict[str, object]:
        return {}

    return Request("POST", "/", b"", {}, address, nothing, route="sentry.envelope", channel_text=str(channel))


@pytest.mark.asyncio
async def test_an_attacker_with_many_addresses_and_channels_makes_few_rows() -> None:
    """What is too much within a minute is one row, `other`; nothing is left out of the sum."""
    counter, broker = RefusalCounter(lambda: MINUTE_NS, owner_of), Broker()
    senders = 10_000
    for number in range(senders):
        address = f"{1 + number // 65536 % 200}.{number // 256 % 256}.{number % 256}.7"
        counter.add_refused(
            request_from(address, 42 if number % 2 else number), Refused(401, "no"), trust_forwarded=False
        )
    await counter.flush(broker)
    found = rows(broker)
    assert len(broker.found) <= 2
    assert len(found) <= MAX_WITHOUT_KEY + 2
    assert sum(int(str(row["quantity"])) for row in found) == senders
    assert OTHER in {row["sender"] for row in found}


def test_a_known_key_with_many_channels_makes_few_rows() -> None:
    """A public token is everybody's: its channels beyond a thousand within a minute are counted as none."""
    client, broker = made(), Broker()
    client.steps.refusals.clock_ns = lambda: MINUTE_NS
    for channel in range(1_000, 3_000):
        client.post(f"/api/{channel}/envelope/?sentry_key={SECRET}", ENVELOPE)
    asyncio.run(client.steps.refusals.flush(broker))
    found = rows(broker)
    assert len(found) <= 1_001
    assert sum(int(str(row["quantity"])) for row in found) == 2_000


@pytest.mark.asyncio
async def test_counts_survive_a_broker_that_is_away_and_never_double() -> None:
    """Each message has one id, however often it is tried."""
    counter, broker = RefusalCounter(lambda: MINUTE_NS, owner_of), Broker()
    counter.add_refused(request_from("8.8.8.8"), Refused(401, "no", reason="unknown_key"), trust_forwarded=False)
    broker.away = True
    for _ in range(3):
        with pytest.raises(Unavailable):
            await counter.flush(broker)
    broker.away = False
    await counter.flush(broker)
    await counter.flush(broker)
    (row,) = rows(broker)
    assert (row["outcome"], row["reason"], row["quantity"], row["sender"], row["organisation"]) == (
        "refused", "401:unknown_key", 1, "8.8.8.0/24", "default",
    )  # fmt: skip


def test_keys_in_use_are_counted_and_stored_at_the_end() -> None:
    """A request that was stored counts for its key; one that was refused does not."""
    client, broker = made(), Broker()
    for _ in range(3):
        assert client.post(f"/api/42/envelope/?sentry_key={SECRET}", ENVELOPE).status == 200
    client.post("/api/42/envelope/?sentry_key=" + UNKNOWN, ENVELOPE)
    asyncio.run(client.steps.refusals.close(broker))
    used = [row for row in rows(broker) if row["outcome"] == "used"]
    assert [(row["organisation"], row["key_id"], row["quantity"]) for row in used] == [
        ("default", key_hash(SECRET)[:16], 3)
    ]


@pytest.mark.asyncio
async def test_a_key_is_said_to_be_used_in_the_minute_of_its_last_use() -> None:
    """Not in that of the report: beside a revocation it looked like a use after it. Still one row for each key."""
    now, broker = [MINUTE_NS], Broker()
    counter = RefusalCounter(lambda: now[0], owner_of)
    early, late = (
        Key(sha256=key_hash(text), organisation="default", environment="p", kind="secret") for text in ("early", "late")
    )
    counter.count_use(early)
    counter.count_use(late)
    now[0] = 2 * MINUTE_NS + 1
    counter.count_use(late)
    now[0] = 3 * MINUTE_NS
    await counter.flush_use(broker)
    used = {row["key_id"]: (row["minute"], row["quantity"]) for row in rows(broker)}
    assert {key_id: number for key_id, (_, number) in used.items()} == {early.id: 1, late.id: 2}
    assert [used[key.id][0] for key in (early, late)] == [60, 120]


async def run_for(counter: RefusalCounter, broker: Broker, intervals: int) -> list[float]:
    """Runs it for so many intervals, and returns how long each was; a key is used and a request refused in each."""
    waited: list[float] = []
    key = Key(sha256=key_hash(SECRET), organisation="default", environment="p", kind="secret")

    async def sleep(interval_s: float) -> None:
        if len(waited) == intervals:
            raise asyncio.CancelledError
        waited.append(interval_s)
        counter.count_use(key)
        counter.add(key, "p", 42, "event", "quota:key")

    counter.sleep = sleep
    with pytest.raises(asyncio.CancelledError):
        await counter.run(broker)
    return waited


@pytest.mark.asyncio
async def test_refusals_are_stored_in_every_interval_and_keys_in_use_in_every_twelfth() -> None:
    """The interval is a setting of the receiver."""
    counter, broker = RefusalCounter(lambda: MINUTE_NS, owner_of, interval_s=0.5), Broker()
    assert await run_for(counter, broker, 25) == [0.5] * 25
    outcomes = [(row["outcome"], row["quantity"]) for row in rows(broker)]
    assert outcomes.count(("rate_limited", 1)) == 25
    assert [quantity for outcome, quantity in outcomes if outcome == "used"] == [12, 12]


@pytest.mark.asyncio
async def test_counting_goes_on_while_the_broker_is_away() -> None:
    """What was not stored is stored later, once."""
    counter, broker = RefusalCounter(lambda: MINUTE_NS, owner_of), Broker()
    broker.away = True
    await run_for(counter, broker, 12)
    broker.away = False
    await counter.close(broker)
    quantities = dict.fromkeys(("rate_limited", "used"), 0)
    for row in rows(broker):
        quantities[str(row["outcome"])] += int(str(row["quantity"]))
    assert quantities == {"rate_limited": 12, "used": 12}


@pytest.mark.asyncio
async def test_what_is_lost_at_the_end_is_counted_whole() -> None:
    """What waits in a message, and what came after it and is in none yet."""
    counter, broker = RefusalCounter(lambda: MINUTE_NS, owner_of), Broker()
    key = Key(sha256=key_hash(SECRET), organisation="default", environment="p", kind="secret")
    broker.away = True
    for times in (2, 3):
        for _ in range(times):
            counter.add(key, "p", 42, "event", "quota:key")
        with pytest.raises(Unavailable):
            await counter.flush(broker)
    before = metrics.REFUSALS_LOST._value.get()
    await counter.close(broker)
    assert metrics.REFUSALS_LOST._value.get() - before == 5


@pytest.mark.parametrize(
    ("channel", "body", "error", "status"),
    [
        (42, b"not compressed", None, 400),
        (44, ENVELOPE, None, 403),
        (42, ENVELOPE.ljust(7_000_000), None, 413),
        (42, ENVELOPE, Unavailable("away"), 503),
    ],
)
def test_a_refused_request_of_a_known_key_is_no_use_of_it(
    channel: int, body: bytes, error: Exception | None, status: int
) -> None:
    """Whatever it is refused for: nothing was stored. `keys list` would show the key as one that works."""
    client, broker = made(), Broker()
    client.publisher.error = error
    encoding = {"content_encoding": "gzip"} if status == 400 else {}
    assert client.post(f"/api/{channel}/envelope/?sentry_key={SECRET}", body, **encoding).status == status
    client.publisher.error = None
    asyncio.run(client.steps.refusals.close(broker))
    assert [row for row in rows(broker) if row["outcome"] == "used"] == []


@pytest.mark.parametrize(
    "body",
    [
        b'{"used":[["o","k",0]]}', b'{"used":1}', b'[["event","x",1,"accepted",""]]', b'[["event","x",0]]', b"7",
    ],
)  # fmt: skip
def test_what_a_worker_cannot_read_is_invalid(body: bytes) -> None:
    """Counts of another shape, and outcomes that a receiver may not make."""

    def read() -> object:
        uses = refusals.decode_use(body)
        return refusals.decode(body) if uses is None else uses

    with pytest.raises(ValueError, match="expected"):
        read()


def test_a_refusal_is_of_the_endpoint_that_it_was_sent_to() -> None:
    """Its item type is the route's name; a path that is nobody's has none."""
    client, broker = made(), Broker()
    client.post("/api/42/envelope/", ENVELOPE)
    client.post("/v1/logs", b"")
    client.post("/nothing", b"")
    asyncio.run(client.steps.refusals.flush(broker))
    assert {row["item_type"] for row in rows(broker)} == {"sentry_envelope", "otlp_logs", "none"}
