"""What senders and rules can make large: entries on the broker, answers and questions of ClickHouse, schedules."""

from __future__ import annotations

import asyncio
import datetime as dt
import zoneinfo
from collections import Counter
from collections.abc import Awaitable

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.alerts.bucket import EntryTooLarge
from console.alerts.limits import bounds
from console.alerts.limits.bounds import MAX_ENTRY_BYTES, MAX_ORGANISATION_BYTES, MAX_TOTAL_BYTES, Room
from console.alerts.limits.firing_texts import MAX_DETAILS_BYTES, cut
from console.alerts.limits.places import MessagePlaces
from console.alerts.rules import issue_details
from console.alerts.rules.issue_activity import ActivityReader
from console.alerts.rules.issue_details import IssueDetails
from console.alerts.rules.source import RuleSource
from console.alerts.state import (
    MAX_QUIET,
    MAX_REGRESSIONS,
    AlertDelivery,
    Firing,
    QuietTime,
    RuleState,
    StoredState,
    read,
    written,
)
from console.alerts.states import MISSING_S
from console.issues.shapes import issue_shape
from console.rules import schedule as schedule_module
from console.rules.schedule import Crontab, read_schedule
from console.storage.times import time_text
from tests.unit.console.alerts.test_turns import turn_after
from tests.unit.console.alerts.world import NS, START_S, Process, World
from tests.unit.console.fakes import registry_entries

EVERY = "sentry.rules.conditions.every_event.EveryEventCondition"
REGRESSION = "sentry.rules.conditions.regression_event.RegressionEventCondition"
EVENTS = "sentry.rules.conditions.event_frequency.EventFrequencyCondition"
LEVEL = {"id": "sentry.rules.filters.level.LevelFilter", "match": "gte", "level": "50"}
TEXT = st.builds(lambda text, times: text * times, st.text(max_size=5), st.integers(0, 2_000))
ANY = st.recursive(TEXT | st.integers(-9, 9) | st.none(), lambda inner: st.lists(inner, max_size=9)
                   | st.dictionaries(st.text(max_size=9), inner, max_size=9), max_leaves=20)  # fmt: skip


def firing(**changes: object) -> Firing:
    fields = {"id": "f", "at_ns": 1, "status": "firing", "severity": "critical", "about": "issue:1:2", "channel": 1,
              "title": "t", "message": "m", "path": "/"}  # fmt: skip
    return Firing(**(fields | changes))  # type: ignore[arg-type]


async def turns_of_others(work: Awaitable[object]) -> int:
    """How often another task gets its turn while `work` is done."""
    turns, is_done = 0, False

    async def other() -> None:
        nonlocal turns
        while not is_done:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    await work
    is_done = True
    await beside
    return turns


@given(title=TEXT, details=st.dictionaries(st.text(max_size=9), ANY, max_size=9))
def test_a_firing_is_small_whatever_a_sender_writes(title: str, details: dict[str, object]) -> None:
    """Each text is cut, and all together."""
    short = cut(firing(title=title, message=title * 10, details=details))
    assert len(orjson.dumps(short.details)) <= MAX_DETAILS_BYTES
    assert len(short.title) + len(short.message) <= 2_300
    assert cut(firing(details={"issue": {"title": "x"}})).details == {"issue": {"title": "x"}}


