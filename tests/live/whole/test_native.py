"""Native events from the socket to the row: sync, idempotency keys over receivers and restarts, an absent broker."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import nats
import pytest
from nats.js import JetStreamContext
from nats.js.api import KeyValueConfig

from receiver.delivery.idempotency import BucketFirstAnswers, FirstBody, RecordOwner
from schemas import native_event
from tests.brokers import on_broker
from tests.live.receiver_process import SECRET, Broker, Receiver
from tests.polling import ANSWER_TIMEOUT_S, eventually
from tests.system import System

pytestmark = pytest.mark.live

T = TypeVar("T")


@dataclass(frozen=True)
class Native:
    """The running system as a sender of native events sees it; `others` are receivers beside its own."""

    system: System
    folder: Path
    others: list[Receiver]

    def post(self, body: Any, path: str = "/event", url: str = "", **headers: str) -> httpx.Response:
        told = {"X-API-Key": self.ready["api_key"]} | {name.replace("_", "-"): text for name, text in headers.items()}
        return httpx.post((url or self.ready["url"]) + path, content=json.dumps(body), headers=told, timeout=60)

    @property
    def ready(self) -> dict[str, Any]:
        return self.system.ready

    def event(self, **members: Any) -> dict[str, Any]:
        """An event with a name of its own."""
        return {"identifier": uuid.uuid4().hex, "payload": {"n": 1}, "channel_id": self.ready["channel"]} | members

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The rows of this name, now."""
        return self.system.query("SELECT * FROM events WHERE name = {name:String}", name=name)

    def another_receiver(self) -> Receiver:
        user, _, address = self.ready["nats_url"].partition("://")[2].rpartition("@")
        broker = Broker(self.folder, port=int(address.rpartition(":")[2]), user=user)
        self.others.append(Receiver(broker, self.folder))
        return self.others[-1].wait_ready()

    def on_broker(self, work: Callable[[JetStreamContext], Awaitable[T]]) -> T:
        """Runs `work` on a connection of its own."""
        return on_broker(self.ready["nats_url"], lambda client: work(client.jetstream(timeout=ANSWER_TIMEOUT_S)))

    def stored(self) -> int:
        """Messages in RAW on the subject of native events, this channel's."""
        subject = f"raw.event.{self.ready['channel']}"

        async def work(js: JetStreamContext) -> int:
            state = (await js.stream_info("RAW", subjects_filter=subject)).state
            return (state.subjects or {}).get(subject, 0)

        return self.on_broker(work)


@pytest.fixture
def sender(system: System, tmp_path: Path) -> Iterator[Native]:
    """A sender to the session's system."""
    found = Native(system, tmp_path, [])
    try:
        yield found
    finally:
        for receiver in found.others:
            receiver.stop()


def test_sync_answers_after_the_insert(sender: Native) -> None:
    """At the moment of the answer the row is there by SQL, each time, under the id of the answer."""
    for _ in range(10):
        event = sender.event(sync=True, agentId="researcher", eventType="agent.message")
        answer = sender.post(event)
        (row,) = sender.rows(event["identifier"])
        assert (answer.status_code, answer.json()["status"]) == (201, "stored")
        assert row["event_id"] == answer.json()["eventId"]
        assert (row["event_type"], row["item_type"], row["gen_ai_agent"]) == ("agent.message", "native", "researcher")


def test_an_event_is_a_row_soon(sender: Native) -> None:
    """Without `sync` the answer comes first; environment, key, channel and payload are the sender's."""
    event = sender.event(metadata={"step": {"n": 3}}, eventType="agent.error", payload={"error": "no route"})
    answer = sender.post(event)
    (row,) = eventually(lambda: sender.rows(event["identifier"]), "the row")
    assert (answer.status_code, row["event_id"]) == (201, answer.json()["eventId"])
    assert (row["environment"], row["channel_id"]) == (sender.ready["environment"], sender.ready["channel"])
    assert (row["exception_message"], row["severity_number"], row["body"]) == ("no route", 17, "no route")
    assert row["metadata"] == {"step": {"n": 3}}
    assert json.loads(row["payload"])["payload"] == {"error": "no route"}


