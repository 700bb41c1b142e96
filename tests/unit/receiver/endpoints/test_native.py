"""POST /event and /event/batch over fakes at the receiver's own seams: broker, registry, bucket of first answers."""

from __future__ import annotations

import dataclasses
import gzip
import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.delivery.idempotency import BodyResult, FirstBody, RecordOwner
from receiver.delivery.publish import BodyTooLarge, Unavailable, Unconfirmed
from schemas import headers, native_event
from schemas.counts import Counts
from tests.unit.receiver.test_app import FOREIGN, ONE_CHANNEL, OVERRIDE, PUBLIC, REVOKED, SECRET, Answered, Client
from tests.unit.workers.normalise.sentry.test_any_json import anything

EVENT: dict[str, Any] = {"identifier": "web_search", "payload": {"query": "ships"}, "channel_id": 42}
ANSWER_KEYS = {"id", "eventId", "identifier", "dedupKey", "createdAt", "queued"}


class FakeFirstAnswers:
    """Both buckets in memory; `away` makes them unreachable."""

    def __init__(self) -> None:
        self.firsts: dict[tuple[RecordOwner, bytes], FirstBody] = {}
        self.refused: set[tuple[RecordOwner, str]] = set()
        self.away = False
        self.mark_fails = False

    async def claim(self, owner: RecordOwner, name: bytes, mine: FirstBody) -> FirstBody | None:
        found = await self.find(owner, name)
        if found is None:
            self.firsts[owner, name] = mine
        return found

    async def find(self, owner: RecordOwner, name: bytes) -> FirstBody | None:
        if self.away:
            raise Unavailable("away")
        return self.firsts.get((owner, name))

    async def mark(self, owner: RecordOwner, name: bytes, stored: FirstBody) -> None:
        if self.mark_fails:
            raise Unavailable("away")
        self.firsts[owner, name] = stored

    async def release(self, owner: RecordOwner, name: bytes, mine: FirstBody) -> None:
        if self.firsts.get((owner, name)) == mine:
            del self.firsts[owner, name]

    async def refuse(self, owner: RecordOwner, message_id: str) -> None:
        self.refused.add((owner, message_id))

    async def was_refused(self, owner: RecordOwner, message_id: str) -> bool:
        if self.away:
            raise Unavailable("away")
        return (owner, message_id) in self.refused


