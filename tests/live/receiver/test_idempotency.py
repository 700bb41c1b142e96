"""Whose idempotency keys and refusals are kept: floods, classes of keys, several receivers, and the bucket itself."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import nats
import pytest
from nats.js.api import DiscardPolicy, KeyValueConfig

from ops.provisioning.migrate import migrate_broker
from ops.provisioning.streams import MIB, Budgets, streams
from ops.runtime.settings import Settings
from receiver.delivery.record_sets import SET_BYTES, SET_OVERHEAD_BYTES, Record, RecordKind, RecordSets, sets_in_share
from schemas.registry import Channel
from tests.live.receiver_process import FOREIGN, OVERRIDE, PUBLIC, SECRET, Broker, Receiver, key
from tests.polling import ANSWER_TIMEOUT_S

pytestmark = pytest.mark.live

T = TypeVar("T")
BUDGETS = Budgets(
    raw_max_bytes=256 * MIB,
    items_max_bytes=64 * MIB,
    dead_max_bytes=64 * MIB,
    artifacts_max_bytes=MIB,
    replay_max_bytes=64 * MIB,
    idempotency_max_bytes=MIB,
)
# Far more than the least bucket holds, in any form: an identifier of this length has 4,000 bytes.
FLOOD = 700
LONG = "\U0001f6a2" * 1000
AT_ONCE = 16


class Place:
    """A broker as `axonpush migrate` makes it, with the smallest bucket there may be, and two receivers."""

    def __init__(self, folder: Path) -> None:
        self.broker = Broker(folder)
        self.broker.start()
        self.settings = Settings(nats_url=self.broker.url)
        asyncio.run(migrate_broker(self.settings, BUDGETS, dry_run=False))
        self.broker.put(
            *(Channel(id=number, organisation="default") for number in (42, 43)),
            Channel(id=99, organisation="other"),
            *(key(SECRET), key(OVERRIDE, allow_environment_override=True), key(PUBLIC, kind="public")),
            *(key(FOREIGN, organisation="other"), key(PUBLIC + "2", kind="public", organisation="other")),
        )
        self.receivers = [Receiver(self.broker, folder, counts_wait_otlp_ms="0") for _ in range(2)]
        for one in self.receivers:
            one.wait_ready()

    def send(self, secret: str, idempotency_key: str, receiver: int = 0, **members: Any) -> httpx.Response:
        """One native event under a key."""
        event = {"identifier": "e", "payload": {}, "channel_id": 99 if secret == FOREIGN else 42} | members
        told = {"X-API-Key": secret, "Idempotency-Key": idempotency_key}
        return self.receivers[receiver].http.post("/event", json=event, headers=told)

    def flood(self, secret: str, number: int) -> set[int]:
        """So many events, each under a key of its own, of both kinds; the statuses of the answers."""
        event = {"identifier": LONG, "payload": {}, "channel_id": 42}

        async def one(client: httpx.AsyncClient, gate: asyncio.Semaphore, place: int) -> int:
            name = uuid.uuid4().hex * 7
            told = {"X-API-Key": secret} | ({"Idempotency-Key": name} if place % 2 else {})
            body = json.dumps(event if place % 2 else event | {"dedupKey": name})
            async with gate:
                url = self.receivers[place % 4 // 2].url
                return (await client.post(f"{url}/event", content=body, headers=told)).status_code

        async def all_of_them() -> set[int]:
            gate = asyncio.Semaphore(AT_ONCE)
            async with httpx.AsyncClient(timeout=60) as client:
                return set(await asyncio.gather(*(one(client, gate, place) for place in range(number))))

        return asyncio.run(all_of_them())

    def entries(self) -> dict[str, bytes]:
        """All messages of both buckets, by subject."""

        async def read(client: Any) -> dict[str, bytes]:
            js, found = client.jetstream(timeout=ANSWER_TIMEOUT_S), {}
            for name in ("KV_idempotency", "KV_idempotency_public"):
                state = (await js.stream_info(name, subjects_filter=">")).state
                for subject in state.subjects or {}:
                    found[subject] = (await js.get_last_msg(name, subject)).data or b""
            return found

        return self.broker.call(read)

    def end(self) -> None:
        for one in self.receivers:
            one.stop()
        self.broker.kill()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One broker and its receivers for this file."""
    found = Place(tmp_path_factory.mktemp("idempotency"))
    try:
        yield found
    finally:
        found.end()


