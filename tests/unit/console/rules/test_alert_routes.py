"""Alerts through the Web API: state, history, tests, secrets; each of one organisation only."""

from __future__ import annotations

from typing import Any, cast

import pytest

from console.api.errors import ApiError
from console.storage.clickhouse import Row
from tests.unit.console.fakes import FOREIGN, READ_ONLY, FakeAlertsLink, FakeClickHouse, client, services
from tests.unit.console.rules.test_rules import (
    COMBINED,
    ISSUE_RULE,
    ISSUE_RULES,
    METRIC_RULE,
    METRIC_RULES,
    Kept,
    changed,
)

pytestmark = pytest.mark.asyncio
ALERTS = "/api/0/organizations/acme/alerts/"
HOOK = {"type": "webhook", "url": "https://hooks.test/in?key=hidden"}
RULE = changed(ISSUE_RULE, actions=[HOOK, {"type": "slack", "url": "https://hooks.slack.com/services/T/B/hidden"}])


class History(Kept):
    """Rules, and rows that `axonpush alerts` wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, list[Row]] = {}
        rules = self.answer

        def answer(sql: str, parameters: dict[str, Any]) -> list[Row]:
            table = next((name for name in self.rows if f"FROM {name}" in sql), "")
            return self.rows[table] if table else rules(sql, parameters)

        self.answer = answer


async def test_secrets_are_shown_once_and_kept_apart() -> None:
    """In the answer that makes the rule; in no list, no row and no later answer."""
    kept = History()
    made = services(kept)
    link = cast("FakeAlertsLink", made.alerts)
    async with client(made) as asking:
        rule = (await asking.post(ISSUE_RULES, json=RULE)).json()
        secret = rule["actions"][0]["secret"]
        assert link.secrets[f"{rule['actions'][0]['uuid']}.key"] == secret
        assert link.secrets[f"{rule['actions'][1]['uuid']}.url"].endswith("hidden")
        one = f"{ISSUE_RULES}{rule['id']}/"
        later = [(await asking.get(path)).text for path in (one, ISSUE_RULES, ALERTS, f"{ALERTS}{rule['id']}/")]
        again = await asking.put(one, json=(await asking.get(one)).json() | {"name": "Renamed"})
        assert all("hidden" not in text and secret not in text for text in (*later, again.text))
        assert "hidden" not in str(kept.inserted)
        assert len(link.secrets) == 3
        await asking.delete(f"{ALERTS}{rule['id']}/")
        assert link.secrets == {}


async def test_secrets_of_actions_that_are_gone_are_removed() -> None:
    """A rule that is saved again and again without uuids, as some tools do, has one set of them."""
    kept = History()
    made = services(kept)
    link = cast("FakeAlertsLink", made.alerts)
    async with client(made) as asking:
        rule = (await asking.post(ISSUE_RULES, json=RULE)).json()
        for _ in range(5):
            changed_rule = (await asking.put(f"{ISSUE_RULES}{rule['id']}/", json=RULE)).json()
            uuids = {action["uuid"] for action in changed_rule["actions"]}
            assert {name.partition(".")[0] for name in link.secrets} == uuids
        assert len(link.secrets) == 3


async def test_a_change_that_is_not_stored_changes_no_address() -> None:
    """ClickHouse is away: the rule tells whom it told, by the secret that it had."""
    kept = History()
    made = services(kept)
    link = cast("FakeAlertsLink", made.alerts)
    async with client(made) as asking:
        rule = (await asking.post(ISSUE_RULES, json=RULE)).json()
        before = dict(link.secrets)

        async def away(_table: str, _rows: list[Row]) -> None:
            raise ApiError(503, "ClickHouse does not answer")

        kept.insert = away  # type: ignore[method-assign]
        actions = [{**rule["actions"][0], "url": "https://other.test/x"}, rule["actions"][1]]
        answer = await asking.put(f"{ISSUE_RULES}{rule['id']}/", json=rule | {"actions": actions})
        assert answer.status_code == 503
        assert {name: link.secrets[name] for name in before} == before


async def test_a_rule_too_many_stores_no_secrets() -> None:
    """Refused requests cannot fill the bucket."""
    sizes = {"rules": 1_000, "actions": 0}
    made = services(FakeClickHouse(lambda sql, _: [sizes] if "FROM alert_rules" in sql else []))
    async with client(made) as asking:
        assert (await asking.post(ISSUE_RULES, json=RULE)).status_code == 400
    assert cast("FakeAlertsLink", made.alerts).secrets == {}


async def test_a_rule_with_its_state() -> None:
    """As `axonpush alerts` last wrote it; a new one has none."""
    kept = History()
    async with client(services(kept)) as asking:
        rule = (await asking.post(ISSUE_RULES, json=RULE)).json()
        (shown,) = (await asking.get(ALERTS)).json()
        assert (shown["state"]["status"], shown["when"], shown["kind"]) == ("new", "a new issue", "issue")
        assert [one["target"] for one in shown["actions"]] == ["https://hooks.test/in?…", "https://hooks.slack.com/…"]
        at = "2026-11-27 12:00:00.000000000"
        kept.rows["alert_states"] = [
            {"rule_id": rule["id"], "status": "firing", "since": at, "evaluated_at": at, "last_fired_at": at,
             "error": "", "value": 3.0}
        ]  # fmt: skip
        kept.rows["alert_deliveries"] = [{"rule_id": rule["id"], "number": 2}]
        (shown,) = (await asking.get(f"{ALERTS}?kind=issue")).json()
        assert (shown["state"]["status"], shown["state"]["failing"]) == ("firing", 2)
        assert (await asking.get(f"{ALERTS}?kind=metric")).json() == []
        assert (await asking.get(f"{ALERTS}?kind=moon")).status_code == 400


async def test_tools_read_when_a_rule_last_told_something() -> None:
    """In every shape of a rule; one that never did says null."""
    kept, last = History(), "2026-11-27T12:00:00.000000Z"
    async with client(services(kept)) as asking:
        rule = (await asking.post(ISSUE_RULES, json=RULE)).json()
        metric = (await asking.post(METRIC_RULES, json=METRIC_RULE)).json()
        assert (rule["lastTriggered"], metric["lastTriggered"]) == (None, None)
        kept.rows["alert_states"] = [{"rule_id": rule["id"], "last_fired_at": "2026-11-27 12:00:00.000000000"}]
        workflows = "/api/0/organizations/acme/workflows/"
        for path in (ISSUE_RULES, f"{COMBINED}{RULE['name']}", workflows):
            assert [entry["lastTriggered"] for entry in (await asking.get(path)).json()] == [last]
        assert (await asking.get(f"{ISSUE_RULES}{rule['id']}/")).json()["lastTriggered"] == last
        again = await asking.put(f"{ISSUE_RULES}{rule['id']}/", json=rule | {"lastTriggered": last})
        assert (again.status_code, again.json()["lastTriggered"]) == (200, last)
        assert (await asking.get(f"{METRIC_RULES}{metric['id']}/")).json()["lastTriggered"] is None


async def test_firings_and_deliveries() -> None:
    """With the names of rules and projects."""
    kept, at = History(), "2026-11-27 12:00:00.000000000"
    kept.rows["alert_firings"] = [
        {"firing_id": "f", "rule_id": 5, "rule_name": "R", "kind": "issue", "channel_id": 1, "status": "firing",
         "severity": "critical", "about": "issue:1:7", "title": "T", "message": "M", "path": "/x", "value": None,
         "fired_at": at}
    ]  # fmt: skip
    kept.rows["alert_deliveries"] = [
        {"delivery_id": "d", "firing_id": "f", "rule_id": 5, "rule_name": "R", "rule_kind": "issue", "title": "T",
         "type": "webhook", "target": "https://a.test/…", "status": "failed", "attempts": 3, "answer": "HTTP 500",
         "created_at": at, "last_at": at, "next_at": "1970-01-01 00:00:00.000000000", "is_test": False}
    ]  # fmt: skip
    async with client(services(kept)) as asking:
        (firing,) = (await asking.get(f"{ALERTS}firings/?rule=5")).json()
        assert (firing["project"], firing["url"]) == ("web", "http://console.test/x")
        (delivery,) = (await asking.get(f"{ALERTS}deliveries/?status=failed")).json()
        assert (delivery["nextTry"], delivery["attempts"], delivery["rule"]["id"]) == (None, 3, "5")
        assert (await asking.get(f"{ALERTS}deliveries/?status=lost")).status_code == 400
        assert (await asking.get(f"{ALERTS}firings/?rule=x")).status_code == 400


async def test_a_test_is_asked_of_the_process_that_sends() -> None:
    """With the actions of the stored rule, one of them, or those of a rule that is not stored yet."""
    kept = History()
    made = services(kept)
    link = cast("FakeAlertsLink", made.alerts)
    async with client(made) as asking:
        rule = (await asking.post(ISSUE_RULES, json=RULE)).json()
        assert (await asking.post(f"{ALERTS}{rule['id']}/test/")).status_code == 200
        only = {"action": rule["actions"][1]["uuid"]}
        await asking.post(f"{ALERTS}{rule['id']}/test/", json=only)
        await asking.post(f"{ALERTS}test/", json={"actions": [HOOK], "name": "Not yet"})
        assert [[one["kind"] for one in question["actions"]] for question in link.asked] == [
            ["webhook", "slack"],
            ["slack"],
            ["webhook"],
        ]
        assert [len(question["secrets"]) for question in link.asked] == [0, 0, 2]
        assert (link.asked[0]["organisation"], link.asked[0]["project"]) == ("acme", "web")
        other = await asking.post(f"{ALERTS}{rule['id']}/test/", json={"action": "x"})
        assert (other.status_code, "uuid" in other.json()["detail"]) == (400, True)
        assert (await asking.post(f"{ALERTS}test/", json={"actions": []})).status_code == 400
        link.answer = {"error": "expected a delivery that was given up"}
        kept.rows["alert_deliveries"] = [{"rule_id": 5}]
        again = await asking.post(f"{ALERTS}deliveries/abc/again/")
        assert (again.status_code, link.asked[-1]["delivery"]) == (400, "abc")


async def test_who_may_only_read_changes_and_sends_nothing() -> None:
    """And another organisation sees nothing at all."""
    kept = History()
    made = services(kept)
    async with client(made) as asking:
        rule = (await asking.post(ISSUE_RULES, json=RULE)).json()
    one = f"{ALERTS}{rule['id']}/"
    async with client(made, READ_ONLY) as asking:
        assert (await asking.get(ALERTS)).status_code == 403
        for path in (f"{one}test/", f"{ALERTS}test/", f"{ALERTS}deliveries/d/again/"):
            assert (await asking.post(path, json={})).status_code == 403
        assert (await asking.delete(one)).status_code == 403
    async with client(made, FOREIGN) as asking:
        for path in (ALERTS, one, f"{ALERTS}firings/", f"{ALERTS}deliveries/"):
            assert (await asking.get(path)).status_code == 404
        assert (await asking.post(f"{one}test/", json={})).status_code == 404
    assert cast("FakeAlertsLink", made.alerts).asked == []


async def test_without_the_broker_nothing_is_stored() -> None:
    """A rule without its addresses could tell nobody."""
    kept = Kept()
    made = services(kept)
    made.alerts = None
    async with client(made) as asking:
        answer = await asking.post(ISSUE_RULES, json=RULE)
    assert (answer.status_code, kept.inserted) == (503, [])
