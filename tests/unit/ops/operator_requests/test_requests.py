"""Requests of consoles to the janitor: every one is checked again, and its answer goes to an inbox only."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from nats.errors import TimeoutError as NatsTimeout

from ops.operator_requests import serve
from ops.operator_requests.places import AT_ONCE, DEAD_LETTERS_AT_ONCE, OF_ONE_ORGANISATION
from ops.operator_requests.serve import ANSWER_SUBJECTS, OperatorRequests
from ops.registry.changes import RegistryWriter
from ops.registry.key_options import KeyOptions
from ops.registry.tokens import TokenOptions
from ops.runtime.settings import Settings
from schemas.operator_requests.actions import (
    CREATE_CHANNEL,
    CREATE_KEY,
    DROP_DEAD_LETTERS,
    RENAME_CHANNEL,
    RETRY_DEAD_LETTERS,
    REVOKE_KEY,
    SCOPES_OF_ACTIONS,
)
from schemas.operator_requests.messages import MAX_BYTES, OperatorAnswer, OperatorRequest, read_answer, read_request
from schemas.registry import Channel, Environment, Key, Token, key_hash
from schemas.subjects import CONTROL_BUCKET, REGISTRY_BUCKET
from tests.unit.broker_fake import BrokerFake, bucket

pytestmark = pytest.mark.asyncio
ADMIN, READER, FOREIGN, REVOKED = "admin", "reader", "foreign", "revoked"
NEW_KEY = {"sha256": "c" * 64, "kind": "public", "environment": "production", "channel": 1, "name": "shop"}
NAMED = {
    CREATE_KEY: NEW_KEY,
    REVOKE_KEY: {"key_id": "a" * 16},
    CREATE_CHANNEL: {"name": "x"},
    RENAME_CHANNEL: {"channel": 1, "name": "x"},
    RETRY_DEAD_LETTERS: {"numbers": [1]},
    DROP_DEAD_LETTERS: {"numbers": [1]},
}


class Site:
    """Two organisations, `acme` with channel 1 and `others` with channel 9, and four tokens."""

    def __init__(self) -> None:
        self.broker = BrokerFake(bucket(REGISTRY_BUCKET), bucket(CONTROL_BUCKET))
        self.requests = OperatorRequests(self.broker, Settings())  # type: ignore[arg-type]

    async def writer(self, organisation: str) -> RegistryWriter:
        return RegistryWriter(self.broker, await self.broker.key_value(REGISTRY_BUCKET), organisation)  # type: ignore[arg-type]

    async def fill(self) -> Site:
        acme, others = await self.writer("acme"), await self.writer("others")
        await acme.create_environment("production")
        await acme.create_channel(1, "Web")
        await others.create_channel(9, "Secret")
        await others.create_environment("production")
        await others.register(KeyOptions("production", channels=(9,)), "b" * 64)
        await acme.register(KeyOptions("production", channels=(1,)), "a" * 64)
        every = tuple(SCOPES_OF_ACTIONS.values())
        await acme.tokens.mint(TokenOptions(every), ADMIN)
        await acme.tokens.mint(TokenOptions(("project:write", "event:write")), READER)
        await acme.tokens.mint(TokenOptions(every), REVOKED)
        await acme.tokens.revoke(REVOKED)
        await others.tokens.mint(TokenOptions(every), FOREIGN)
        return self

    async def ask(
        self, action: str, given: dict[str, Any], token: str = ADMIN, organisation: str = "acme"
    ) -> OperatorAnswer:
        request = OperatorRequest(action, organisation, key_hash(token), given)
        return await self.requests.answer_to(request.encoded())

    def stored(self) -> int:
        """Changes of the registry so far."""
        return self.broker.streams[f"KV_{REGISTRY_BUCKET}"].last_seq

    async def every(self, model: type[Key] | type[Channel] | type[Environment]) -> list[Any]:
        registry = await self.writer("acme")
        lists = {Key: registry.all_keys, Channel: registry.all_channels, Environment: registry.environments}
        return list(await lists[model]())


@pytest.mark.parametrize("action", SCOPES_OF_ACTIONS)
@pytest.mark.parametrize(
    ("token", "organisation"),
    [(READER, "acme"), (REVOKED, "acme"), ("unheard-of", "acme"), (FOREIGN, "acme"), (ADMIN, "others"), ("*", "acme")],
)
async def test_a_token_that_may_not_is_refused_whatever_the_console_says(
    action: str, token: str, organisation: str
) -> None:
    """Unknown, revoked, of another organisation, or without the scope; nothing is written."""
    site = await Site().fill()
    before = site.stored()
    answer = await site.ask(action, NAMED[action], token, organisation)
    assert answer.status == 403
    assert site.stored() == before
    assert FOREIGN not in answer.detail


@pytest.mark.parametrize("sha256", ["", "*", ">", "a.b", "é" * 64, "A" * 64])
async def test_what_is_no_hash_names_no_entry(sha256: str) -> None:
    """It would be a part of a subject."""
    site = await Site().fill()
    request = OperatorRequest(CREATE_KEY, "acme", sha256, NEW_KEY)
    assert (await site.requests.answer_to(request.encoded())).status == 403


async def test_a_key_is_made_once() -> None:
    """A request that is sent again makes no second one."""
    site = await Site().fill()
    for _ in range(2):
        answer = await site.ask(CREATE_KEY, NEW_KEY)
        assert (answer.status, answer.result["id"], answer.result["channels"]) == (200, "c" * 16, [1])
    assert "c" * 64 not in str(answer.result)
    (made,) = [key for key in await site.every(Key) if key.sha256 == "c" * 64]
    assert (made.organisation, made.kind, made.environment) == ("acme", "public", "production")
    assert made.is_limited, "the default quota of public keys"


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"channel": 9}, 404), ({"channel": 77}, 404), ({"environment": "prodution"}, 400), ({"sha256": "b" * 64}, 409),
        ({"sha256": "x"}, 400), ({"kind": "master"}, 400), ({"more": 1}, 400), ({"environment": "A B"}, 400),
    ],
)  # fmt: skip
async def test_a_key_that_may_not_be(changed: dict[str, Any], status: int) -> None:
    """Of a channel of others, of a mistyped environment, with the hash of another organisation's key."""
    site = await Site().fill()
    before = site.stored()
    answer = await site.ask(CREATE_KEY, NEW_KEY | changed)
    assert (answer.status, site.stored()) == (status, before)
    assert "others" not in answer.detail
    assert "Secret" not in answer.detail


