"""Metric rules: status by number, one firing for each change, questions that are shared."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.alerts.rules.metric_rule import OK, evaluate, next_status, told_labels
from console.alerts.rules.metric_values import conditional
from console.alerts.state import FIRING, RESOLVED, RuleState
from console.rules.parsed import CRITICAL, WARNING, MetricRule, parsed
from tests.unit.console.alerts.world import START_S, Process, World, rule_row


def metric_rule(critical: float = 100, warning: float | None = None, **body: Any) -> MetricRule:
    """A rule with these thresholds."""
    triggers = [{"label": CRITICAL, "alertThreshold": critical, "actions": []}]
    triggers += [] if warning is None else [{"label": WARNING, "alertThreshold": warning, "actions": []}]
    made = parsed(rule_row("metric", 5, START_S, triggers=triggers, **body))
    assert isinstance(made, MetricRule)
    return made


@pytest.mark.parametrize(
    ("rule", "before", "value", "after"),
    [
        (metric_rule(100), OK, 100, OK),
        (metric_rule(100), OK, 100.1, CRITICAL),
        (metric_rule(100), CRITICAL, 100, OK),
        (metric_rule(100, resolveThreshold=50), CRITICAL, 60, CRITICAL),
        (metric_rule(100, resolveThreshold=50), CRITICAL, 50, OK),
        (metric_rule(100, resolveThreshold=0), CRITICAL, 0, OK),
        (metric_rule(100, 50), OK, 60, WARNING),
        (metric_rule(100, 50), WARNING, 150, CRITICAL),
        (metric_rule(100, 50), CRITICAL, 60, WARNING),
        (metric_rule(100, 50, resolveThreshold=10), CRITICAL, 40, WARNING),
        (metric_rule(100, 50, resolveThreshold=10), WARNING, 9, OK),
        (metric_rule(5, thresholdType=1), OK, 4, CRITICAL),
        (metric_rule(5, thresholdType=1), OK, 5, OK),
        (metric_rule(5, thresholdType=1, resolveThreshold=8), CRITICAL, 7, CRITICAL),
        (metric_rule(5, thresholdType=1, resolveThreshold=8), CRITICAL, 8, OK),
        (metric_rule(100), CRITICAL, None, CRITICAL),
        (metric_rule(100), OK, None, OK),
    ],
)
def test_the_status_that_follows_from_a_number(rule: MetricRule, before: str, value: float | None, after: str) -> None:
    """Beyond a threshold, behind the one that resolves, between them, and without a number."""
    assert next_status(rule, before, value) == after


@given(
    values=st.lists(st.one_of(st.none(), st.integers(0, 200)), max_size=40),
    is_below=st.booleans(),
    has_warning=st.booleans(),
    resolve=st.one_of(st.none(), st.integers(0, 200)),
)
def test_firings_alternate_and_are_never_the_same(
    values: list[int | None], is_below: bool, has_warning: bool, resolve: int | None
) -> None:
    """Each change of status is one firing with an id of its own; after a resolved one the next is a firing."""
    warning = (150 if is_below else 50) if has_warning else None
    rule = metric_rule(100, warning, thresholdType=int(is_below), resolveThreshold=resolve)
    state, fired = RuleState(), []
    for number, value in enumerate(values):
        before = state.status
        firing = evaluate(rule, state, value, number)
        assert (firing is None) == (state.status == before)
        if firing is not None:
            fired.append(firing)
            assert firing.status == (RESOLVED if state.status == OK else FIRING)
            assert told_labels(before, state.status)
    assert len({firing.id for firing in fired}) == len(fired)
    assert all(one.status == FIRING for one in fired[:1])
    assert not any(a.status == b.status == RESOLVED for a, b in itertools.pairwise(fired))


@pytest.mark.parametrize(
    ("aggregate", "query", "expected"),
    [
        ("count()", "level:error", "count_if(`level:error`)"),
        ("p95(span.duration)", "a:b", "p95_if(`a:b`,span.duration)"),
        ("percentile(span.duration,0.9)", "a:b", "percentile_if(`a:b`,span.duration,0.9)"),
        ("failure_rate()", "a:b", "failure_rate_if(`a:b`)"),
        ("count()", "", "count()"),
        ("eps()", "a:b", ""),
        ("equation|count() / 2", "a:b", ""),
        ("count_if(level,equals,fatal)", "a:b", ""),
        ("count()", "a:`b`", ""),
        ("count()", "x" * 1_000, ""),
    ],
)
def test_a_query_becomes_a_condition_where_it_can(aggregate: str, query: str, expected: str) -> None:
    """So that rules with different queries are one question."""
    assert conditional(aggregate, query) == expected


@pytest.mark.asyncio
async def test_a_hundred_rules_are_one_question_in_three() -> None:
    """40 columns each; without sharing it would be a hundred scans."""
    world = World()
    for number in range(100):
        world.rule("metric", number + 1, query=f"level:error server_name:s{number}")
    world.clickhouse.numbers = {str(number): 1.0 for number in range(40)}
    process = Process(world)
    await process.begin()
    await process.turn()
    asked = [sql for sql in world.clickhouse.asked if "AS v0" in sql]
    assert len(asked) == 3
    assert "AS v39" in asked[0]


@pytest.mark.asyncio
async def test_it_fires_resolves_and_tells_the_actions_of_the_trigger() -> None:
    """Through the whole process: one message at the threshold, one when it is over, none between."""
    world = World()
    world.rule("metric")
    process = Process(world)
    await process.begin()
    for value in (5.0, 11.0, 12.0, 11.0, 3.0, 3.0):
        world.clickhouse.numbers = {"count()": value}
        await process.turn()
        world.clock.s += 10.0
    told = [(message.status, message.value) for message in world.receivers.messages]
    assert told == [("firing", 11.0), ("resolved", 3.0)]
    states = world.clickhouse.inserted["alert_state_rows"]
    assert next(row["status"] for row in states) == "ok"
    assert "firing" in {row["status"] for row in states}


@pytest.mark.asyncio
async def test_it_waits_for_rows_that_are_on_their_way() -> None:
    """A number of incomplete rows would be too small: nothing is asked, and the state says why."""
    world = World()
    world.rule("metric", thresholdType=1)
    world.clickhouse.numbers = {"count()": 50.0}
    process = Process(world)
    await process.begin()
    await process.turn()
    asked = sum("AS v0" in sql for sql in world.clickhouse.asked)
    world.clock.s += 400.0
    world.progress.behind_s = 401.0
    while not await process.lease.step():
        world.clock.s += 2.0
    await process.turn()
    assert sum("AS v0" in sql for sql in world.clickhouse.asked) == asked
    assert "behind" in world.clickhouse.inserted["alert_state_rows"][-1]["error"]


@pytest.mark.asyncio
async def test_a_rule_that_is_too_wide_is_no_fault_of_others() -> None:
    """The question of all is refused, then each alone: only one has an error."""
    world = World()
    world.rule("metric", 1, query="a:1")
    world.rule("metric", 2, query="a:2", aggregate="eps()")
    world.clickhouse.numbers = {"x": 1.0}
    world.clickhouse.too_wide = ("countIf",)
    process = Process(world)
    await process.begin()
    await process.turn()
    assert list(process.evaluator.errors) == [("acme", 1)]