def test_a_batch_is_a_row_each(sender: Native) -> None:
    """Ids in the order they were sent, all there when a sync answer comes."""
    names = [uuid.uuid4().hex for _ in range(20)]
    events = [{"identifier": name, "payload": {}} for name in names]
    body = {"channel_id": str(sender.ready["channel"]), "events": events, "sync": True}
    answer = sender.post(body, "/event/batch")
    assert (answer.status_code, answer.json()["accepted"]) == (202, 20)
    found = {name: sender.rows(name)[0]["event_id"] for name in names}
    assert [found[name] for name in names] == [one["eventId"] for one in answer.json()["data"]]


@pytest.mark.parametrize(
    "metadata",
    [
        {"a.b": 1, "a": {"b": 2}},
        {"a": 1, "a.b": 2},
        {"": {"": 0}, ".": 1, "a..b": [1, "x", {"b": [], "b.c": 1}, [1]]},
        {"n": 2**64, "m": -(2**63), "f": 1e308, "z": "\x00\ud800"},
        {str(number): number for number in range(3000)},
    ],
)
def test_no_metadata_breaks_reading(sender: Native, metadata: dict[str, Any]) -> None:
    """A query over all rows goes on whatever one sender calls its members."""
    event = sender.event(metadata=metadata, sync=True)
    assert sender.post(event).status_code == 201
    assert sender.rows(event["identifier"])[0]["metadata"].__class__ is dict


def test_a_repeat_gets_the_first_answer_from_any_receiver(sender: Native) -> None:
    """Two receivers, one restarted in between: one message, one row, one answer."""
    event, key = sender.event(), uuid.uuid4().hex
    first = sender.post(event, idempotency_key=key).json()
    stored = sender.stored()
    other = sender.another_receiver()
    repeats = [sender.post(event, idempotency_key=key), sender.post(event, url=other.url, idempotency_key=key)]
    other.stop()
    repeats.append(sender.post(event, url=sender.another_receiver().url, idempotency_key=key))
    assert [one.json() for one in repeats] == [first | {"duplicate": True}] * 3
    assert sender.stored() == stored
    confirmed = sender.post(event | {"sync": True}, idempotency_key=key)
    assert (confirmed.json()["eventId"], confirmed.json()["status"]) == (first["eventId"], "stored")
    assert [row["event_id"] for row in sender.rows(event["identifier"])] == [first["eventId"]]


def test_a_sync_repeat_keeps_the_first_row(sender: Native) -> None:
    """Asked again with other trace ids, it is the first body that is there, and the reconciliation balances."""
    channel = json.loads(sender.system.cli("channels", "create", "--json").stdout)["id"]
    event, key = sender.event(channel_id=channel, traceId="1" * 32), uuid.uuid4().hex
    eventually(lambda: sender.post(event, idempotency_key=key).status_code == 201, "the new channel")
    answer = sender.post(event | {"sync": True, "traceId": "2" * 32}, idempotency_key=key)
    assert answer.json()["duplicate"] is True
    (row,) = sender.rows(event["identifier"])
    assert row["trace_id"] == "1" * 32

    def totals() -> dict[str, Any] | None:
        found = json.loads(sender.system.cli("status", "--json").stdout)["reconciliation"]["channels"]
        return next((one for one in found if one["channel"] == channel and not one["queued"]), None)

    kept = eventually(totals, "the totals of the channel")
    assert (kept["received"], kept["rows"], kept["merged"], kept["difference"]) == (1, 1, 0, 0)


def test_a_public_tokens_claim_costs_a_secret_key_no_row(sender: Native) -> None:
    """The same event, key and channel by both, with `sync`: two rows, each under the id of its own answer."""
    event, key = sender.event(sync=True, dedupKey=uuid.uuid4().hex), uuid.uuid4().hex
    told = ({"idempotency_key": key}, {})
    for headers in told:
        attacker = sender.post(event, X_API_Key=sender.ready["public_token"], **headers)
        victim = sender.post(event, **headers)
        assert (attacker.status_code, victim.status_code, "duplicate" in victim.json()) == (201, 201, False)
        found = {row["event_id"] for row in sender.rows(event["identifier"])}
        assert {attacker.json()["eventId"], victim.json()["eventId"]} <= found
    assert len(sender.rows(event["identifier"])) == 4