class NativeClient(Client):
    """The application without a socket, with a bucket for idempotency keys."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.firsts = FakeFirstAnswers()
        self.steps.delivery.first_answers = self.firsts

    def event(self, body: Any = None, path: str = "/event", /, **headers: str) -> Answered:
        raw = body if isinstance(body, bytes) else json.dumps(EVENT if body is None else body).encode()
        return self.post(path, raw, **({"x_api_key": SECRET, "content_type": "application/json"} | headers))

    def replying(self, **counts: Any) -> None:
        """A worker that answers everything at once."""

        def reply(fields: dict[str, str]) -> None:
            if "Counts-To" in fields:
                token = fields["Counts-To"].rpartition(".")[2]
                self.inbox.deliver(token, Counts(stage="native", **counts).encode())

        self.publisher.on_publish = reply

    @property
    def last(self) -> tuple[str, bytes, dict[str, str]]:
        return self.publisher.published[-1]


@pytest.fixture
def client() -> NativeClient:
    return NativeClient()


# --- the answer


def test_an_event_is_stored_as_it_came_and_acknowledged(client: NativeClient) -> None:
    """201 with the id the row will have; the body goes to the broker byte for byte, with what a row needs."""
    body = json.dumps(EVENT, indent=1).encode()
    answer = client.event(body)
    subject, stored, told = client.last
    assert (subject, stored) == ("raw.event.42", body)
    assert told["Environment"] == "production"
    assert "Counts-To" not in told
    expected = native_event.id_text(native_event.event_id(42, told["Nats-Msg-Id"]))
    assert answer.status == 201
    assert answer.json.keys() >= ANSWER_KEYS
    assert (answer.json["id"], answer.json["eventId"]) == (expected, expected)
    assert (answer.json["identifier"], answer.json["queued"]) == ("web_search", True)
    assert answer.json["createdAt"] == "1970-01-01T00:00:00.000Z"
    assert "duplicate" not in answer.json
    assert answer.headers["x-axonpush-resolved-environment"] == "production"


@pytest.mark.parametrize("channel", [42, "42", " 42 ", "0042"])
def test_a_channel_is_a_number_or_its_digits(client: NativeClient, channel: Any) -> None:
    """SDKs to 0.0.9 send a number, later ones text."""
    assert client.event(EVENT | {"channel_id": channel}).status == 201
    assert client.last[0] == "raw.event.42"


def test_without_a_channel_a_limited_key_means_its_own(client: NativeClient) -> None:
    """A key that is limited to one channel names it; any other key has to be told."""
    body = {"identifier": "a", "payload": {}}
    assert client.event(body, x_api_key=ONE_CHANNEL).status == 201
    assert client.event(body).status == 400


def test_equal_bytes_are_two_events(client: NativeClient) -> None:
    """Nothing in a native event says that it is the same one again, unless the sender says so."""
    first, second = client.event(), client.event()
    assert first.json["eventId"] != second.json["eventId"]
    assert len({told["Nats-Msg-Id"] for _, _, told in client.publisher.published}) == 2


def test_the_oldest_sdks_get_a_number_as_id(client: NativeClient) -> None:
    """They know only numbers as ids, and are known by channel number and tenant; `eventId` is the id all the same."""
    answer = client.event(x_tenant_id="1")
    assert answer.json["id"] == UUID(answer.json["eventId"]).int & (2**63 - 1)
    assert client.event(EVENT | {"channel_id": "42"}, x_tenant_id="1").json["id"].count("-") == 4


@pytest.mark.parametrize(
    ("told", "body", "status"),
    [
        ({"x_api_key": SECRET}, {}, 201),
        ({"x_api_key": "", "x_axonpush_api_key": SECRET}, {}, 200),
        ({"x_api_key": "", "x_public_token": PUBLIC}, {"sync": False}, 201),
        ({"x_api_key": "", "x_public_token": PUBLIC}, {}, 200),
    ],
)
def test_the_status_is_the_one_the_sdk_reads(
    client: NativeClient, told: dict[str, str], body: dict[str, Any], status: int
) -> None:
    """201; the SDKs from 0.0.18 on know 200 only, and their headers and bodies tell them apart."""
    answer = client.event(EVENT | body, **told)
    assert answer.status == status
    assert answer.json["status"] == "queued"


# --- what is refused


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"identifier": None}, "identifier"),
        ({"identifier": " "}, "identifier"),
        ({"identifier": "x" * 1001}, "1001 characters"),
        ({"identifier": 7}, "identifier"),
        ({"payload": None}, "payload"),
        ({"payload": "text"}, "payload"),
        ({"payload": []}, "a list of 0"),
        ({"channel_id": "the first"}, "channel_id"),
        ({"channel_id": ""}, "channel_id"),
        ({"channel_id": True}, "channel_id"),
        ({"channel_id": 42.0}, "channel_id"),
        ({"channel_id": -1}, "channel_id"),
        ({"channel_id": 2**63}, "channel_id"),
        ({"eventType": "agent.unknown"}, "agent.tool_call.start"),
        ({"eventType": 7}, "eventType"),
        ({"metadata": "x"}, "metadata"),
        ({"sync": "yes"}, "sync"),
        ({"traceId": {}}, "traceId"),
        ({"agentId": "x" * 501}, "agentId"),
    ],
)
def test_what_is_no_event_is_named(client: NativeClient, change: dict[str, Any], words: str) -> None:
    """400 with the code SDKs raise a validation error for, saying which member and what was expected."""
    answer = client.event(EVENT | change)
    assert (answer.status, answer.json["code"]) == (400, "validation_error")
    assert words in answer.json["message"]
    assert answer.json["detail"] == answer.json["message"]
    assert client.publisher.published == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 2000])
def test_what_is_no_object_is_a_400(client: NativeClient, body: bytes) -> None:
    """Whatever the bytes are."""
    assert client.event(body).status == 400


@pytest.mark.parametrize(
    ("secret", "channel", "status", "code"),
    [
        ("", 42, 401, "unauthorized"),
        ("ak_unknown", 42, 401, "unauthorized"),
        (REVOKED, 42, 401, "unauthorized"),
        (FOREIGN, 42, 403, "forbidden"),
        (ONE_CHANNEL, 43, 403, "forbidden"),
        (SECRET, 999, 404, "not_found"),
    ],
)
def test_keys_and_channels_are_checked_as_elsewhere(
    client: NativeClient, secret: str, channel: int, status: int, code: str
) -> None:
    """401, 403, 404, each with its code."""
    answer = client.event(EVENT | {"channel_id": channel}, x_api_key=secret)
    assert (answer.status, answer.json["code"]) == (status, code)
    assert secret not in answer.body.decode() or not secret


def test_two_different_keys_are_refused(client: NativeClient) -> None:
    """One key in two headers is fine, two keys are 401."""
    assert client.event(x_axonpush_api_key=SECRET).status == 201
    assert client.event(x_axonpush_api_key=OVERRIDE).status == 401


def test_nothing_is_read_of_a_body_without_a_key(client: NativeClient) -> None:
    """An unknown sender's body costs nothing, however it goes on."""
    assert client.event(b"{" * 10, x_api_key="").status == 401


