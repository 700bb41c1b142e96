"""Alert rules and assignments through the Web API: checked, kept, listed, changed, deleted."""

from __future__ import annotations

import copy
from typing import Any
from uuid import uuid4

import pytest

from console.rules.read_rule import MAX_BODY_BYTES
from console.storage.clickhouse import Row
from tests.unit.console.fakes import NOW, FakeClickHouse, client, services
from tests.unit.console.test_routes import one_issue

pytestmark = pytest.mark.asyncio
COMBINED = "/api/0/organizations/acme/combined-rules/?name="
ISSUE_RULES = "/api/0/projects/acme/web/rules/"
METRIC_RULES = "/api/0/organizations/acme/alert-rules/"
ISSUE_RULE: dict[str, Any] = {
    "name": "New errors",
    "actionMatch": "any",
    "filterMatch": "all",
    "conditions": [{"id": "sentry.rules.conditions.first_seen_event.FirstSeenEventCondition"}],
    "actions": [{"id": "sentry.mail.actions.NotifyEmailAction", "targetType": "IssueOwners"}],
    "frequency": 60,
}
EMAIL = ISSUE_RULE["actions"][0]
METRIC_RULE: dict[str, Any] = {
    "name": "Many errors",
    "aggregate": "count()",
    "dataset": "events",
    "query": "level:error",
    "timeWindow": 5,
    "thresholdType": 0,
    "resolveThreshold": 10,
    "triggers": [{"label": "critical", "alertThreshold": 100, "actions": []}],
    "projects": ["web"],
}

MONITOR_RULES = "/api/0/projects/acme/web/monitor-rules/"
MONITOR_RULE: dict[str, Any] = {
    "name": "Nightly",
    "monitor": "nightly",
    "on": ["missed", "late"],
    "failures": 2,
    "schedule": {"type": "crontab", "value": "0 2 * * *"},
    "checkinMargin": 5,
    "timezone": "Europe/Paris",
    "actions": [EMAIL],
}


class Kept(FakeClickHouse):
    """Answers with the rules that were inserted, as the view does: the last row of each, unless it is deleted."""

    def __init__(self) -> None:
        super().__init__(self._rules)

    def _rules(self, sql: str, parameters: dict[str, Any]) -> list[Row]:
        if "FROM alert_rules" not in sql:
            return []
        if "AS actions" in sql:
            return [self._sizes(parameters["rule"])]
        last = {row["rule_id"]: row for table, rows in self.inserted if table == "alert_rule_rows" for row in rows}
        kinds = parameters["kinds"]
        return [
            row
            for row in last.values()
            if row["kind"] in kinds
            and not row.get("is_deleted")
            and parameters.get("rule", row["rule_id"]) == row["rule_id"]
            and set(row["channels"]) & set(parameters["channels"])
        ]

    def _sizes(self, but: int) -> Row:
        last = {row["rule_id"]: row for table, rows in self.inserted if table == "alert_rule_rows" for row in rows}
        bodies = [row["body"] for number, row in last.items() if number != but and not row.get("is_deleted")]
        return {"rules": len(bodies), "actions": sum(body.count('"uuid":') for body in bodies)}


@pytest.mark.parametrize(
    ("path", "rule", "gone"),
    [(ISSUE_RULES, ISSUE_RULE, 202), (METRIC_RULES, METRIC_RULE, 204), (MONITOR_RULES, MONITOR_RULE, 204)],
)
async def test_a_rule_is_kept_as_it_was_said(path: str, rule: dict[str, Any], gone: int) -> None:
    """Created, listed, read, changed and deleted; the number stays."""
    async with client(services(Kept())) as asking:
        made = await asking.post(path, json=rule)
        assert made.status_code == 201
        shown = made.json()
        assert {name: without_ours(shown[name]) for name in rule} == rule
        assert (shown["projects"], shown["dateCreated"]) == (["web"], f"{NOW:%Y-%m-%dT%H:%M:%S}.000000Z")
        one = f"{path}{shown['id']}/"
        assert [entry["id"] for entry in (await asking.get(path)).json()] == [shown["id"]]
        everywhere = "/api/0/organizations/acme/alerts/" if path == MONITOR_RULES else COMBINED + rule["name"][:3]
        assert [entry["id"] for entry in (await asking.get(everywhere)).json()] == [shown["id"]]
        changed = await asking.put(one, json=shown | {"name": "Renamed"})
        assert (changed.status_code, changed.json()["id"]) == (200, shown["id"])
        assert (await asking.get(one)).json()["name"] == "Renamed"
        assert (await asking.delete(one)).status_code == gone
        assert (await asking.get(one)).status_code == 404
        assert (await asking.get(path)).json() == []


