"""Which message a body is: what makes two of them one, what does not, and that it stays so from version to version."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from receiver.delivery import identity
from receiver.delivery.counts import Inbox
from receiver.delivery.idempotency import RecordOwner
from schemas import native_event
from schemas.counts import Counts
from tests.unit.receiver.endpoints.test_native import FakeFirstAnswers
from tests.unit.receiver.test_app import LOGS, ONE_CHANNEL, OVERRIDE, PUBLIC, SECRET, Answered, Client, auth, otlp

SAID = ("0" * 64, "production", False, 42, "otlp.logs", "v1/logs", "batch", "a=1", "application/json", "identity")
FORM = "multipart/form-data; boundary="


class Receivers:
    """Receivers beside one broker and its buckets, each with a memory of its own. A worker answers what is new."""

    def __init__(self, number: int, **settings: Any) -> None:
        first = Client(counts_wait_otlp_ms=2000, counts_wait_sentry_ms=2000, **settings)
        self.clients = [first]
        for _ in range(number - 1):
            other = Client(counts_wait_otlp_ms=2000, counts_wait_sentry_ms=2000, **settings)
            other.publisher = other.steps.delivery.publisher = first.publisher
            self.clients.append(other)
        self.answers = FakeFirstAnswers()
        for one in self.clients:
            one.steps.delivery.first_answers = self.answers
        self.judge: Counts = Counts(stage="otlp_log", accepted=1, expect=None)
        first.publisher.on_publish = self._reply

    def _reply(self, told: dict[str, str]) -> None:
        """Only the first message of an id reaches a worker."""
        published = self.clients[0].publisher.published
        if sum(known["Nats-Msg-Id"] == told["Nats-Msg-Id"] for _, _, known in published) == 1 and "Counts-To" in told:
            for client in self.clients:
                client.inbox.deliver(told["Counts-To"].rpartition(".")[2], self.judge.encode())

    @property
    def ids(self) -> list[str]:
        return [told["Nats-Msg-Id"] for _, _, told in self.clients[0].publisher.published]


@pytest.fixture
def client() -> Client:
    return Client()


def ids_of(client: Client) -> list[str]:
    return [told["Nats-Msg-Id"] for _, _, told in client.publisher.published]


def test_ids_stay_what_they_are() -> None:
    """A retry that meets a receiver of another build of this version must not become a second event."""
    sender = identity.prefix(*SAID)
    assert identity.message_id(sender, b"body") == "2115d2ca385059ccf0842c22af128b44"
    assert identity.message_id(sender, b"body", b"salt") == "faffe40ef86caacf03e29c753e9c8901"
    name = native_event.key_name(42, "secret", "production", "order-7")
    assert name.hex() == "aa2c809e82a4ef3c43907cb7c3b95315"
    assert native_event.keyed_id(name, bytes(16)) == "e7a80e491dae5aea2fb78ec1f64e0467"


@pytest.mark.parametrize("place", range(len(SAID)))
def test_every_part_of_a_sender_makes_another_message(place: int) -> None:
    """Also where a part could be mistaken for the end of the one before it."""
    one = identity.message_id(identity.prefix(*SAID), b"x")
    changed = [*SAID]
    changed[place] = f"{SAID[place]}1"
    moved = [*SAID]
    moved[place - 1] = f"{SAID[place - 1]}{SAID[place]}"
    moved[place] = ""
    assert one == identity.message_id(identity.prefix(*SAID), b"x")
    others = {identity.message_id(identity.prefix(*parts), b"x") for parts in (changed, moved)}
    assert len(others | {one, identity.message_id(identity.prefix(*SAID), b"y")}) == 4


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("application/json", "Application/JSON"),
        ("application/json", "application/json; charset=utf-8"),
        ("application/json;charset=UTF-8", ' application/json ; Charset="utf-8"'),
        (f"{FORM}abc; charset=utf-8", 'Multipart/Form-Data; charset=latin-1; boundary="abc"'),
        ("", " "),
    ],
)
def test_ways_to_write_one_media_type_are_one(first: str, second: str) -> None:
    """What no reader looks at makes no new message: SDKs and proxies write it as they like."""
    assert identity.media_type(first) == identity.media_type(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("application/json", "application/x-protobuf"),
        ("application/json", ""),
        ("application/json", "application/csp-report"),
        (f"{FORM}abc", f"{FORM}ABC"),
        (f"{FORM}abc", "multipart/form-data"),
    ],
)
def test_another_media_type_is_another(first: str, second: str) -> None:
    """The boundary of a form says where its parts are."""
    assert identity.media_type(first) != identity.media_type(second)


def test_a_retry_is_the_same_message(client: Client) -> None:
    """Another connection, client version, spelling of the path or of the media type: one message."""
    assert client.post("/v1/logs", LOGS, **otlp()).status == 200
    again = otlp(content_type="Application/json; charset=utf-8") | {
        "user_agent": "other/2",
        "x_forwarded_for": "9.9.9.9",
    }
    assert client.post("//v1/logs/", LOGS, **again).status == 200
    assert len(set(ids_of(client))) == 1


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/logs", otlp(ONE_CHANNEL)),
        ("/v1/logs", otlp(PUBLIC)),
        ("/v1/logs", otlp(channel="43")),
        ("/v1/logs", otlp(OVERRIDE)),
        ("/v1/logs", otlp(OVERRIDE) | {"x_axonpush_environment": "canary"}),
        ("/v1/logs", otlp(OVERRIDE) | {"x_axonpush_environment": "production"}),
        ("/v1/logs", otlp(content_type="application/x-protobuf")),
        ("/v1/traces", otlp()),
        ("/api/42/integration/otlp/v1/logs", {"x_sentry_auth": auth(), "content_type": "application/json"}),
    ],
)
def test_the_same_bytes_by_another_sender_are_another_message(
    client: Client, path: str, headers: dict[str, str]
) -> None:
    """Key, environment, channel, path, media type."""
    assert client.post("/v1/logs", LOGS, **otlp()).status == 200
    assert client.post(path, LOGS, **headers).status == 200
    assert len(set(ids_of(client))) == 2


def test_a_header_that_does_not_count_makes_no_other_message(client: Client) -> None:
    """A key without the right to override stays in its environment, and so does the message."""
    client.post("/v1/logs", LOGS, **otlp())
    client.post("/v1/logs", LOGS, **otlp(), x_axonpush_environment="canary")
    assert len(set(ids_of(client))) == 1


# --- bodies that were refused

BAD = Counts(stage="otlp_log", invalid="protobuf: expected a message, found an end")


def logs(client: Client, **headers: str) -> Answered:
    return client.post("/v1/logs", LOGS, **(otlp(content_type="application/x-protobuf") | headers))


def test_a_corrected_media_type_is_a_new_message() -> None:
    """400 for JSON called protobuf; the same bytes as what they are, on the same receiver, are stored."""
    system = Receivers(1)
    system.judge = BAD
    assert logs(system.clients[0]).status == 400
    system.judge = Counts(stage="otlp_log", accepted=1)
    assert logs(system.clients[0], content_type="application/json").status == 200
    assert len(set(system.ids)) == 2


def test_a_refused_body_is_refused_again_on_every_receiver() -> None:
    """The broker takes it for a duplicate, so no worker would say again what is wrong with it."""
    system = Receivers(3)
    system.judge = BAD
    assert [logs(client).status for client in (*system.clients, *system.clients)] == [400] * 6
    assert len(set(system.ids)) == 1


def test_a_receiver_that_was_restarted_refuses_it_too() -> None:
    """Its memory is gone; what it has noted is not. Another key's equal bytes are judged for themselves."""
    system = Receivers(1)
    system.judge = BAD
    client = system.clients[0]
    assert logs(client).status == 400
    client.inbox = client.steps.delivery.inbox = Inbox("_INBOX.restarted")
    answer = logs(client)
    assert answer.status == 400
    assert b"refused a short while ago" in answer.body
    system.judge = Counts(stage="otlp_log", accepted=1)
    assert logs(client, x_api_key=OVERRIDE).status == 200