def test_a_public_token_is_bound_to_its_origins(client: NativeClient) -> None:
    """403 from any other page, with the headers that let the page see why."""
    assert client.event(x_api_key=PUBLIC, origin="https://shop.example").status == 201
    answer = client.event(x_api_key=PUBLIC, origin="https://evil.example")
    assert answer.status == 403
    assert answer.headers["access-control-allow-origin"] == "https://evil.example"


@pytest.mark.parametrize("path", ["/event", "/event/", "//event", "/event/batch"])
def test_preflight_needs_no_key(client: NativeClient, path: str) -> None:
    """OPTIONS is answered before any authentication."""
    answer = client.send("OPTIONS", path, headers={"origin": "https://shop.example"})
    assert answer.status == 204
    assert "idempotency-key" in answer.headers["access-control-allow-headers"]


def test_sizes_and_codings_are_those_of_every_body() -> None:
    """413 on the wire and inflated, 415 for unknown codings and media types; compressed bodies stay compressed."""
    client = NativeClient(max_body_bytes=1000)
    padded = json.dumps(EVENT | {"payload": {"x": "y" * 2000}}).encode()
    assert client.event(padded).status == 413
    assert client.event(gzip.compress(padded), content_encoding="gzip").status == 413
    small = gzip.compress(json.dumps(EVENT).encode())
    assert client.event(small, content_encoding="gzip").status == 201
    assert client.last[1] == small
    assert client.event(small, content_encoding="lzma").status == 415
    assert client.event(content_type="text/html").json["code"] == "unsupported_media_type"
    assert client.event(content_type="text/plain;charset=UTF-8").status == 201


def test_a_broker_that_is_away_is_a_503(client: NativeClient) -> None:
    """With the code and `Retry-After`: the SDK sends the same again."""
    client.publisher.error = Unavailable("disconnected")
    answer = client.event()
    assert (answer.status, answer.json["code"], answer.headers["retry-after"]) == (503, "unavailable", "2")
    assert "did not store" in str(answer.json)


def test_an_event_that_was_not_confirmed_may_be_stored(client: NativeClient) -> None:
    """Without a key it may become two; with one it is one event, however often it is sent."""
    client.publisher.error = Unconfirmed("timeout")
    for key, words in (("", "may be a second event"), ("k", "it is stored once")):
        answer = client.event(idempotency_key=key)
        assert (answer.status, answer.headers["retry-after"]) == (503, "2")
        assert words in str(answer.json)
        assert "may be stored" in str(answer.json)
        assert "did not store" not in str(answer.json)
    refusals = client.steps.refusals._counts.values()
    assert {(kind.outcome, kind.reason) for kinds in refusals for kind in kinds} == {
        ("unconfirmed", "503:not_confirmed")
    }


