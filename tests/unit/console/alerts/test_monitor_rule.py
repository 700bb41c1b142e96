"""Monitor rules: late, missed, failed, too long; runs of check-ins; schedules."""

from __future__ import annotations

import datetime as dt
import itertools
import zoneinfo
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.alerts.rules.monitor_rule import FAILED, LATE, MISSED, OK, TIMEOUT, MonitorPlan, evaluate, verdict
from console.alerts.rules.monitor_runs import NS, CheckIn, Monitor, MonitorRun, MonitorRuns, runs_of
from console.alerts.state import Firing, RuleState
from console.api.errors import ApiError
from console.rules.parsed import MonitorRule, parsed
from console.rules.schedule import Crontab, Interval, read_schedule
from tests.unit.console.alerts.world import START_S, Process, World, rule_row

ALL = (MISSED, FAILED, TIMEOUT, LATE)
HOURLY = Interval(3_600)


def plan(**changes: Any) -> MonitorPlan:
    return MonitorPlan(**({"schedule": HOURLY, "margin_s": 300.0, "runtime_s": 600.0} | changes))


def run(at_s: float, status: str = "ok") -> MonitorRun:
    return MonitorRun(int(at_s * NS), status)


@pytest.mark.parametrize(
    ("runs", "now_s", "expected"),
    [
        ([], 0.0, OK),
        ([run(0)], 3_599.0, OK),
        ([run(0)], 3_600.0, LATE),
        ([run(0)], 3_899.0, LATE),
        ([run(0)], 3_900.0, MISSED),
        ([run(0)], 80_000.0, MISSED),
        ([run(0), run(3_650)], 3_900.0, OK),
        ([run(0), run(3_600, "error")], 3_700.0, FAILED),
        ([run(0, "error"), run(3_600, "in_progress")], 3_700.0, FAILED),
        ([run(0), run(3_600, "in_progress")], 4_100.0, OK),
        ([run(0), run(3_600, "in_progress")], 4_201.0, TIMEOUT),
        ([run(0, "error"), run(3_600)], 3_700.0, OK),
        ([run(0, "error")], 3_700.0, FAILED),
        ([run(0, "error")], 3_900.0, MISSED),
    ],
)
def test_how_a_monitor_is(runs: list[MonitorRun], now_s: float, expected: str) -> None:
    """At the end of the margin to the second."""
    assert verdict(plan(), runs, now_s, ALL, -1e9).status == expected


def test_only_what_the_rule_wants_to_know() -> None:
    """A rule about failed runs says nothing of missed ones, nor of what was before it was made."""
    assert verdict(plan(), [run(0)], 9_000.0, (FAILED,), -1e9).status == OK
    assert verdict(plan(), [run(0)], 3_950.0, (MISSED,), 3_901.0).status == OK
    assert verdict(plan(), [run(0)], 9_000.0, (MISSED,), 3_901.0).status == MISSED
    assert verdict(plan(schedule=None), [run(0)], 1e9, ALL, 0.0).status == OK


def test_an_early_check_in_is_that_of_its_time() -> None:
    """Two seconds before two o'clock is not a reason to expect another one at two."""
    daily = read_schedule({"type": "crontab", "value": "0 2 * * *"}, "UTC")
    two = dt.datetime(2026, 3, 4, 2, tzinfo=dt.UTC).timestamp()
    assert verdict(plan(schedule=daily), [run(two - 2)], two + 3_600, ALL, 0.0).status == OK
    assert verdict(plan(schedule=daily), [run(two - 2)], two + 86_400 + 301, ALL, 0.0).status == MISSED


def monitor_rule(**body: Any) -> MonitorRule:
    made = parsed(rule_row("monitor", 5, START_S - 1e6, **body))
    assert isinstance(made, MonitorRule)
    return made