# Anybody has a public token; a flood with a secret key takes the same time again.
@pytest.mark.parametrize(
    "attacker", [pytest.param(PUBLIC, id="public"), pytest.param(SECRET, id="secret", marks=pytest.mark.long)]
)
def test_a_flood_evicts_only_its_own_keys(place: Place, attacker: str) -> None:
    """Another organisation's keys, and the same one's of the other class, are known for repeats; each is one body."""
    mine = [(FOREIGN, "their-order"), *([(SECRET, "our-order")] if attacker == PUBLIC else [(PUBLIC, "our-order")])]
    firsts = [place.send(secret, f"{name}-{attacker}") for secret, name in mine]
    assert [one.status_code for one in firsts] == [201, 201]
    assert place.flood(attacker, FLOOD) == {201}
    stored = place.broker.stored()
    for receiver in (0, 1):
        repeats = [place.send(secret, f"{name}-{attacker}", receiver) for secret, name in mine]
        assert [one.json() for one in repeats] == [one.json() | {"duplicate": True} for one in firsts]
    assert place.broker.stored() == stored


def test_what_is_kept_is_small_and_tells_nothing(place: Place) -> None:
    """No key of a sender, no idempotency key and no organisation stands in it; sets have a bound."""
    place.send(SECRET, "a-telling-order-number")
    found = place.entries()
    assert found
    everything = b"".join(subject.encode() + data for subject, data in found.items())
    for text in (SECRET, PUBLIC, "a-telling-order-number", "default", "other", "production"):
        assert text.encode() not in everything
    assert max(map(len, found.values())) <= SET_BYTES


def test_a_public_token_claims_nothing_of_a_secret_keys(place: Place) -> None:
    """First by the token, then by the key: two bodies, two events, on either receiver."""
    name, stored = uuid.uuid4().hex, place.broker.stored()
    attacker = place.send(PUBLIC, name)
    victim = place.send(SECRET, name, receiver=1)
    assert (attacker.status_code, victim.status_code, "duplicate" in victim.json()) == (201, 201, False)
    assert attacker.json()["eventId"] != victim.json()["eventId"]
    assert place.send(SECRET, name).json() == victim.json() | {"duplicate": True}
    assert place.broker.stored() == stored + 2


def test_the_same_bytes_of_other_senders_are_other_messages(place: Place) -> None:
    """Key, environment, media type, path: the broker takes none of them for a duplicate. A retry it does."""
    body, stored = json.dumps({"resourceLogs": [], "nonce": uuid.uuid4().hex}).encode(), place.broker.stored()
    usual = {"X-API-Key": OVERRIDE, "X-Axonpush-Channel": "42", "Content-Type": "application/json"}
    senders: list[tuple[str, dict[str, str]]] = [
        ("/v1/logs", usual),
        ("/v1/logs", usual | {"X-API-Key": SECRET}),
        ("/v1/logs", usual | {"X-Axonpush-Environment": "canary"}),
        ("/v1/logs", usual | {"X-Axonpush-Environment": "other"}),
        ("/v1/logs", usual | {"Content-Type": "application/x-protobuf"}),
        (f"/api/42/integration/otlp/v1/logs?sentry_key={OVERRIDE}", {"Content-Type": "application/json"}),
    ]
    for receiver in place.receivers:
        for path, told in senders:
            assert receiver.http.post(path, content=body, headers=told).status_code == 200
        assert place.broker.stored() == stored + len(senders)


def test_both_buckets_forget_and_have_no_way_to_be_emptied() -> None:
    """A quarter is for public tokens; the oldest go; no message may roll up the bucket."""
    found = {one.name: one for one in streams(BUDGETS, 1) if "idempotency" in str(one.name)}
    assert {name: one.max_bytes for name, one in found.items()} == {
        "KV_idempotency": MIB * 3 // 4,
        "KV_idempotency_public": MIB // 4,
    }
    for one in found.values():
        assert (one.discard, one.max_age, one.allow_rollup_hdrs) == (DiscardPolicy.OLD, 24 * 3600, False)


def test_a_bucket_of_the_version_before_is_brought_up_to_date(tmp_path: Path) -> None:
    """`migrate` takes the rollups away and makes the second one; the size and old entries stay."""
    broker = Broker(tmp_path)
    broker.start()
    try:

        async def before(client: Any) -> None:
            bucket = await client.jetstream(timeout=ANSWER_TIMEOUT_S).create_key_value(
                KeyValueConfig(bucket="idempotency", history=1, max_bytes=MIB)
            )
            await bucket.put("0" * 32, b'{"received_at_ns":1}')

        broker.call(before)
        settings = Settings(nats_url=broker.url)
        asyncio.run(migrate_broker(settings, BUDGETS, dry_run=False))
        assert asyncio.run(migrate_broker(settings, BUDGETS, dry_run=True)) == []

        async def after(client: Any) -> tuple[Any, bytes]:
            js = client.jetstream(timeout=ANSWER_TIMEOUT_S)
            config = (await js.stream_info("KV_idempotency")).config
            return config, (await js.get_last_msg("KV_idempotency", f"$KV.idempotency.{'0' * 32}")).data

        config, old = broker.call(after)
        assert (config.max_bytes, old) == (MIB, b'{"received_at_ns":1}')
        assert not config.allow_rollup_hdrs
    finally:
        broker.kill()