async def test_a_new_environment_is_made_if_it_is_meant() -> None:
    """With the key."""
    site = await Site().fill()
    answer = await site.ask(CREATE_KEY, NEW_KEY | {"environment": "staging", "is_new_environment": True})
    assert answer.status == 200
    assert {one.slug for one in await site.every(Environment)} == {"production", "staging"}


@pytest.mark.parametrize(("key_id", "status", "revoked"), [("a" * 16, 200, True), ("b" * 16, 404, False)])
async def test_a_key_is_revoked_in_the_own_organisation(key_id: str, status: int, revoked: bool) -> None:
    """That of others stays, and is not told from none."""
    site = await Site().fill()
    answer = await site.ask(REVOKE_KEY, {"key_id": key_id})
    assert answer.status == status
    (key,) = [one for one in await site.every(Key) if one.id == key_id]
    assert key.revoked is revoked
    assert "others" not in answer.detail


@pytest.mark.parametrize(("channel", "status"), [(1, 200), (9, 404), (5, 404)])
async def test_a_channel_is_renamed_in_the_own_organisation(channel: int, status: int) -> None:
    """With a slug only if one is named."""
    site = await Site().fill()
    answer = await site.ask(RENAME_CHANNEL, {"channel": channel, "name": "Shop"})
    assert answer.status == status
    names = {one.id: (one.name, one.slug) for one in await site.every(Channel)}
    assert names[9] == ("Secret", "secret")
    assert names[1] == (("Shop", "web") if status == 200 else ("Web", "web"))