def evaluated(
    rule: MonitorRule, state: RuleState, monitors: dict[tuple[int, str, str], Monitor], end_ns: int
) -> list[Firing]:
    """Runs the coroutine, which waits for nothing but its next turn."""
    coroutine = evaluate(rule, state, monitors, end_ns)
    while True:
        try:
            coroutine.send(None)
        except StopIteration as ended:
            return list(ended.value)


@given(
    events=st.lists(st.tuples(st.integers(1, 4_000), st.sampled_from(["ok", "error", "in_progress", ""])), max_size=25)
)
def test_each_change_is_one_firing(events: list[tuple[int, str]]) -> None:
    """Whatever comes: firing and resolved alternate by monitor, and no id is used twice."""
    rule = monitor_rule(schedule={"type": "interval", "value": 1, "unit": "hour"}, on=list(ALL))
    state, monitor, at_s, fired = RuleState(), Monitor(), START_S, []
    for number, (later_s, status) in enumerate(events):
        at_s += later_s
        if status:
            monitor.add([CheckIn(int(at_s * NS), str(number), "", status, 0)], {})
        fired += evaluated(rule, state, {(1, "job", "production"): monitor}, int(at_s * NS))
        assert evaluated(rule, state, {(1, "job", "production"): monitor}, int(at_s * NS)) == []
    assert len({one.id for one in fired}) == len(fired)
    assert not any(a.status == b.status == "resolved" for a, b in itertools.pairwise(fired))
    assert all(one.status == "firing" for one in fired[:1])


def test_only_after_so_many_failures_in_a_row() -> None:
    """And it is well again after the first good run."""
    rule, state = monitor_rule(failures=3), RuleState()
    monitor, told = Monitor(), []
    for number, status in enumerate(["error", "error", "ok", "error", "error", "error", "ok"]):
        monitor.add([CheckIn(int((START_S + number * 60) * NS), str(number), "", status, 0)], {})
        fired = evaluated(rule, state, {(1, "job", "p"): monitor}, int((START_S + number * 60 + 1) * NS))
        told.append([one.status for one in fired])
    assert told == [[], [], [], [], [], ["firing"], ["resolved"]]


def check_in(at_s: float, status: str, check_in_id: str = "", duration_s: float = 0.0) -> CheckIn:
    return CheckIn(int(at_s * NS), f"{at_s}{status}{check_in_id}", check_in_id, status, int(duration_s * NS))


@pytest.mark.parametrize(
    ("check_ins", "expected"),
    [
        ([check_in(1, "in_progress", "a"), check_in(5, "ok", "a")], [run(1)]),
        ([check_in(1, "in_progress", "a"), check_in(2, "in_progress", "b"), check_in(5, "error", "a")],
         [run(1, "error"), run(2, "in_progress")]),
        ([check_in(1, "in_progress"), check_in(5, "ok")], [run(1)]),
        ([check_in(5, "ok", duration_s=3)], [run(2)]),
        ([check_in(1, "in_progress"), check_in(2, "in_progress"), check_in(3, "ok")], [run(1, "in_progress"), run(2)]),
        ([check_in(1, "ok", "a"), check_in(2, "error", "a")], [run(1)]),
    ],
)  # fmt: skip
def test_runs_of_check_ins(check_ins: list[CheckIn], expected: list[MonitorRun]) -> None:
    """By their ids, and like brackets without them."""
    assert runs_of(check_ins) == expected


