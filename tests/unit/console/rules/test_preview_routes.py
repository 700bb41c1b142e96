"""The preview of a rule through the Web API: whose, of which time, how many at once."""

from __future__ import annotations

from typing import Any

import pytest

from console.rules import preview_routes
from tests.unit.console.fakes import NOW, READ_ONLY, client, services
from tests.unit.console.rules.test_rules import (
    ISSUE_RULE,
    ISSUE_RULES,
    METRIC_RULE,
    MONITOR_RULE,
    Kept,
    changed,
)

pytestmark = pytest.mark.asyncio
ALERTS = "/api/0/organizations/acme/alerts/"
NEW = f"{ALERTS}preview/"


def asked(kind: str, rule: Any, project: str = "web") -> dict[str, Any]:
    return {"kind": kind, "rule": rule, "project": project}


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        ("issue", changed(ISSUE_RULE, actions=...)),
        ("issue", changed(ISSUE_RULE, actions=[{"type": "webhook", "url": ""}], name="")),
        ("metric", METRIC_RULE),
        ("monitor", changed(MONITOR_RULE, actions=...)),
    ],
)
async def test_a_rule_that_is_being_made(kind: str, rule: dict[str, Any]) -> None:
    """Addresses may still be missing; nothing is stored."""
    kept = Kept()
    made = services(kept)
    async with client(made) as asking:
        answer = await asking.post(NEW, json=asked(kind, rule))
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    assert (shown["number"], shown["firings"], shown["isCut"]) == (0, [], False)
    assert shown["to"] == f"{NOW:%Y-%m-%dT%H:%M:%S}.000000Z"
    assert kept.inserted == []
    assert all(parameters["organisation"] == "acme" for _, parameters in kept.asked)
    assert made.previews == set()


async def test_a_stored_rule() -> None:
    """By its number; who may only read alerts may ask."""
    kept = Kept()
    async with client(services(kept)) as asking:
        rule = (await asking.post(ISSUE_RULES, json=ISSUE_RULE)).json()
        assert (await asking.post(f"{ALERTS}{rule['id']}/preview/")).json()["when"] == "a new issue"
        assert (await asking.post(f"{ALERTS}9/preview/")).status_code == 404


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (asked("moon", ISSUE_RULE), "kind: expected one of issue, metric, monitor"),
        (asked("issue", []), "rule: expected an object"),
        (asked("issue", {"sql": 1}), "rule: expected fields of"),
        (asked("issue", changed(ISSUE_RULE, conditions=[{"id": "x"}])), "conditions[0].id: expected a condition"),
        (asked("metric", changed(METRIC_RULE, triggers=5)), "triggers: expected"),
        (asked("metric", changed(METRIC_RULE, triggers=[5])), "triggers"),
        ({"kind": "issue", "rule": ISSUE_RULE, "project": 5}, "project: expected a text"),
        ({"other": 1}, "body: expected fields of"),
    ],
)
async def test_a_wrong_question_is_refused(body: dict[str, Any], expected: str) -> None:
    """With what would be right."""
    async with client(services(Kept())) as asking:
        answer = await asking.post(NEW, json=body)
    assert answer.status_code == 400
    assert expected in answer.json()["detail"]


@pytest.mark.parametrize(("period", "status"), [("1h", 200), ("14d", 200), ("59m", 400), ("15d", 400), ("x", 400)])
async def test_the_time_is_bounded(period: str, status: int) -> None:
    """An hour to two weeks."""
    async with client(services(Kept())) as asking:
        assert (await asking.post(f"{NEW}?statsPeriod={period}", json=asked("issue", ISSUE_RULE))).status_code == status


@pytest.mark.parametrize("running", [{"acme"}, {"zulu", "yankee"}])
async def test_previews_do_not_take_all_of_clickhouse(running: set[str]) -> None:
    """One of an organisation and few together; more are told to come again."""
    made = services(Kept())
    made.previews = set(running)
    async with client(made) as asking:
        answer = await asking.post(NEW, json=asked("issue", ISSUE_RULE))
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "5")
    assert made.previews == running
    assert preview_routes.AT_ONCE == 2


async def test_who_may_not_make_rules_cannot_ask_about_texts_of_events() -> None:
    """A rule of a request can search them; a project of others is not there."""
    async with client(services(Kept()), READ_ONLY) as asking:
        assert (await asking.post(NEW, json=asked("issue", ISSUE_RULE))).status_code == 403
    async with client(services(Kept())) as asking:
        assert (await asking.post(NEW, json=asked("issue", ISSUE_RULE, "secret"))).status_code == 404