async def test_a_channel_gets_a_number_that_no_rows_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a lost broker, tables know channels that the registry does not; without ClickHouse nothing is made."""
    site = await Site().fill()
    owners: dict[int, set[str]] | None = {41: {"others"}}

    async def table_channels(_settings: Settings) -> dict[int, set[str]] | None:
        return owners

    monkeypatch.setattr("ops.operator_requests.registry_changes.table_channels", table_channels)
    answer = await site.ask(CREATE_CHANNEL, {"name": "New shop"})
    assert (answer.status, answer.result["id"], answer.result["slug"]) == (200, 42, "new-shop")
    assert (await site.ask(CREATE_CHANNEL, {"name": "New shop"})).status == 409
    owners = None
    assert (await site.ask(CREATE_CHANNEL, {"name": "Other"})).status == 503
    assert len(await site.every(Channel)) == 3


@pytest.mark.parametrize("given", [{"channels": [9]}, {"channels": [1, 9]}, {"numbers": "x"}, {"channels": [0]}])
async def test_dead_letters_of_others_cannot_be_named(given: dict[str, Any]) -> None:
    """Refused before any is looked at."""
    site = await Site().fill()
    answer = await site.ask(DROP_DEAD_LETTERS, given)
    assert answer.status in (400, 404)
    assert "others" not in answer.detail


class Heard:
    """A message as it arrives; keeps the answers."""

    def __init__(self, body: bytes, reply: str = "_INBOX.console.a.1") -> None:
        self.data = body
        self.reply = reply
        self.answers: list[bytes] = []
        self.error: Exception | None = None

    async def respond(self, body: bytes) -> None:
        if self.error:
            raise self.error
        self.answers.append(body)


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "$KV.registry.key.0",
        "raw.event.5",
        "_INBOX.operator.a.1",
        "_INBOX.receiver.a.1",
        "x._R_.a",
        "operator.requests",
    ],
)
async def test_no_answer_goes_where_its_asker_may_not_write(reply: str) -> None:
    """The janitor may publish anywhere, so the subject that a request names is checked; nothing is done either."""
    site = await Site().fill()
    before = site.stored()
    message = Heard(OperatorRequest(CREATE_KEY, "acme", key_hash(ADMIN), NEW_KEY).encoded(), reply)
    await site.requests.take(message)  # type: ignore[arg-type]
    await site.requests.finish()
    assert (message.answers, site.stored()) == ([], before)


@pytest.mark.parametrize("prefix", ANSWER_SUBJECTS)
async def test_an_answer_goes_to_an_inbox(prefix: str) -> None:
    """Also one that is lost is done once."""
    site = await Site().fill()
    message = Heard(OperatorRequest(CREATE_KEY, "acme", key_hash(ADMIN), NEW_KEY).encoded(), f"{prefix}a.1")
    await site.requests.take(message)  # type: ignore[arg-type]
    await site.requests.finish()
    assert read_answer(message.answers[0]).status == 200
    message.error = NatsTimeout()
    await site.requests.take(message)  # type: ignore[arg-type]
    await site.requests.finish()
    assert len([key for key in await site.every(Key) if key.sha256 == "c" * 64]) == 1


async def test_more_than_a_few_at_once_are_told_to_come_again() -> None:
    """None waits without an answer, and none is begun."""
    site = await Site().fill()
    gate = asyncio.Event()

    async def slow(_body: bytes) -> OperatorAnswer:
        await gate.wait()
        return OperatorAnswer(200)

    site.requests.answer_to = slow  # type: ignore[method-assign]
    messages = [Heard(b"{}") for _ in range(AT_ONCE + 2)]
    for message in messages:
        await site.requests.take(message)  # type: ignore[arg-type]
    assert [read_answer(one).status for message in messages for one in message.answers] == [503, 503]
    gate.set()
    await site.requests.finish()
    assert all(len(message.answers) == 1 for message in messages)


async def test_what_has_begun_with_dead_letters_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for it any more: what is counted as dropped is dropped, and then the next request has its turn."""
    site = await Site().fill()
    gate, steps = asyncio.Event(), list[str]()

    async def decide(action: str, _wanted: object) -> dict[str, Any]:
        steps.append(f"begins {action}")
        await gate.wait()
        steps.append(f"ends {action}")
        return {}

    monkeypatch.setattr(site.requests._dead_letters, "_decide", decide)
    monkeypatch.setattr(serve, "WORK_LIMIT_S", 0.01)
    assert (await site.ask(DROP_DEAD_LETTERS, {"numbers": [1]})).status == 503
    assert (await site.ask(RETRY_DEAD_LETTERS, {"numbers": [1]})).status == 503
    assert steps == [f"begins {DROP_DEAD_LETTERS}"]
    gate.set()
    await site.requests.finish()
    monkeypatch.setattr(serve, "WORK_LIMIT_S", 10.0)
    assert (await site.ask(RETRY_DEAD_LETTERS, {"numbers": [1]})).status == 200
    kinds = (DROP_DEAD_LETTERS, RETRY_DEAD_LETTERS)
    assert steps == [f"{word} {kind}" for kind in kinds for word in ("begins", "ends")]