@pytest.mark.parametrize(
    ("line", "zone", "after", "expected"),
    [
        ("*/5 * * * *", "UTC", "2026-03-04T10:01:00+00:00", "2026-03-04T10:05:00+00:00"),
        ("0 2 * * *", "UTC", "2026-03-04T02:00:00+00:00", "2026-03-05T02:00:00+00:00"),
        ("0 2 * * *", "Europe/Paris", "2026-03-04T10:00:00+00:00", "2026-03-05T01:00:00+00:00"),
        ("30 2 * * *", "Europe/Paris", "2026-03-28T12:00:00+00:00", "2026-03-29T01:30:00+00:00"),
        ("0 3 * * *", "Europe/Paris", "2026-10-24T12:00:00+00:00", "2026-10-25T02:00:00+00:00"),
        ("0 9 * * mon-fri", "UTC", "2026-03-06T09:00:00+00:00", "2026-03-09T09:00:00+00:00"),
        ("0 0 1,15 * 3", "UTC", "2026-03-01T00:00:00+00:00", "2026-03-04T00:00:00+00:00"),
        ("0 0 29 2 *", "UTC", "2026-03-01T00:00:00+00:00", "2028-02-29T00:00:00+00:00"),
        ("@hourly", "UTC", "2026-03-04T10:01:00+00:00", "2026-03-04T11:00:00+00:00"),
        ("0 12 * JAN 7", "UTC", "2026-01-01T00:00:00+00:00", "2026-01-04T12:00:00+00:00"),
        ("10-20/5 8 * * *", "UTC", "2026-03-04T08:10:00+00:00", "2026-03-04T08:15:00+00:00"),
    ],
)
def test_the_next_time_of_a_crontab_line(line: str, zone: str, after: str, expected: str) -> None:
    """Lists, ranges, steps, names, both kinds of days, zones, and the nights when clocks change."""
    made = read_schedule({"type": "crontab", "value": line}, zone)
    found = made.after(dt.datetime.fromisoformat(after).timestamp())
    assert found is not None
    assert dt.datetime.fromtimestamp(found, dt.UTC).isoformat() == expected


@given(
    minute=st.integers(0, 59),
    hours=st.sets(st.integers(0, 23), min_size=1, max_size=4),
    after_s=st.integers(1_700_000_000, 1_900_000_000),
    zone=st.sampled_from(["UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe"]),
)
def test_the_next_time_is_a_time_of_the_line(minute: int, hours: set[int], after_s: int, zone: str) -> None:
    """After the moment, within two days, and at the minute that the line says (but where clocks jump)."""
    line = f"{minute} {','.join(map(str, sorted(hours)))} * * *"
    made = read_schedule({"type": "crontab", "value": line}, zone)
    assert isinstance(made, Crontab)
    found = made.after(after_s)
    assert found is not None
    assert after_s < found <= after_s + 2 * 86_400
    local = dt.datetime.fromtimestamp(found, zoneinfo.ZoneInfo(zone))
    tomorrow = dt.datetime.fromtimestamp(found - 86_400, zoneinfo.ZoneInfo(zone))
    if local.utcoffset() == tomorrow.utcoffset():
        assert (local.minute, local.hour in hours) == (minute, True)


@pytest.mark.parametrize(
    "document",
    [
        {"type": "crontab", "value": "* * * *"},
        {"type": "crontab", "value": "60 * * * *"},
        {"type": "crontab", "value": "5-1 * * * *"},
        {"type": "crontab", "value": "*/0 * * * *"},
        {"type": "crontab", "value": "a * * * *"},
        {"type": "crontab", "value": "* * * * L"},
        {"type": "crontab", "value": 5},
        {"type": "interval", "value": 0, "unit": "hour"},
        {"type": "interval", "value": 5, "unit": "parsec"},
        {"type": "interval", "value": "-5", "unit": "hour"},
        {"type": "moon"},
        {},
    ],
)
def test_a_schedule_that_cannot_be_computed_is_refused(document: dict[str, Any]) -> None:
    """With what would be understood."""
    with pytest.raises(ApiError, match="schedule: expected"):
        read_schedule(document, "UTC")
    with pytest.raises(ApiError, match="timezone: expected"):
        read_schedule({"type": "crontab", "value": "* * * * *"}, "Mars/Phobos")