# --- the sets themselves

KIND = RecordKind("key", share=0.75, kept_ns=10**12)


def on_sets(broker: Broker, work: Callable[[list[RecordSets]], Awaitable[T]], clock_ns: int = 10**12) -> T:
    """Runs `work` on the sets as two receivers see them."""

    async def run() -> T:
        clients = [await nats.connect(broker.url) for _ in range(2)]
        try:
            return await work([RecordSets(one, "idempotency", 5.0, lambda: clock_ns) for one in clients])
        finally:
            for one in clients:
                await one.close()

    return asyncio.run(run())


def record(number: int, made_at_ns: int = 10**12, value: bytes = b"v") -> Record:
    return Record(number.to_bytes(16, "big"), made_at_ns, value)


def test_of_many_that_add_one_name_one_is_first(place: Place) -> None:
    """On two connections at once; the others learn what was there. Names beside it in the set are not lost."""
    organisation = uuid.uuid4().hex
    count = sets_in_share(MIB * 3 // 4, KIND.share)
    together = [record(count * number) for number in range(20)]  # all in one set

    async def work(sets: list[RecordSets]) -> tuple[list[Record | None], list[Record | None]]:
        adds = [sets[n % 2].add(organisation, KIND, record(0, value=b"%d" % n)) for n in range(20)]
        first = await asyncio.gather(*adds)
        await asyncio.gather(*(sets[n % 2].add(organisation, KIND, one) for n, one in enumerate(together)))
        return first, [await sets[1].find(organisation, KIND, one.name) for one in together]

    found, kept = on_sets(place.broker, work)
    assert found.count(None) == 1
    assert len({one for one in found if one is not None}) == 1
    assert kept[1:] == together[1:]


def test_a_full_set_forgets_its_oldest(place: Place) -> None:
    """And nothing of another organisation's set of the same number."""
    count = sets_in_share(MIB * 3 // 4, KIND.share)
    ours, theirs = uuid.uuid4().hex, uuid.uuid4().hex
    fits = SET_BYTES // 26  # 25 bytes and one of value

    async def work(sets: list[RecordSets]) -> list[bool]:
        await sets[0].add(theirs, KIND, record(0))
        for number in range(fits + 5):
            await sets[0].add(ours, KIND, record(count * number))
        found = [await sets[1].find(ours, KIND, record(count * number).name) for number in range(fits + 5)]
        return [one is not None for one in (await sets[1].find(theirs, KIND, record(0).name), *found)]

    other, *own = on_sets(place.broker, work)
    assert other
    assert own == [False] * 5 + [True] * fits


def test_records_expire_and_can_be_replaced_and_removed(place: Place) -> None:
    """What is too old is free again; only the very record that is named is removed."""
    organisation = uuid.uuid4().hex

    async def work(sets: list[RecordSets]) -> list[Any]:
        one = sets[0]
        old = record(1, made_at_ns=0)
        changed = record(2, value=b"changed")
        return [
            await one.add(organisation, KIND, old),
            await one.add(organisation, KIND, record(1)),
            await one.add(organisation, KIND, record(2)),
            await one.put(organisation, KIND, changed),
            await one.find(organisation, KIND, changed.name),
            await one.remove(organisation, KIND, record(2)),
            await one.find(organisation, KIND, changed.name),
            await one.remove(organisation, KIND, changed),
            await one.find(organisation, KIND, changed.name),
        ]

    changed = record(2, value=b"changed")
    assert on_sets(place.broker, work) == [None, None, None, None, changed, None, changed, None, None]


def test_what_the_broker_adds_to_a_set_is_what_shares_are_computed_with(place: Place) -> None:
    """Subject, headers and its own record, with the longest numbers that sequences have."""
    place.send(SECRET, uuid.uuid4().hex)
    overhead_bytes, messages = _sizes(place)
    longest_seq_bytes = 20
    assert overhead_bytes / messages + longest_seq_bytes <= SET_OVERHEAD_BYTES


def _sizes(place: Place) -> tuple[int, int]:
    """(bytes that the broker counts beyond the data, messages) of both buckets."""
    data = sum(map(len, place.entries().values()))

    async def counted(client: Any) -> tuple[int, int]:
        states = [
            (await client.jetstream(timeout=ANSWER_TIMEOUT_S).stream_info(name)).state
            for name in ("KV_idempotency", "KV_idempotency_public")
        ]
        return sum(one.bytes for one in states), sum(one.messages for one in states)

    size_bytes, messages = place.broker.call(counted)
    return size_bytes - data, messages