def test_a_refusal_that_cannot_be_looked_up_is_no_success() -> None:
    """503: the same bytes may come again."""
    system = Receivers(2)
    system.judge = BAD
    assert logs(system.clients[0]).status == 400
    system.answers.away = True
    assert logs(system.clients[1]).status == 503


def test_a_repeat_of_an_accepted_body_is_a_success_everywhere() -> None:
    """As ever: one message, and 200 for each copy."""
    system = Receivers(2)
    assert [logs(client).status for client in system.clients] == [200, 200]
    assert system.answers.refused == set()
    assert len(set(system.ids)) == 1


def test_refusals_are_noted_by_class() -> None:
    """So that a public token cannot push out what was noted of a secret key."""
    system = Receivers(1)
    system.judge = BAD
    logs(system.clients[0])
    assert {owner for owner, _ in system.answers.refused} == {RecordOwner("default", "secret")}
    assert SECRET not in repr(system.answers.refused)


@pytest.mark.asyncio
async def test_a_copy_that_comes_meanwhile_hears_the_same_verdict() -> None:
    """Two requests with one body at once: the second waits for the worker's word on the first."""
    client = Client(counts_wait_otlp_ms=30_000)
    headers = [(name.replace("_", "-").encode(), text.encode()) for name, text in otlp().items()]
    statuses: list[int] = []

    async def post() -> None:
        waiting = [{"type": "http.request", "body": LOGS, "more_body": False}]
        scope = {"type": "http", "method": "POST", "path": "/v1/logs", "query_string": b"", "headers": headers}

        async def receive() -> dict[str, Any]:
            return waiting.pop()

        async def send(message: Any) -> None:
            statuses.extend([message["status"]] if "status" in message else [])

        await client.app(scope, receive, send)

    tasks = [asyncio.create_task(post()) for _ in range(2)]
    while len(client.publisher.published) < 2:
        await asyncio.sleep(0)
    token = client.publisher.published[0][2]["Counts-To"].rpartition(".")[2]
    client.inbox.deliver(token, BAD.encode())
    await asyncio.gather(*tasks)
    assert statuses == [400, 400]
    assert len(set(ids_of(client))) == 1