@pytest.mark.parametrize("path", ["/event/42/list", "/events", "/traces", "/traces/x/summary", "/traces/x/events"])
def test_reading_is_refused_by_name(client: NativeClient, path: str) -> None:
    """404 that says what to do instead."""
    answer = client.send("GET", path, headers={"x_api_key": SECRET})
    assert answer.status == 404
    assert "SQL" in answer.json["message"]


# --- environments


@pytest.mark.parametrize(
    ("secret", "header", "named", "expected"),
    [
        (SECRET, "", "", ("production", "api-key")),
        (SECRET, "staging", "canary", ("production", "api-key")),
        (OVERRIDE, "", "", ("production", "api-key")),
        (OVERRIDE, "staging", "", ("staging", "header")),
        (OVERRIDE, "", "canary", ("canary", "body")),
        (OVERRIDE, "staging", "canary", ("canary", "body")),
    ],
)
def test_the_environment_is_resolved(secret: str, header: str, named: str, expected: tuple[str, str]) -> None:
    """The call's own, the client's, the key's: only where the key allows it; the answer and the message say which."""
    client = NativeClient()
    told = {"x_axonpush_environment": header} if header else {}
    answer = client.event(EVENT | ({"environment": named} if named else {}), x_api_key=secret, **told)
    assert answer.status == 201
    found = answer.headers["x-axonpush-resolved-environment"], answer.headers["x-axonpush-resolved-via"]
    assert found == expected
    assert (answer.json["environment"], client.last[2]["Environment"]) == (expected[0], expected[0])
    assert "Environment-Override" not in client.last[2]


def test_an_environment_that_is_no_slug_is_a_400(client: NativeClient) -> None:
    """Only for keys that may name one."""
    body = EVENT | {"environment": "Not A Slug"}
    assert client.event(body, x_api_key=OVERRIDE).status == 400
    assert client.event(body).status == 201


# --- idempotency keys


def test_a_repeat_gets_the_first_answer(client: NativeClient) -> None:
    """The same id, key and time with `duplicate: true`, and nothing is stored a second time."""
    first = client.event(idempotency_key="order-7")
    again = client.event(idempotency_key="order-7")
    assert "duplicate" not in first.json
    assert again.json == first.json | {"duplicate": True}
    assert (first.status, again.status, first.json["dedupKey"]) == (201, 201, "order-7")
    assert len(client.publisher.published) == 1


def test_new_trace_ids_do_not_make_it_another_event(client: NativeClient) -> None:
    """SDKs draw them anew for every call."""
    client.event(EVENT | {"traceId": "a", "spanId": "b"}, idempotency_key="k")
    assert client.event(EVENT | {"traceId": "c", "sync": False}, idempotency_key="k").json["duplicate"] is True


@pytest.mark.parametrize("change", [{"payload": {}}, {"identifier": "b"}, {"eventType": "agent.log"}, {"agentId": "x"}])
def test_another_event_under_the_same_key_is_a_422(client: NativeClient, change: dict[str, Any]) -> None:
    """It would be lost without a word otherwise."""
    client.event(idempotency_key="k")
    answer = client.event(EVENT | change, idempotency_key="k")
    assert (answer.status, answer.json["code"]) == (422, "unprocessable")
    assert len(client.publisher.published) == 1


def test_keys_of_two_channels_are_two_keys(client: NativeClient) -> None:
    """So are those of two organisations, since a channel belongs to one."""
    first = client.event(idempotency_key="k")
    other = client.event(EVENT | {"channel_id": 43}, idempotency_key="k")
    assert "duplicate" not in other.json
    assert other.json["eventId"] != first.json["eventId"]


def test_a_dedup_key_in_the_body_is_one_too(client: NativeClient) -> None:
    """The first event under it wins, whatever a later one says: that is what it is for."""
    first = client.event(EVENT | {"dedupKey": "d"})
    again = client.event(EVENT | {"dedupKey": "d", "identifier": "other", "payload": {}})
    assert again.json == first.json | {"duplicate": True}
    assert again.json["identifier"] == "web_search"