async def test_one_organisation_does_not_take_the_places_of_others() -> None:
    """Dead letters of four of them take as long as they may: keys of all others are made meanwhile."""
    site = await Site().fill()
    gate = asyncio.Event()

    async def slow(_body: bytes) -> OperatorAnswer:
        await gate.wait()
        return OperatorAnswer(200)

    site.requests.answer_to = slow  # type: ignore[method-assign]

    async def asked(action: str, organisation: str, number: int) -> list[Heard]:
        request = OperatorRequest(action, organisation, "t", {}).encoded()
        messages = [Heard(request) for _ in range(number)]
        for message in messages:
            await site.requests.take(message)  # type: ignore[arg-type]
        return messages

    of_acme = await asked(RETRY_DEAD_LETTERS, "acme", 8)
    assert sum(not message.answers for message in of_acme) == OF_ONE_ORGANISATION
    others = [(await asked(DROP_DEAD_LETTERS, f"o{number}", 1))[0] for number in range(5)]
    assert sum(not message.answers for message in others) == DEAD_LETTERS_AT_ONCE - OF_ONE_ORGANISATION
    keys = [(await asked(CREATE_KEY, name, 1))[0] for name in ("acme", "others", "o1")]
    assert not any(message.answers for message in keys)
    gate.set()
    await site.requests.finish()
    assert not any(message.answers for message in await asked(RETRY_DEAD_LETTERS, "acme", 2))
    await site.requests.finish()


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"\xff", b"{}", b'{"action":1}', b'{"action":"keys.create"}',
        orjson.dumps({"action": "x" * 300, "organisation": "acme", "token": "t", "given": {}}),
        orjson.dumps({"action": "keys.create", "organisation": "acme", "token": "t", "given": []}),
        b'{"a":"' + b"x" * MAX_BYTES + b'"}',
    ],
)  # fmt: skip
async def test_what_is_no_request_is_a_400(body: bytes) -> None:
    """Never an end of the janitor."""
    site = await Site().fill()
    assert (await site.requests.answer_to(body)).status == 400


async def test_an_unknown_action_is_a_400() -> None:
    """A newer console asks an older janitor."""
    assert (await (await Site().fill()).ask("channels.explode", {})).status == 400


@pytest.mark.parametrize(
    ("error", "status"), [(NatsTimeout(), 503), (TimeoutError(), 503), (ValueError("a bug"), 500), (OSError(), 500)]
)
async def test_a_failure_is_an_answer(error: Exception, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says nothing of servers."""
    site = await Site().fill()

    async def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("ops.operator_requests.serve.asking_token", fail)
    answer = await site.ask(CREATE_KEY, NEW_KEY)
    assert answer.status == status
    assert "nats://" not in answer.detail


async def test_messages_go_there_and_back() -> None:
    """Requests and answers."""
    request = OperatorRequest(CREATE_KEY, "acme", "t", {"a": 1})
    assert read_request(request.encoded()) == request
    answer = OperatorAnswer(409, "no", {"b": 2})
    assert read_answer(answer.encoded()) == answer
    for wrong in (b"{}", b'{"status":"1","detail":"","result":{}}', b"x"):
        with pytest.raises(ValueError, match=r"expected|unexpected"):
            read_answer(wrong)


async def test_the_janitor_listens_in_a_group() -> None:
    """Of several janitors, one takes a request; cancelling ends it."""
    from ops.operator_requests.serve import answer_operator_requests

    subscribed: list[Any] = []
    ended: list[bool] = []

    async def subscribe(subject: str, **options: Any) -> Any:
        async def unsubscribe() -> None:
            ended.append(True)

        subscribed.append((subject, options["queue"], bool(options["pending_msgs_limit"])))
        return SimpleNamespace(unsubscribe=unsubscribe)

    task = asyncio.create_task(answer_operator_requests(SimpleNamespace(subscribe=subscribe), Settings()))  # type: ignore[arg-type]
    while not subscribed:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert subscribed == [("operator.requests", "operators", True)]
    assert ended == [True]


async def test_tokens_know_the_new_scopes() -> None:
    """Whoever may administer a project may write it; deciding about dead letters is a right of its own."""
    from schemas.web_tokens import DEFAULT_SCOPES, SCOPES, expand_scopes

    assert set(SCOPES_OF_ACTIONS.values()) <= set(SCOPES)
    assert not set(SCOPES_OF_ACTIONS.values()) & expand_scopes(DEFAULT_SCOPES)
    assert not set(SCOPES_OF_ACTIONS.values()) & expand_scopes(
        ("org:ci", "project:write", "event:write", "alerts:write")
    )
    assert expand_scopes(("project:admin",)) >= {"project:write", "project:read"}


async def test_the_token_of_up_learns_new_scopes() -> None:
    """That of a folder that an older version made."""
    site = await Site().fill()
    acme = await site.writer("acme")
    await acme.tokens.widen(READER, ("project:admin", "event:write"))
    found = await acme.tokens.find(READER)
    assert isinstance(found, Token)
    assert found.scopes == ("project:write", "event:write", "project:admin")
    await acme.tokens.widen("unheard-of", ("project:admin",))