@pytest.mark.asyncio
async def test_concurrent_repeats_make_one_row(sender: Native) -> None:
    """Twenty senders of one key at once, on two receivers: one id, one first, one row."""
    event, key = sender.event(), uuid.uuid4().hex
    urls = [sender.ready["url"], sender.another_receiver().url]

    async def all_at_once() -> list[httpx.Response]:
        told = {"X-API-Key": sender.ready["api_key"], "Idempotency-Key": key}
        async with httpx.AsyncClient(timeout=60, headers=told) as client:
            return list(await asyncio.gather(*(client.post(urls[n % 2] + "/event", json=event) for n in range(20))))

    answers = await all_at_once()
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["eventId"] for answer in answers}) == 1
    assert sum("duplicate" not in answer.json() for answer in answers) == 1
    sender.post(event | {"sync": True}, idempotency_key=key)
    assert len(sender.rows(event["identifier"])) == 1


@pytest.mark.asyncio
async def test_a_claim_whose_body_never_came_is_made_good(sender: Native) -> None:
    """A receiver that died in between, an hour ago: the event is stored with the first one's time, and is one row."""
    event, key = sender.event(), uuid.uuid4().hex
    channel = sender.ready["channel"]
    name = native_event.key_name(channel, "secret", sender.ready["environment"], key)
    an_hour_ago_ns = time.time_ns() - 3600 * 10**9
    submission = native_event.read_submission(event, is_batch=False)
    claim = FirstBody(an_hour_ago_ns, native_event.fingerprint(submission.events))

    client = await nats.connect(sender.ready["nats_url"])
    await BucketFirstAnswers(client, 5.0).claim(RecordOwner("default", "secret"), name, claim)
    await client.close()
    answer = sender.post(event | {"sync": True}, idempotency_key=key)
    origin_id = native_event.keyed_id(name, claim.fingerprint)
    assert answer.json()["eventId"] == native_event.id_text(native_event.event_id(channel, origin_id))
    (row,) = sender.rows(event["identifier"])
    assert row["event_id"] == answer.json()["eventId"]
    (kept,) = sender.system.query(
        "SELECT toUnixTimestamp64Nano(received_at) AS ns FROM events WHERE name = {name:String}",
        name=event["identifier"],
    )
    assert kept["ns"] == an_hour_ago_ns


def test_keys_expire_in_the_bucket_and_not_before_a_day(sender: Native) -> None:
    """The bucket forgets by itself, the oldest first when it is full."""

    async def work(js: JetStreamContext) -> Any:
        return (await js.stream_info("KV_idempotency")).config

    config = sender.on_broker(work)
    assert config.max_age == 24 * 3600
    assert config.discard == "old"
    assert config.max_bytes > 0


def test_sync_without_workers_is_a_504_and_the_event_is_kept(own_broker: Broker, tmp_path: Path) -> None:
    """The answer says that it is stored; with its key it can be asked for again."""

    async def make_bucket(client: Any) -> None:
        await client.jetstream(timeout=ANSWER_TIMEOUT_S).create_key_value(
            KeyValueConfig(bucket="idempotency", history=1)
        )

    own_broker.call(make_bucket)
    receiver = Receiver(own_broker, tmp_path, sync_wait_ms="100")
    try:
        receiver.wait_ready()
        event = {"identifier": "a", "payload": {}, "channel_id": 42, "sync": True}
        told = {"X-API-Key": SECRET, "Idempotency-Key": "k"}
        answer = receiver.http.post("/event", json=event, headers=told)
        assert (answer.status_code, answer.json()["code"]) == (504, "not_confirmed")
        assert own_broker.stored() == 1
        assert receiver.http.post("/event", json=event, headers=told).status_code == 504
        assert receiver.http.post("/event", json=event | {"sync": False}, headers=told).json()["duplicate"] is True
    finally:
        receiver.stop()


def test_an_absent_broker_is_a_503(own_broker: Broker, tmp_path: Path) -> None:
    """With or without a key, before and after: nothing is promised that is not on disk."""
    receiver = Receiver(own_broker, tmp_path, publish_timeout_s="1")
    try:
        receiver.wait_ready()
        event = {"identifier": "a", "payload": {}, "channel_id": 42}
        told = {"X-API-Key": SECRET}
        keyed = told | {"Idempotency-Key": "k"}
        assert receiver.http.post("/event", json=event, headers=told).status_code == 201
        without_bucket = receiver.http.post("/event", json=event, headers=keyed)
        assert (without_bucket.status_code, without_bucket.json()["code"]) == (503, "unavailable")
        own_broker.kill()
        for headers in (told, keyed):
            answer = receiver.http.post("/event", json=event, headers=headers)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        own_broker.start()
        eventually(lambda: receiver.http.post("/event", json=event, headers=told).status_code == 201, "a 201 again")
    finally:
        receiver.stop()