def test_a_first_attempt_that_failed_is_made_good(client: NativeClient) -> None:
    """The repeat stores it as the same message with the first one's time, so at most one row comes of both."""
    client.publisher.error = Unavailable("timeout")
    assert client.event(idempotency_key="k").status == 503
    client.publisher.error = None
    ((whose, claimed),) = client.firsts.firsts.items()
    assert claimed.seq == 0
    client.firsts.firsts[whose] = dataclasses.replace(claimed, received_at_ns=777)
    assert client.event(idempotency_key="k").status == 201
    told = client.last[2]
    expected = native_event.keyed_id(native_event.key_name(42, "secret", "production", "k"), claimed.fingerprint)
    assert (told["Nats-Msg-Id"], told["Received-At"], told["Environment"]) == (expected, "777", "production")
    assert client.firsts.firsts[whose].seq == 1


def test_a_lost_mark_loses_nothing(client: NativeClient) -> None:
    """The event is stored and answered; a repeat is stored again as the same message."""
    client.firsts.mark_fails = True
    first, again = client.event(idempotency_key="k"), client.event(idempotency_key="k")
    assert (first.status, again.status) == (201, 201)
    assert first.json["eventId"] == again.json["eventId"]
    assert len({told["Nats-Msg-Id"] for _, _, told in client.publisher.published}) == 1


def test_a_bucket_that_is_away_is_a_503(client: NativeClient) -> None:
    """Without it nobody knows whether the event is a repeat; events without a key go on."""
    client.firsts.away = True
    assert client.event(idempotency_key="k").status == 503
    assert client.event().status == 201


def test_an_endless_key_is_refused(client: NativeClient) -> None:
    """255 characters are enough."""
    assert client.event(idempotency_key="k" * 255).status == 201
    assert client.event(idempotency_key="k" * 256).status == 400


# --- sync


def test_sync_answers_when_the_row_is_there(client: NativeClient) -> None:
    """The message asks for the answer after the insert; `status` says that it came."""
    client.replying(accepted=1, stored=True)
    answer = client.event(EVENT | {"sync": True})
    assert (answer.status, answer.json["status"]) == (201, "stored")
    assert client.last[2]["Sync"] == "1"


def test_sync_without_a_row_in_time_is_a_504_that_names_the_event() -> None:
    """Stored, not confirmed: neither the success that was asked for, nor a 503 that would have it sent twice."""
    client = NativeClient(sync_wait_ms=1)
    answer = client.event(EVENT | {"sync": True})
    told = client.last[2]
    assert (answer.status, answer.json["code"]) == (504, "not_confirmed")
    assert native_event.id_text(native_event.event_id(42, told["Nats-Msg-Id"])) in answer.json["message"]


def test_sync_stops_waiting_when_replies_stopped() -> None:
    """After five in vain the answer comes at once: waiting requests must not become the outage."""
    client = NativeClient(sync_wait_ms=1)
    for _ in range(5):
        assert client.event(EVENT | {"sync": True}).status == 504
    answer = client.event(EVENT | {"sync": True})
    assert answer.status == 504
    assert "Counts-To" not in client.last[2]


def test_sync_says_when_the_row_was_refused(client: NativeClient) -> None:
    """ClickHouse did not take it, and never will."""
    client.replying(rejected=1, reasons=["row_refused_6"], stored=True)
    answer = client.event(EVENT | {"sync": True})
    assert answer.status == 422
    assert "row_refused_6" in answer.json["message"]


def test_a_sync_repeat_is_answered_with_what_became_of_the_first(client: NativeClient) -> None:
    """The worker's reply to the first was noted: nothing is stored or read again."""
    client.replying(accepted=1, stored=True)
    first = client.event(idempotency_key="k")
    answer = client.event(EVENT | {"sync": True, "spanId": "new"}, idempotency_key="k")
    assert answer.json["eventId"] == first.json["eventId"]
    assert (answer.status, answer.json["status"], answer.json["duplicate"]) == (201, "stored", True)
    assert len(client.publisher.published) == 1