def without_ours(value: Any) -> Any:
    """A part of a rule without what the server adds to actions."""
    if isinstance(value, list):
        return [without_ours(one) for one in value]
    if isinstance(value, dict) and "uuid" in value:
        return {name: one for name, one in value.items() if name not in ("uuid", "type", "to")}
    return value


def changed(rule: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {name: value for name, value in (copy.deepcopy(rule) | fields).items() if value is not ...}


@pytest.mark.parametrize(
    ("path", "rule", "expected"),
    [
        (ISSUE_RULES, changed(ISSUE_RULE, name=" "), "name: expected a text"),
        (ISSUE_RULES, changed(ISSUE_RULE, name="x" * 300), "name: expected a text of at most"),
        (ISSUE_RULES, changed(ISSUE_RULE, actions=[]), "actions: expected at least one"),
        (ISSUE_RULES, changed(ISSUE_RULE, conditions={}), "conditions: expected a list"),
        (ISSUE_RULES, changed(ISSUE_RULE, conditions=[1]), "conditions[0]: expected an object"),
        (ISSUE_RULES, changed(ISSUE_RULE, filters=[{}]), "filters[0].id: expected the name"),
        (ISSUE_RULES, changed(ISSUE_RULE, actionMatch="some"), "actionMatch: expected one of all, any, none"),
        (ISSUE_RULES, changed(ISSUE_RULE, actionMatch=["all"]), "actionMatch: expected one of all, any, none"),
        (ISSUE_RULES, changed(ISSUE_RULE, frequency=1), "frequency: expected a number from 5"),
        (ISSUE_RULES, changed(ISSUE_RULE, sql="x"), "body: expected fields of"),
        (ISSUE_RULES, changed(ISSUE_RULE, actions=[EMAIL | {"x": "y" * MAX_BODY_BYTES}]), "body: expected a rule"),
        (ISSUE_RULES, changed(ISSUE_RULE, actions=[{"id": "x"}]), "actions[0]: expected an action that can be done"),
        (ISSUE_RULES, changed(ISSUE_RULE, conditions=[{"id": "x"}]), "conditions[0].id: expected a condition"),
        (ISSUE_RULES, changed(ISSUE_RULE, filters=[{"id": "x"}]), "filters[0].id: expected a filter"),
        (ISSUE_RULES, changed(ISSUE_RULE, filters=[{"id": "axonpush.filters.query", "query": "a:"}]), "query: at"),
        (
            ISSUE_RULES,
            changed(ISSUE_RULE, filters=[{"id": "axonpush.filters.query", "query": "is:resolved"}]),
            "filters[0].query: expected fields of errors",
        ),
        (METRIC_RULES, changed(METRIC_RULE, query="is:resolved"), "query: expected fields of events"),
        (MONITOR_RULES, changed(MONITOR_RULE, on=["asleep"]), "on: expected some of missed"),
        (MONITOR_RULES, changed(MONITOR_RULE, schedule={"type": "crontab", "value": "x"}), "schedule: expected five"),
        (MONITOR_RULES, changed(MONITOR_RULE, schedule=5), "schedule: expected an object"),
        (
            MONITOR_RULES,
            changed(MONITOR_RULE, timezone="Mars/Phobos", schedule={"type": "crontab", "value": "@daily"}),
            "timezone: expected one like",
        ),
        (MONITOR_RULES, changed(MONITOR_RULE, failures=0), "failures: expected a number from 1"),
        (MONITOR_RULES, changed(MONITOR_RULE, actions=[]), "actions: expected at least one"),
        (METRIC_RULES, changed(METRIC_RULE, aggregate="title"), "aggregate: expected a function"),
        (METRIC_RULES, changed(METRIC_RULE, aggregate="drop()"), "field: expected a field, a tag, or one of"),
        (METRIC_RULES, changed(METRIC_RULE, query="level:loud"), "query: at character 1"),
        (METRIC_RULES, changed(METRIC_RULE, dataset="replays"), "dataset: expected one of events"),
        (METRIC_RULES, changed(METRIC_RULE, timeWindow=...), "timeWindow: expected a number"),
        (METRIC_RULES, changed(METRIC_RULE, timeWindow=True), "timeWindow: expected a number"),
        (METRIC_RULES, changed(METRIC_RULE, triggers=[]), "triggers: expected 1 to 2"),
        (METRIC_RULES, changed(METRIC_RULE, triggers=[{"label": "x"}]), "triggers[0].label: expected 'critical'"),
        (METRIC_RULES, changed(METRIC_RULE, triggers=[{"label": "critical"}]), "triggers[0].alertThreshold: expected"),
        (METRIC_RULES, changed(METRIC_RULE, projects=[]), "projects: expected the slug"),
        (METRIC_RULES, changed(METRIC_RULE, projects="web"), "projects: expected a list"),
        (METRIC_RULES, changed(METRIC_RULE, resolveThreshold="10"), "resolveThreshold: expected a number"),
    ],
)
async def test_a_wrong_rule_is_refused(path: str, rule: dict[str, Any], expected: str) -> None:
    """With what would be right, and nothing is kept."""
    kept = Kept()
    async with client(services(kept)) as asking:
        answer = await asking.post(path, json=rule)
    assert (answer.status_code, kept.inserted) == (400, [])
    assert expected in answer.json()["detail"]


async def test_a_rule_names_projects_of_its_organisation_only() -> None:
    """404 for others'; the number of another kind of rule is none."""
    kept = Kept()
    async with client(services(kept)) as asking:
        answer = await asking.post(METRIC_RULES, json=METRIC_RULE | {"projects": ["web", "secret"]})
        assert (answer.status_code, kept.inserted) == (404, [])
        made = (await asking.post(METRIC_RULES, json=METRIC_RULE)).json()
        assert (await asking.get(f"{ISSUE_RULES}{made['id']}/")).status_code == 404
        assert (await asking.get(f"{METRIC_RULES}{'9' * 30}/")).status_code == 404
        assert (await asking.delete(f"{METRIC_RULES}x/")).status_code == 404


@pytest.mark.parametrize(("rules", "actions"), [(1_000, 0), (3, 1_500)])
async def test_rules_are_bounded_in_number(rules: int, actions: int) -> None:
    """1,000 in an organisation, with 1,500 actions: the bucket of their secrets is shared."""
    full = FakeClickHouse(lambda sql, _: [{"rules": rules, "actions": actions}] if "FROM alert_rules" in sql else [])
    async with client(services(full)) as asking:
        answer = await asking.post(ISSUE_RULES, json=ISSUE_RULE)
    assert (answer.status_code, full.inserted) == (400, [])


async def test_a_rule_that_is_changed_does_not_count_itself() -> None:
    """One with fifty actions can be saved again."""
    kept = Kept()
    rule = changed(ISSUE_RULE, actions=[EMAIL] * 50)
    made = services(kept)
    made.new_id = uuid4
    async with client(made) as asking:
        for _ in range(29):
            assert (await asking.post(ISSUE_RULES, json=rule)).status_code == 201
        last = (await asking.post(ISSUE_RULES, json=rule)).json()
        assert (await asking.put(f"{ISSUE_RULES}{last['id']}/", json=rule)).status_code == 200
        assert (await asking.post(ISSUE_RULES, json=ISSUE_RULE)).status_code == 400


@pytest.mark.parametrize(
    ("said", "stored", "shown"),
    [
        ("user:ada", "user:ada", {"type": "user", "id": "ada", "name": "ada", "email": ""}),
        ("ada@example.com", "ada@example.com", None),
        ("team:shop", "team:shop", {"type": "team", "id": "shop", "name": "shop"}),
        ("me", "user:all-of-it", None),
        ("", "", None),
        (None, "", None),
    ],
)
async def test_an_issue_is_assigned(said: str | None, stored: str, shown: dict[str, str] | None) -> None:
    """One and in bulk: a row that says whose it is, and who said so."""
    made = services(FakeClickHouse(one_issue))
    async with client(made) as asking:
        assert (await asking.put("/api/0/issues/77/", json={"assignedTo": said})).status_code == 200
        url = "/api/0/organizations/acme/issues/?id=77"
        bulk = await asking.put(url, json={"assignedTo": said, "status": "resolved"})
    assert bulk.json()["status"] == "resolved"
    assert shown is None or bulk.json()["assignedTo"] == shown
    clickhouse: Any = made.clickhouse
    tables = [table for table, _ in clickhouse.inserted]
    assert tables == ["issue_assignments", "issue_assignments", "issue_changes"]
    (row,) = clickhouse.inserted[0][1]
    assert (row["assigned_to"], row["issue_id"], row["changed_by_name"]) == (stored, 77, "all-of-it")


async def test_an_assignee_that_is_no_text_is_refused() -> None:
    """Or one that is too long."""
    made = services(FakeClickHouse(one_issue))
    async with client(made) as asking:
        for said in (7, ["a"], "x" * 300):
            assert (await asking.put("/api/0/issues/77/", json={"assignedTo": said})).status_code == 400


async def test_a_list_has_charts() -> None:
    """24 hours or 14 days, every interval; none where none is wanted."""
    now_s = int(NOW.timestamp())

    def answers(sql: str, parameters: dict[str, Any]) -> list[Row]:
        if "FROM error_rows" in sql and "AS at" in sql:
            return [{"issue_id": 77, "at": now_s // parameters["interval"] * parameters["interval"], "times": 3}]
        return one_issue(sql, parameters)

    async with client(services(FakeClickHouse(answers))) as asking:
        url = "/api/0/organizations/acme/issues/"
        (day,) = (await asking.get(url)).json()
        (fortnight,) = (await asking.get(url, params={"groupStatsPeriod": "14d"})).json()
        (without,) = (await asking.get(url, params={"collapse": "stats"})).json()
        wrong = await asking.get(url, params={"groupStatsPeriod": "2y"})
        alone = (await asking.get(f"{url}77/")).json()
    assert [count for _, count in day["stats"]["24h"]] == [0] * 23 + [3]
    assert [count for _, count in fortnight["stats"]["14d"]] == [0] * 13 + [3]
    assert "stats" not in without
    assert wrong.status_code == 400
    assert set(alone["stats"]) == {"24h", "14d", "30d"}


@pytest.mark.parametrize(
    ("query", "names", "has_more"),
    [
        ("", ["first", "second"], "false"),
        ("per_page=3", ["first", "second"], "false"),
        ("per_page=2", ["first", "second"], "false"),
        ("per_page=1", ["first"], "true"),
        ("per_page=1&cursor=0:1:0", ["second"], "false"),
    ],
)
@pytest.mark.parametrize(
    ("path", "rule"), [(METRIC_RULES, METRIC_RULE), (ISSUE_RULES, ISSUE_RULE), (MONITOR_RULES, MONITOR_RULE)]
)
async def test_pages_of_rules(path: str, rule: dict[str, Any], query: str, names: list[str], has_more: str) -> None:
    """A page that is just full is the last one if nothing follows; one that is not full too."""
    async with client(services(Kept())) as asking:
        for name in ("first", "second"):
            assert (await asking.post(path, json=rule | {"name": name})).status_code < 300
        answer = await asking.get(f"{path}?{query}")
    assert sorted(entry["name"] for entry in answer.json()) == names
    assert f'rel="next"; results="{has_more}"' in answer.headers["link"]


@pytest.mark.parametrize(("sent", "kept"), [({"queryType": 1}, 1), ({"queryType": "x"}, 0), ({}, 0)])
async def test_a_tools_own_number_of_a_metric_rule_comes_back(sent: dict[str, Any], kept: int) -> None:
    """Sentry's tools compare what they read with what they sent."""
    async with client(services(Kept())) as asking:
        made = await asking.post(METRIC_RULES, json=METRIC_RULE | sent)
        again = await asking.get(f"{METRIC_RULES}{made.json()['id']}/")
    assert (made.json()["queryType"], again.json()["queryType"]) == (kept, kept)
