"""What consoles ask: tests are bounded, and use what is stored for the rule that they name and no other."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import orjson
import pytest

from console.alerts import requests as requests_module
from console.alerts.deliver.message import DeliveryFailed
from console.alerts.deliver.sender import Outbox
from console.alerts.history import History
from console.alerts.requests import OF_ONE_ORGANISATION, TESTS_PER_MINUTE, Requests
from console.alerts.rules.source import RuleSource
from tests.unit.console.alerts.world import MemoryEntries, Process, World

pytestmark = pytest.mark.asyncio
STORED = {"uuid": "a5", "kind": "webhook", "target": "https://hooks.test/x", "to": []}


class Http:
    """Keeps to which address with which secret was sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.hangs = False

    async def webhook(self, _message: Any, url: str, key: str) -> str:
        self.sent.append((url, key))
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        return "HTTP 200"


class Mail:
    """Keeps whom mails went to, and how many were sent at once."""

    def __init__(self) -> None:
        self.to: list[tuple[str, ...]] = []
        self.now = self.most = 0

    async def send(self, _message: Any, to: tuple[str, ...]) -> str:
        self.to.append(to)
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.001)
        self.now -= 1
        return "accepted"


class Asked:
    """A process that answers."""

    def __init__(self) -> None:
        self.world = World()
        self.world.rule()
        process = Process(self.world)
        self.http, self.mail, self.secrets = Http(), Mail(), MemoryEntries()
        self.secrets.entries = {"a5.url": (b"https://hooks.test/stored", 1), "a5.key": (b"k" * 32, 2)}
        outbox = Outbox(self.secrets, cast("Any", self.http), cast("Any", self.mail))
        source, clickhouse = RuleSource(cast("Any", self.world.clickhouse)), cast("Any", self.world.clickhouse)
        history = History(clickhouse, process.states, process.evaluator)
        self.requests = Requests(source, process.states, outbox, history, clickhouse, "", self.world.clock.now_ns)

    async def test(self, *actions: dict[str, Any], rule: int = 0, **more: Any) -> dict[str, Any]:
        question = {"do": "test", "organisation": "acme", "rule": rule, "kind": "issue", "name": "Said",
                    "actions": actions} | more  # fmt: skip
        answer: dict[str, Any] = orjson.loads(await self.requests.answer(orjson.dumps(question)))
        return answer


def mail(*to: str) -> dict[str, Any]:
    return {"uuid": "m", "kind": "email", "target": "", "to": to}


async def test_a_test_of_a_stored_rule_uses_what_is_stored_for_it() -> None:
    """Whatever else the question says: address, secret, receivers and name are those of the rule."""
    asked = Asked()
    answer = await asked.test(STORED | {"kind": "email", "to": ["x@y.test"]}, rule=5, name="Pay me",
                              secrets={"a5.url": "https://evil.test/"})  # fmt: skip
    assert asked.http.sent == [("https://hooks.test/stored", "k" * 32)]
    assert asked.mail.to == []
    assert [result["delivered"] for result in answer["results"]] == [True]
    assert asked.world.clickhouse.inserted["alert_delivery_rows"][0]["rule_name"] == "Rule 5"


@pytest.mark.parametrize("rule", [0, 6])
async def test_the_secret_of_another_rule_is_not_used(rule: int) -> None:
    """For a rule that is not stored, or does not have the action."""
    asked = Asked()
    asked.world.rule(rule_id=6)
    answer = await asked.test(STORED, rule=rule)
    assert not rule or "found none" in answer["error"]
    assert ("https://hooks.test/stored", "k" * 32) not in asked.http.sent


async def test_tests_are_bounded_in_a_minute() -> None:
    """Of one organisation, each receiver of an e-mail counted; others go on."""
    asked = Asked()
    receivers = [f"a{number}@b.test" for number in range(TESTS_PER_MINUTE // 2)]
    for _ in range(2):
        assert "results" in await asked.test(mail(*receivers))
    assert "test messages a minute" in (await asked.test(mail("a@b.test")))["error"]
    assert "results" in await asked.test(mail("a@b.test"), organisation="zulu")
    asked.world.clock.s += 60.0
    assert "results" in await asked.test(mail("a@b.test"))


async def test_few_tests_are_sent_at_once() -> None:
    """They do not take all threads and connections of real messages, and one organisation not all of those of tests."""
    asked = Asked()
    await asyncio.gather(*(asked.test(*[mail("a@b.test")] * 12) for _ in range(OF_ONE_ORGANISATION)))
    assert (len(asked.mail.to), asked.mail.most) == (48, 3)
    asked.world.clock.s += 60.0
    await asyncio.gather(*(asked.test(*[mail("a@b.test")] * 10, organisation=name) for name in ("acme", "zulu")))
    assert (len(asked.mail.to), asked.mail.most) == (68, 4)


async def test_one_organisation_takes_no_places_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its receiver never answers: what is too much is refused at once, and others are answered."""
    monkeypatch.setattr(requests_module, "TEST_S", 1_000.0)
    asked = Asked()
    asked.http.hangs = True
    hanging = [asyncio.ensure_future(asked.test(STORED, rule=5)) for _ in range(OF_ONE_ORGANISATION)]
    while not asked.http.sent:
        await asyncio.sleep(0)
    assert "at once, found more: wait" in (await asked.test(STORED, rule=5))["error"]
    assert (await asked.test(mail("a@b.test"), organisation="zulu"))["results"]
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)
    asked.http.hangs = False
    assert (await asked.test(STORED, rule=5))["results"]


async def test_a_clock_that_was_ahead_does_not_stop_tests() -> None:
    """What was counted in the future is none of the last minute."""
    asked = Asked()
    receivers = [f"a{number}@b.test" for number in range(TESTS_PER_MINUTE)]
    asked.world.clock.s += 7_200.0
    assert "results" in await asked.test(mail(*receivers))
    asked.world.clock.s -= 7_200.0
    assert "results" in await asked.test(mail(*receivers))


@pytest.mark.parametrize("address", ["=?utf-8?q?x=0A?=@b.test", "a@b.test\r\nBcc: c@d.test", "none", ""])
async def test_an_address_that_is_none_is_refused(address: str) -> None:
    """Also where a console would let it pass."""
    asked = Asked()
    assert "expected addresses" in (await asked.test(mail(address)))["error"]
    assert asked.mail.to == []


async def test_an_address_that_is_not_stored_yet_is_tried_again() -> None:
    """A server of the broker that is behind; a webhook is never signed with an empty secret."""
    asked = Asked()
    for name in ("a5.key", "a5.url"):
        del asked.secrets.entries[name]
        (result,) = (await asked.test(STORED, rule=5))["results"]
        assert "not stored" in result["answer"]
    assert asked.http.sent == []
    known = await asked.requests.source.one("acme", 5)
    assert known is not None
    assert known.rule is not None
    with pytest.raises(DeliveryFailed) as failed:
        await asked.requests.outbox.send(known.rule.head.actions[0], cast("Any", None))
    assert not failed.value.is_final


async def test_a_test_that_takes_long_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the console stops waiting; the others of it have their results."""
    monkeypatch.setattr(requests_module, "TEST_S", 0.05)
    asked = Asked()
    asked.http.hangs = True
    results = (await asked.test(STORED, mail("a@b.test")))["results"]
    assert [result["delivered"] for result in results] == [False, True]
    assert "no answer within" in results[0]["answer"]