def test_a_sync_repeat_whose_first_was_left_alone_is_processed_once_more(client: NativeClient) -> None:
    """Its receiver died before the reply: the repeat goes to the workers under a new message id, as the same origin."""
    first = client.event(idempotency_key="k")
    _, _, told = client.last
    ((whose, kept),) = client.firsts.firsts.items()
    client.firsts.firsts[whose] = dataclasses.replace(kept, received_at_ns=kept.received_at_ns - 61 * 10**9)
    client.replying(accepted=1, stored=True)
    answer = client.event(EVENT | {"sync": True, "spanId": "new"}, idempotency_key="k")
    again = client.last[2]
    assert answer.json["eventId"] == first.json["eventId"]
    assert (answer.json["status"], answer.json["duplicate"]) == ("stored", True)
    assert again["Nats-Msg-Id"] != told["Nats-Msg-Id"]
    read = headers.read(again, 99)
    assert (read.origin_id, read.wants_sync) == (told["Nats-Msg-Id"], True)
    assert read.received_at_ns == kept.received_at_ns - 61 * 10**9
    assert client.firsts.firsts[whose].result is BodyResult.ROWS


def test_a_sync_repeat_that_nobody_can_answer_is_a_504() -> None:
    """Its first is stored, and what became of it is not known yet."""
    client = NativeClient(sync_wait_ms=60)
    client.event(idempotency_key="k")
    assert client.event(EVENT | {"sync": True}, idempotency_key="k").status == 504
    assert len(client.publisher.published) == 1


def test_a_repeat_of_a_refused_event_is_refused_and_its_key_is_free(client: NativeClient) -> None:
    """Never a success without a row; a corrected event under the same key is a new one."""
    client.replying(rejected=1, reasons=["row_refused_6"], stored=True)
    assert client.event(EVENT | {"sync": True}, idempotency_key="k").status == 422
    assert client.event(idempotency_key="k").status == 422
    client.replying(accepted=1, stored=True)
    corrected = client.event(EVENT | {"payload": {}, "sync": True}, idempotency_key="k")
    assert (corrected.status, "duplicate" in corrected.json) == (201, False)
    first, second = (told["Nats-Msg-Id"] for _, _, told in client.publisher.published)
    assert first != second


def test_a_body_that_the_broker_never_takes_leaves_its_key_free(client: NativeClient) -> None:
    """413: the same key may come with a smaller body."""
    client.publisher.error = BodyTooLarge("max_payload")
    assert client.event(idempotency_key="k").status == 413
    client.publisher.error = None
    answer = client.event(EVENT | {"payload": {}}, idempotency_key="k")
    assert (answer.status, "duplicate" in answer.json) == (201, False)


# --- whose key it is


def claims(client: NativeClient, *, by: dict[str, str], body: dict[str, Any] | None = None) -> Answered:
    return client.event(EVENT | (body or {"dedupKey": "k"}), **by)


@pytest.mark.parametrize("body", [{"dedupKey": "k"}, {"dedupKey": "k", "sync": True}])
def test_a_public_token_claims_nothing_of_a_secret_keys(client: NativeClient, body: dict[str, Any]) -> None:
    """Whoever comes first: both events are stored, as two messages and two ids, by header and by `dedupKey`."""
    client.replying(accepted=1, stored=True)
    attacker = claims(client, by={"x_api_key": PUBLIC}, body=body)
    victim = claims(client, by={"x_api_key": SECRET}, body=body)
    by_header = {"x_api_key": SECRET, "idempotency_key": "k"}
    assert (attacker.status, victim.status) == (201, 201)
    assert "duplicate" not in victim.json
    assert attacker.json["eventId"] != victim.json["eventId"]
    assert len({told["Nats-Msg-Id"] for _, _, told in client.publisher.published}) == 2
    assert client.event(EVENT, **by_header).json["eventId"] == victim.json["eventId"]


def test_two_keys_of_one_class_share_their_idempotency_keys(client: NativeClient) -> None:
    """A retry after a rotation is still a repeat; so are two public tokens' events."""
    client.event(EVENT | {"dedupKey": "k"})
    assert client.event(EVENT | {"dedupKey": "k"}, x_api_key=ONE_CHANNEL).json["duplicate"] is True