@pytest.mark.asyncio
async def test_errors_with_long_texts_stop_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver is away, and each issue has a message of a megabyte: the entry stays small, the last ones are told."""
    world = World()
    world.rule(conditions=[{"id": EVERY}], frequency=5)
    process = Process(world)
    await process.begin()
    await process.turn()
    text = "x" * 1_000_000
    monkeypatch.setattr(
        issue_details, "issue_shape", lambda *parts: issue_shape(*parts) | {"metadata": {"value": text}}
    )
    world.receivers.fails = ["HTTP 500"] * 1_000
    for number in range(14):
        for issue in range(40):
            world.error(10_000 + number * 40 + issue)
        await turn_after(world, process, 5.0)
        assert all(len(value) <= MAX_ENTRY_BYTES for value, _ in world.entries.entries.values())
    assert process.evaluator.errors == {}
    world.receivers.fails = []
    for _ in range(520):
        await turn_after(world, process, 60.0)
    last = max(10_000 + 13 * 40 + issue for issue in range(40))
    assert any(message.url.endswith(f"/{last}/") for message in world.receivers.messages)
    statuses = {row["delivery_id"]: row["status"] for row in world.clickhouse.inserted["alert_delivery_rows"]}
    assert set(statuses.values()) == {"delivered", "failed"}, "nothing waits for ever in the lists"


@pytest.mark.asyncio
async def test_an_entry_that_the_broker_does_not_take_is_an_error_of_its_rule() -> None:
    """The others are evaluated, and the round does not end."""
    world = World()
    world.rule(rule_id=1)
    world.rule(rule_id=2)
    process = Process(world)
    await process.begin()
    await process.turn()
    world.entries.too_large = ("state.acme.1",)
    world.error()
    await turn_after(world, process, 5.0)
    assert [message.rule.rule_id for message in world.receivers.messages] == [2]
    assert list(process.evaluator.errors) == [("acme", 1)]
    world.entries.too_large = ()
    await turn_after(world, process, 20.0)
    assert sorted(message.rule.rule_id for message in world.receivers.messages) == [1, 2]
    assert process.evaluator.errors == {}


def test_an_organisation_has_a_share_of_the_bucket() -> None:
    """However much others have, there is room for how far a rule came; none has more than its share."""
    room = Room()
    for number in range(100):
        most = room.most_bytes(("acme", number))
        room.note(("acme", number), most)
    assert sum(room._bytes.values()) <= MAX_ORGANISATION_BYTES + 100 * bounds.LEAST_BYTES
    assert room.most_bytes(("zulu", 1)) == MAX_ENTRY_BYTES
    for _ in range(3):
        for number in range(99):
            room.note((f"other{number}", 1), room.most_bytes((f"other{number}", 1)))
        for number in range(100):
            room.note(("acme", number), min(room._bytes[("acme", number)], room.most_bytes(("acme", number))))
    assert room._by_organisation.total() <= MAX_TOTAL_BYTES + 200 * bounds.LEAST_BYTES
    assert room.most_bytes(("last", 1)) >= MAX_TOTAL_BYTES // 101, "who comes later has a part too"
    for number in range(100):
        room.note(("acme", number), 0)
    assert room._by_organisation["acme"] == 0


def test_the_oldest_firings_are_given_up() -> None:
    """With their messages, of which rows are written: those that wait failed, one that was sent stays sent."""
    state = RuleState(firings=[firing(id=str(number), message="x" * 1_000) for number in range(50)])
    state.deliveries = [AlertDelivery(f"d{number}", str(number), "a", "slack", "t", 1, 1) for number in range(50)]
    state.deliveries[0].status = "delivered"
    state.deliveries[1].status, state.deliveries[1].recorded = "delivered", 1
    value, left_out = bounds.fitted("state.acme.1", state, 20_000)
    assert value == written(state)
    assert len(value) <= 20_000
    statuses = {delivery.id: delivery.status for _, deliveries in left_out for delivery in deliveries}
    assert statuses.pop("d0") == "delivered"
    assert set(statuses.values()) == {"failed"}
    assert [*statuses, *(entry.id for entry in state.deliveries)] == [f"d{number}" for number in range(2, 50)]
    assert [entry.id for entry in (*(gone for gone, _ in left_out), *state.firings)] == [str(n) for n in range(50)]


async def stored_with(quiet: int) -> tuple[Process, StoredState]:
    """Of a rule that remembers so many issues."""
    world = World()
    world.rule()
    process = Process(world)
    await process.begin()
    await process.turn()
    stored = await process.states.of(("acme", 5))
    stored.state.quiet = {f"issue:1:{number}": QuietTime(1, 1) for number in range(quiet)}
    stored.state.firings, stored.state.deliveries = [firing()], [AlertDelivery("d", "f", "a5", "webhook", "t", 1, 1)]
    return process, stored


@pytest.mark.asyncio
async def test_what_cannot_be_made_smaller_is_an_error_of_an_evaluation_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message is tried and its result stored all the same, or it would be sent again and again."""
    monkeypatch.setattr(bounds, "MAX_ENTRY_BYTES", 10_000)
    process, stored = await stored_with(1_000)
    evaluated = stored.state.copied()
    evaluated.evaluated_ns += 100 * NS
    with pytest.raises(EntryTooLarge, match="expected at most"):
        await process.states.commit(stored, evaluated, [(firing(id="new"), ())], [], "issue")
    assert [entry.id for entry in stored.state.firings] == ["f"], "what was found just now is not decided"

    def delivered(state: RuleState) -> None:
        state.deliveries[0].status, state.deliveries[0].change = "delivered", 2

    await process.states.change(stored, delivered)
    assert read(process.world.entries.entries["state.acme.5"][0]).deliveries[0].status == "delivered"
    await process.states.commit(stored, evaluated, [], [], "issue")
    assert stored.state.evaluated_ns == evaluated.evaluated_ns, "one that is not larger than before is stored"