@given(line=st.text(max_size=30))
def test_any_text_is_a_line_or_refused(line: str) -> None:
    """And what is accepted has a next time, or none within years."""
    try:
        made = read_schedule({"type": "crontab", "value": line}, "UTC")
    except ApiError:
        return
    found = made.after(1_800_000_000.0)
    assert found is None or found > 1_800_000_000.0


def check_ins_row(*check_ins: tuple[float, str], config: dict[str, str] | None = None) -> dict[str, Any]:
    """As ClickHouse answers."""
    told = [[-int(at_s * NS), f"e{number}", "", status, 0] for number, (at_s, status) in enumerate(check_ins)]
    return {"channel_id": 1, "monitor": "nightly", "environment": "p", "check_ins": told, "config": config or {}}


@pytest.mark.asyncio
async def test_a_missed_check_in_is_told_when_its_margin_is_over() -> None:
    """By the schedule that the check-in told; and that it is well again, once."""
    world = World()
    config = {"monitor.schedule.type": "interval", "monitor.schedule.value": "10", "monitor.schedule.unit": "minute",
              "monitor.checkin_margin": "2"}  # fmt: skip
    world.rule("monitor", created_s=START_S - 60)
    world.clickhouse.check_ins = [check_ins_row((START_S, "ok"), config=config)]
    process = Process(world)
    await process.begin()
    told_at = 0.0
    while not world.receivers.messages:
        world.clock.s += 5.0
        await process.turn()
        told_at = world.clock.s
    assert 720 <= told_at - START_S <= 735
    assert world.receivers.messages[0].title == "nightly missed its check-in"
    world.clickhouse.check_ins = [check_ins_row((START_S, "ok"), (world.clock.s, "ok"), config=config)]
    for _ in range(6):
        world.clock.s += 5.0
        await process.turn()
    assert [message.status for message in world.receivers.messages] == ["firing", "resolved"]


@pytest.mark.asyncio
async def test_a_check_in_that_waits_for_a_worker_is_not_missed() -> None:
    """Rows are behind: nothing is said until they are complete."""
    world = World()
    world.rule("monitor", schedule={"type": "interval", "value": 1, "unit": "minute"}, checkinMargin=1)
    world.clickhouse.check_ins = [check_ins_row((START_S, "ok"))]
    process = Process(world)
    await process.begin()
    world.progress.behind_s = 0.0
    for _ in range(60):
        world.clock.s += 5.0
        world.progress.behind_s += 5.0
        await process.turn()
    assert world.receivers.messages == []
    world.progress.behind_s = 1.0
    await process.turn()
    assert len(world.receivers.messages) == 1


@pytest.mark.asyncio
async def test_what_is_remembered_of_monitors_is_bounded() -> None:
    """As many check-ins as the rule needs, what we know of the configuration, no more than 5,000 monitors."""
    world = World()
    runs = MonitorRuns(world.clickhouse)  # type: ignore[arg-type]
    config = {"monitor.schedule.type": "crontab", "monitor.schedule.value": "x" * 9_000, "monitor.other": "y" * 9_000}
    row = check_ins_row(*((START_S + number, "ok") for number in range(120)), config=config)
    world.clickhouse.check_ins = [row | {"monitor": f"m{number}"} for number in range(5_100)]
    (first, *others) = (await runs.read("acme", [1], START_S, 1)).values()
    assert len(others) == 4_999
    assert (len(first.check_ins), len(first.config["schedule.value"]), "other" in first.config) == (12, 200, False)
    assert "groupArraySorted(12)" in world.clickhouse.asked[-1]
    world.clickhouse.check_ins = [row]
    (job,) = (await runs.read("acme", [1], START_S + 1, 100)).values()
    assert len(job.check_ins) == 120, "a rule that waits for more has a full look at once"
    await runs.read("acme", [1], START_S + 2, 1)
    (job,) = (await runs.read("acme", [1], START_S + 3, 100)).values()
    assert len(job.check_ins) == 120, "the read of another rule takes none away"
    runs.keep([])
    assert runs._known == {}