@pytest.mark.parametrize("said", [{"x_axonpush_environment": "canary"}, {"body": "canary"}])
def test_an_idempotency_key_belongs_to_an_environment(client: NativeClient, said: dict[str, str]) -> None:
    """By header or in the body, where the key allows it; another key's header changes nothing."""
    client.event(idempotency_key="k", x_api_key=OVERRIDE)
    body = EVENT | ({"environment": "canary"} if "body" in said else {})
    told = {name: text for name, text in said.items() if name != "body"}
    other = client.event(body, idempotency_key="k", x_api_key=OVERRIDE, **told)
    assert "duplicate" not in other.json
    assert other.json["environment"] == "canary"
    assert client.event(body, idempotency_key="k", x_api_key=OVERRIDE, **told).json["duplicate"] is True
    assert client.event(body, idempotency_key="k", **told).json["duplicate"] is True
    assert len(client.publisher.published) == 2


def test_a_batch_is_claimed_by_class_and_environment_too(client: NativeClient) -> None:
    """The same rule for `/event/batch`."""
    body = {"channel_id": 42, "events": [{"identifier": "a", "payload": {}}]}
    client.event(body, "/event/batch", idempotency_key="k", x_api_key=PUBLIC)
    answer = client.event(body, "/event/batch", idempotency_key="k")
    assert "duplicate" not in answer.json["data"][0]
    assert len(client.publisher.published) == 2


# --- batches


def test_a_batch_is_one_message_and_an_answer_for_each(client: NativeClient) -> None:
    """202; ids are those of the rows, in order."""
    body = {"channel_id": "42", "events": [{"identifier": "a", "payload": {}}, {"identifier": "b", "payload": {}}]}
    answer = client.event(body, "/event/batch")
    told = client.last[2]
    assert (answer.status, answer.json["accepted"], told["Resource"]) == (202, 2, "batch")
    assert len(client.publisher.published) == 1
    assert [one["identifier"] for one in answer.json["data"]] == ["a", "b"]
    expected = [native_event.id_text(native_event.event_id(42, told["Nats-Msg-Id"], ordinal)) for ordinal in (0, 1)]
    assert [one["eventId"] for one in answer.json["data"]] == expected
    assert all(one.keys() >= ANSWER_KEYS for one in answer.json["data"])


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (None, "events"),
        ([], "at least one"),
        ({}, "events"),
        ([{"identifier": "a", "payload": {}}, {"identifier": "b"}], "events[1].payload"),
        ([7], "events[0]"),
        ([{}] * 10_001, "10000"),
    ],
)
def test_one_bad_event_refuses_the_batch(client: NativeClient, events: Any, words: str) -> None:
    """400 that says which one; nothing is stored."""
    answer = client.event({"channel_id": 42, "events": events}, "/event/batch")
    assert answer.status == 400
    assert words in answer.json["message"]
    assert client.publisher.published == []


def test_a_repeated_batch_gets_the_first_answer(client: NativeClient) -> None:
    """One key for all of it."""
    body = {"channel_id": 42, "events": [{"identifier": "a", "payload": {}}, {"identifier": "b", "payload": {}}]}
    first = client.event(body, "/event/batch", idempotency_key="k")
    again = client.event(body, "/event/batch", idempotency_key="k")
    assert again.json["data"] == [one | {"duplicate": True} for one in first.json["data"]]
    assert len(client.publisher.published) == 1


# --- anything


@given(body=st.dictionaries(st.sampled_from([*EVENT, "events", "sync", "eventType", "metadata", "dedupKey"]), anything))
def test_no_json_makes_a_500(body: dict[str, Any]) -> None:
    """Whatever stands where: an answer from the list, in JSON."""
    raw = json.dumps(body).encode()
    for path in ("/event", "/event/batch"):
        answer = NativeClient(sync_wait_ms=1).event(raw, path)
        assert answer.status in {201, 202, 400, 404, 504}
        assert answer.json