@pytest.mark.asyncio
async def test_a_message_that_is_given_up_in_the_moment_of_its_try_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lists say that it failed, so nobody gets it."""
    process, stored = await stored_with(0)
    stored.state.firings += [firing(id="f2", message="x" * 2_000)]
    monkeypatch.setattr(bounds, "MAX_ENTRY_BYTES", 1_500)
    ((key, _, delivery),) = process.sender.due()
    await process.sender._try(key, stored, delivery)
    assert process.world.receivers.messages == []
    await process.history.write()
    rows = process.world.clickhouse.inserted["alert_delivery_rows"]
    assert [(row["delivery_id"], row["status"], row["title"]) for row in rows] == [("d", "failed", "t")]
    assert {row["firing_id"] for row in process.world.clickhouse.inserted["alert_firing_rows"]} == {"f", "f2"}


@pytest.mark.asyncio
async def test_a_full_bucket_is_not_asked_all_the_time() -> None:
    """Nothing is sent that cannot be noted; other rules go on, and it is sent when there is room."""
    process, stored = await stored_with(0)
    world = process.world
    world.entries.too_large = ("state.acme.5",)
    await asyncio.gather(*process.sender.start_due(MessagePlaces(4)))
    assert (world.receivers.messages, process.sender.due()) == ([], [])
    world.entries.too_large = ()
    world.clock.s += 60.0
    await process.lease.step()
    while not process.lease.is_held:
        await process.lease.step()
        world.clock.s += 1.0
    await asyncio.gather(*process.sender.start_due(MessagePlaces(4)))
    assert [message.delivery_id for message in world.receivers.messages] == ["d"]
    assert stored.state.deliveries[0].status == "delivered"


@pytest.mark.asyncio
async def test_many_issues_that_come_back_at_once_are_a_few_questions() -> None:
    """One for each of them would hold the others for minutes."""
    world = World()
    world.rule(conditions=[{"id": REGRESSION}])
    process = Process(world)
    await process.begin()
    await process.turn()
    for issue in range(2_000):
        world.error(issue)
        world.clickhouse.issues[issue] = {"is_regressed": True, "changed_at": time_text(int((world.clock.s - 5) * NS))}
    world.clickhouse.asked.clear()
    await turn_after(world, process, 5.0)
    assert sum("AS first_after" in sql for sql in world.clickhouse.asked) == 4
    assert len({message.firing_id for message in world.receivers.messages}) == 1
    stored = await process.states.of(("acme", 5))
    assert len(stored.state.quiet) == 2_000


def test_quiet_times_are_bounded() -> None:
    """Those that are over soonest go first."""
    state = RuleState(quiet={f"issue:1:{number}": QuietTime(number, 1) for number in range(70_000)})
    state.bound()
    assert len(state.quiet) == MAX_QUIET
    assert min(entry.at_ns for entry in state.quiet.values()) == 70_000 - MAX_QUIET
    assert len(written(state)) < MAX_ENTRY_BYTES


def test_issues_that_got_a_message_stay_quiet() -> None:
    """Of a round with more issues than are remembered, they are the first."""
    state = RuleState(quiet={f"issue:1:{number}": QuietTime(7, 1) for number in range(MAX_QUIET + 10)})
    state.bound()
    assert set(state.quiet) == {f"issue:1:{number}" for number in range(MAX_QUIET)}


def test_remembered_regressions_are_bounded() -> None:
    """As many as the bound stay; of more, those that were remembered first go."""
    state = RuleState(regressions={str(number): "2026-11-27" for number in range(MAX_REGRESSIONS)})
    state.bound()
    assert len(state.regressions) == MAX_REGRESSIONS
    state.regressions |= {"a": "2026-11-28", "b": "2026-11-28"}
    state.bound()
    assert len(state.regressions) == MAX_REGRESSIONS
    assert next(iter(state.regressions)) == "2"
    assert {"a", "b"} <= state.regressions.keys()


@pytest.mark.asyncio
async def test_whole_rules_are_read_once() -> None:
    """Each round asks for numbers and versions; a body is asked for when it is another one."""
    world = World()
    for number in range(250):
        world.rule(rule_id=number + 1, organisation="zulu" if number % 2 else "acme")
    source = RuleSource(world.clickhouse)  # type: ignore[arg-type]
    assert len(await source.read()) == 250
    assert len(await source.read()) == 250
    assert world.clickhouse.bodies_asked == 250
    world.rule(rule_id=7, frequency=60)
    changed = await source.read()
    assert world.clickhouse.bodies_asked == 251
    assert changed["acme", 7].rule is not None


@pytest.mark.asyncio
async def test_more_rules_than_an_answer_has_rows_are_all_known() -> None:
    """From the eleventh organisation with all its rules on."""
    world = World()
    world.rule()
    (row,) = world.clickhouse.rules
    world.clickhouse.rules = [row | {"organisation": f"o{number // 1_000:02}", "rule_id": number + 1}
                              for number in range(12_000)]  # fmt: skip
    source = RuleSource(world.clickhouse)  # type: ignore[arg-type]
    known = await source.read()
    assert Counter(organisation for organisation, _ in known) == {f"o{number:02}": 1_000 for number in range(12)}


@pytest.mark.asyncio
async def test_bodies_that_do_not_fit_into_one_answer_are_read_in_pieces() -> None:
    """Nobody waits for them for ever."""
    world = World()
    for number in range(90):
        world.rule(rule_id=number + 1)
    world.clickhouse.bodies_at_once = 10
    source = RuleSource(world.clickhouse)  # type: ignore[arg-type]
    known = await source.read()
    assert len(known) == 90
    assert all(entry.error == "" for entry in known.values())


@pytest.mark.asyncio
async def test_a_rule_that_is_missing_once_loses_nothing() -> None:
    """A server that is behind lists fewer rules: messages that wait, and quiet times, are still there after it."""
    world = World()
    world.rule(conditions=[{"id": EVERY}], frequency=60)
    process = Process(world)
    await process.begin()
    await process.turn()
    world.error(1)
    await turn_after(world, process, 5.0)
    world.error(2)
    world.receivers.fails = ["HTTP 500"]
    await turn_after(world, process, 5.0)
    rules, world.clickhouse.rules = world.clickhouse.rules, []
    await turn_after(world, process, 30.0)
    assert len(world.receivers.messages) == 2
    world.clickhouse.rules = rules
    world.error(1)
    await turn_after(world, process, 30.0)
    await turn_after(world, process, 30.0)
    (first, second, again) = [message.delivery_id for message in world.receivers.messages]
    assert first != second == again
    world.clickhouse.rules = []
    for _ in range(3):
        await turn_after(world, process, MISSING_S)
    assert await world.entries.names("state.") == ["state.acme.5"], "tables that are restored from a backup"
    world.rule(rule_id=6)
    await turn_after(world, process, 1.0)
    await turn_after(world, process, MISSING_S)
    assert await world.entries.names("state.") == ["state.acme.6"]


@pytest.mark.asyncio
async def test_a_flood_of_issues_is_asked_for_in_pieces() -> None:
    """Nine thousand new issues within a minute: a form field has 128 KiB."""
    world = World()
    world.rule(rule_id=1, conditions=[{"id": EVENTS, "value": 0, "interval": "1m"}])
    world.rule(rule_id=2, conditions=[{"id": EVERY}], filters=[LEVEL])
    issues = [2**63 + number for number in range(9_000)]
    world.clickhouse.errors = [(world.clock.s + 1, world.clock.s + 1, issue, "p") for issue in issues]
    reader = ActivityReader(world.clickhouse)  # type: ignore[arg-type]
    begin_ns, end_ns = int(world.clock.s * NS), int((world.clock.s + 5) * NS)
    activity, _ = await reader.read("acme", [1], begin_ns, end_ns)
    assert len(await reader.counts(activity, (begin_ns, end_ns), "")) == 9_000
    rule = (await RuleSource(world.clickhouse).read())["acme", 2].rule  # type: ignore[arg-type]
    world.clickhouse.matching = set(issues)
    now = dt.datetime.fromtimestamp(world.clock.s, dt.UTC)
    details = IssueDetails(world.clickhouse, registry_entries(), "acme", now)  # type: ignore[arg-type]
    asked = activity.of([1], "", begin_ns)
    matching = await details._matching(rule, rule.filters, asked, begin_ns, end_ns)  # type: ignore[arg-type,union-attr]
    assert len(matching) == 9_000


@given(
    line=st.sampled_from(["* * * * *", "*/7 3-5 * * *", "30 2 * * *", "0 0 * * 0", "59 23 31 * *", "15 1,2 * 3,10 *"]),
    zone=st.sampled_from(["UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu",
                          "America/Havana"]),
    after_s=st.floats(1_700_000_000, 1_900_000_000),
)  # fmt: skip
def test_the_next_time_is_the_first_of_all_times(line: str, zone: str, after_s: float) -> None:
    """As when all times of the next days are listed, on days when clocks change too."""
    schedule = read_schedule({"type": "crontab", "value": line}, zone)
    assert isinstance(schedule, Crontab)
    area = zoneinfo.ZoneInfo(zone)
    day = dt.datetime.fromtimestamp(after_s, area).date()
    for number in range(400):
        date = day + dt.timedelta(days=number)
        if date.month in schedule.months and schedule._has_day(date):
            times = [dt.datetime.combine(date, dt.time(hour, minute), area).timestamp()
                     for hour in schedule.hours for minute in schedule.minutes]  # fmt: skip
            later = [time_s for time_s in times if time_s > after_s]
            if later:
                assert schedule.after(after_s) == min(later)
                return


@pytest.mark.asyncio
async def test_a_thousand_silent_monitors_let_others_work() -> None:
    """Their schedules are computed, not listed, and the lease can be renewed between them."""
    world = World()
    config = {
        "monitor.schedule.type": "crontab",
        "monitor.schedule.value": "* * * * *",
        "monitor.timezone": "Europe/Paris",
    }
    world.rule("monitor", created_s=START_S - 86_400)
    world.clickhouse.check_ins = [
        {"channel_id": 1, "monitor": f"job{number}", "environment": "p", "config": config,
         "check_ins": [[-int((START_S - 7_200) * NS), f"e{number}", "", "ok", 0]]}
        for number in range(1_000)
    ]  # fmt: skip
    process = Process(world)
    await process.begin()
    assert await turns_of_others(process.turn()) >= 40
    (stored,) = [stored for _, stored in process.states]
    assert len(stored.state.monitors) == 1_000


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["issue", "metric", "monitor"])
async def test_many_rules_let_others_work(kind: str) -> None:
    """A thousand of them look at ten thousand issues each, and nothing has to be stored: the lease is renewed still."""
    world = World()
    for number in range(1, 301):
        world.rule(kind, rule_id=number, **({"conditions": [{"id": EVERY}]} if kind == "issue" else {}))
    world.clickhouse.numbers = {"count()": 1.0}
    process = Process(world)
    await process.begin()
    await process.turn()
    world.clock.s += 30.0
    while not await process.lease.step():
        world.clock.s += 1.0
    assert await turns_of_others(process.evaluator.round()) >= 300


def test_only_days_on_which_clocks_change_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """On all others the next time follows from the numbers of the line."""

    def listed(*_: object) -> tuple[float, ...]:
        raise AssertionError("a usual day")

    monkeypatch.setattr(schedule_module, "_times_of", listed)
    schedule = read_schedule({"type": "crontab", "value": "* * * * *"}, "Europe/Paris")
    at_s = dt.datetime(2026, 6, 1, tzinfo=dt.UTC).timestamp()
    for _ in range(2_000):
        later_s = schedule.after(at_s)
        assert later_s == at_s + 60
        at_s += 60
