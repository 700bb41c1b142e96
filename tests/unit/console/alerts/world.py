"""A world without servers for `axonpush alerts`: a bucket, errors and rules in ClickHouse, receivers, a clock."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any, cast

import orjson

from console.alerts.bucket import BucketUnavailable, EntryChanged, EntryTooLarge
from console.alerts.deliver.message import AlertMessage, DeliveryFailed
from console.alerts.deliver.sender import DeliverySender, Outbox
from console.alerts.evaluate import Evaluator
from console.alerts.history import History
from console.alerts.lease import EvaluationLease
from console.alerts.rules.preview import MOST_QUESTIONS
from console.alerts.rules.progress import IngestProgress
from console.alerts.rules.source import RuleSource
from console.alerts.settings import AlertsSettings
from console.alerts.states import States
from console.api.errors import ApiError
from console.rules.actions import Action
from console.storage.clickhouse import MAX_ROWS, ClickHouse, Row, text_of
from console.storage.times import nanoseconds_of, time_text
from tests.unit.console.fakes import registry_entries

NS = 1_000_000_000
START_S = 1_790_000_000.0
ISSUE_ID = 77
# Of a form: a real server refuses a longer one.
MAX_FIELD_BYTES = 131_072


class Killed(BaseException):
    """The process ended here."""


class Clock:
    """Seconds of the wall clock, and of the monotonic one."""

    def __init__(self) -> None:
        self.s = START_S

    def now_s(self) -> float:
        return self.s

    def now_ns(self) -> int:
        return int(self.s * NS)


class MemoryEntries:
    """The bucket. `kill_at` counts operations: that one is the last, and does or does not come to pass."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[bytes, int]] = {}
        self.revision = 0
        self.is_away = False
        # Writes arrive, their answers do not.
        self.loses_answers = False
        # As the broker does for an hour.
        self.lists_removed = False
        # Entries of which the broker takes no new value.
        self.too_large: tuple[str, ...] = ()
        self.kill_at = 0
        self.kills_after = False
        self.operations = 0

    async def get(self, name: str) -> tuple[bytes, int]:
        self._operate()
        return self.entries.get(name, (b"", 0))

    async def put(self, name: str, value: bytes, revision: int) -> int:
        self.operations += 1
        is_last = self.operations == self.kill_at
        if is_last and not self.kills_after:
            raise Killed
        if self.is_away:
            raise BucketUnavailable
        if name in self.too_large:
            raise EntryTooLarge("too large")
        if self.entries.get(name, (b"", 0))[1] != revision:
            raise EntryChanged(name)
        self.revision += 1
        self.entries[name] = value, self.revision
        if is_last:
            raise Killed
        if self.loses_answers:
            raise BucketUnavailable
        return self.revision

    async def names(self, prefix: str) -> list[str]:
        self._operate()
        listed = [name for name, (value, _) in self.entries.items() if value or self.lists_removed]
        return [name for name in listed if name.startswith(prefix)]

    async def remove(self, name: str) -> None:
        self._operate()
        self.revision += 1
        self.entries[name] = b"", self.revision

    def _operate(self) -> None:
        self.operations += 1
        if self.operations == self.kill_at:
            raise Killed
        if self.is_away:
            raise BucketUnavailable


class MemoryClickHouse:
    """Rules and errors, and what is asked of them; rows that were inserted, by table."""

    def __init__(self) -> None:
        self.rules: list[Row] = []
        # (received, at, issue, environment), in seconds.
        self.errors: list[tuple[float, float, int, str]] = []
        self.issues: dict[int, Row] = {}
        self.matching: set[int] = set()
        self.numbers: dict[str, float | None] = {}
        self.check_ins: list[Row] = []
        self.inserted: dict[str, list[Row]] = {}
        self.asked: list[str] = []
        self.is_away = False
        self.kill_at = 0
        self.operations = 0
        self.too_wide: tuple[str, ...] = ()
        # Questions with these words fail by an error that is not theirs.
        self.broken: tuple[str, ...] = ()
        # How long a question with these words takes, and how long all took.
        self.slow: dict[str, float] = {}
        self.worked_s = 0.0
        # Its clock, and by how much it differs.
        self.clock: Clock | None = None
        self.ahead_s = 0.0
        # Whole rules that were asked for, and how many fit into an answer.
        self.bodies_asked = 0
        self.bodies_at_once = 1_000
        # The organisation of each question.
        self.asked_of: list[str] = []

    async def query(self, sql: str, **parameters: Any) -> list[Row]:
        if "AS latest_counting" in sql:  # no day is counted
            return []
        self._operate()
        self.asked.append(sql)
        self._refuse(sql, parameters)
        return self._answer(sql, parameters)

    def _refuse(self, sql: str, parameters: dict[str, Any]) -> None:
        if any(len(text_of(value)) > MAX_FIELD_BYTES for value in parameters.values()):
            raise ApiError(503, "ClickHouse does not answer; send the same again")
        self.asked_of.append(str(parameters.get("organisation", "")))
        self.worked_s += sum(seconds for words, seconds in self.slow.items() if words in sql)
        if any(words in sql for words in self.broken):
            raise ApiError(503, "ClickHouse does not answer; send the same again")
        if any(words in sql for words in self.too_wide):
            raise ApiError(400, "query: expected one within the limits, found one that exceeds them")

    def _answer(self, sql: str, parameters: dict[str, Any]) -> list[Row]:
        if "FROM alert_rules" in sql:
            return self._rules(parameters)
        if "AS now_ms" in sql and self.clock is not None:
            return [{"now_ms": int((self.clock.s + self.ahead_s) * 1_000)}]
        return self._of_issues(sql, parameters) or self._of_others(sql, parameters)

    def _of_issues(self, sql: str, parameters: dict[str, Any]) -> list[Row]:
        if "AS first_at" in sql:
            return self._active(parameters)
        if "FROM error_rows WHERE" in sql and "GROUP BY channel_id, issue_id, environment" in sql:
            return self._first(parameters)
        if "AS events, uniqExactIf" in sql:
            return self._counted(parameters)
        if "AS first_after" in sql:
            return self._after(parameters)
        if "numbers" in parameters:  # issues, and then their first and last errors
            return [self._issue(number) for number in parameters["numbers"] if self._times(number)]
        if "AS matching" in sql:
            return [
                {"channel_id": 1, "issue_id": one, "matching": int(one in self.matching)}
                for one in parameters["issues"]
            ]
        return []

    def _of_others(self, sql: str, parameters: dict[str, Any]) -> list[Row]:
        if "AS step" in sql:
            return self._steps(parameters)
        if "AS check_ins" in sql:
            return [dict(row) for row in self.check_ins]
        if "AS v0" in sql:
            return [{f"v{number}": value for number, value in enumerate(self.numbers.values())}]
        return []

    def _rules(self, parameters: dict[str, Any]) -> list[Row]:
        """Numbers and versions of a page, or whole rules."""
        if "rules" in parameters:
            self.bodies_asked += len(parameters["rules"])
            if len(parameters["rules"]) > self.bodies_at_once:
                raise ApiError(400, "query: expected one within the limits, found one that exceeds them")
            wanted = {(parameters["organisation"], number) for number in parameters["rules"]}
            return [dict(row) for row in self.rules if (row["organisation"], row["rule_id"]) in wanted]
        after = parameters["after_organisation"], parameters["after_rule"]
        rows = sorted(self.rules, key=lambda row: (row["organisation"], row["rule_id"]))
        return [
            {name: row[name] for name in ("organisation", "rule_id", "changed_at")}
            for row in rows
            if (row["organisation"], row["rule_id"]) > after
        ][:MAX_ROWS]

    async def insert(self, table: str, rows: list[Row]) -> None:
        self._operate()
        self.inserted.setdefault(table, []).extend(dict(row) for row in rows)

    def _operate(self) -> None:
        self.operations += 1
        if self.operations == self.kill_at:
            raise Killed
        if self.is_away:
            raise ApiError(503, "ClickHouse does not answer; send the same again")

    def _active(self, parameters: dict[str, Any]) -> list[Row]:
        begin, end = nanoseconds_of(parameters["begin"]), nanoseconds_of(parameters["end"])
        found: dict[tuple[int, str], list[tuple[float, float]]] = {}
        for received_s, at_s, issue, environment in self.errors:
            if begin < int(received_s * NS) <= end:
                found.setdefault((issue, environment), []).append((received_s, at_s))
        return [
            {
                "channel_id": 1,
                "issue_id": issue,
                "environment": environment,
                "first_received": int(min(one[0] for one in times) * NS),
                "last_received": int(max(one[0] for one in times) * NS),
                "first_at": int(min(one[1] for one in times) * NS),
                "last_at": int(max(one[1] for one in times) * NS),
            }
            for (issue, environment), times in found.items()
        ]

    def _steps(self, parameters: dict[str, Any]) -> list[Row]:
        begin_ns, step_ns, end_ns = parameters["begin_ns"], parameters["step_ns"], nanoseconds_of(parameters["end"])
        times = [int(received_s * NS) for received_s, *_ in self.errors]
        steps = {(at_ns - begin_ns - 1) // step_ns for at_ns in times if begin_ns < at_ns <= end_ns}
        return [{"step": step} for step in sorted(steps, reverse=True)][: MOST_QUESTIONS + 1]

    def _first(self, parameters: dict[str, Any]) -> list[Row]:
        first: dict[tuple[int, str], float] = {}
        for received_s, _, issue, environment in self.errors:
            if issue in parameters["issues"]:
                first[issue, environment] = min(received_s, first.get((issue, environment), received_s))
        return [
            {"channel_id": 1, "issue_id": issue, "environment": environment, "first_received": int(at_s * NS)}
            for (issue, environment), at_s in first.items()
        ]

    def _counted(self, parameters: dict[str, Any]) -> list[Row]:
        begin, end = nanoseconds_of(parameters["begin"]), nanoseconds_of(parameters["end"])
        counts: dict[int, int] = {}
        for _, at_s, issue, environment in self.errors:
            if begin < int(at_s * NS) <= end and parameters["environment"] in ("", environment):
                counts[issue] = counts.get(issue, 0) + 1
        return [{"channel_id": 1, "issue_id": issue, "events": one, "users": one} for issue, one in counts.items()]

    def _after(self, parameters: dict[str, Any]) -> list[Row]:
        rows = []
        for issue, moment_ns in zip(parameters["issues"], parameters["moments"], strict=True):
            times = [int(received_s * NS) for received_s, _, number, _ in self.errors if number == issue]
            later = [at_ns for at_ns in times if at_ns > moment_ns]
            rows += [{"channel_id": 1, "issue_id": issue, "first_after": min(later)}] if later else []
        return rows

    def _times(self, issue: int) -> int:
        return sum(one[2] == issue for one in self.errors)

    def _issue(self, issue: int) -> Row:
        times = [one[1] for one in self.errors if one[2] == issue]
        return {
            "channel_id": 1,
            "issue_id": issue,
            "status": "unresolved",
            "is_regressed": False,
            "resolved_in": "",
            "release_after": "1970-01-01 00:00:00.000000000",
            "changed_at": "1970-01-01 00:00:00.000000000",
            "first_seen": time_text(int(min(times) * NS)),
            "last_seen": time_text(int(max(times) * NS)),
            "first_release": "",
            "last_release": "",
            "last_event_id": "00000000-0000-0000-0000-000000000001",
            "times": len(times),
            "users": 0,
            **self.issues.get(issue, {}),
        }


class Receivers:
    """Takes messages. `fails`: the next answers, "" for one that is accepted; then all are. `breaks` is raised."""

    def __init__(self) -> None:
        self.messages: list[AlertMessage] = []
        self.actions: list[Action] = []
        # The kind of action that never comes to an end.
        self.hangs = ""
        self.fails: list[str] = []
        self.breaks: Exception | None = None
        self.kill_at = 0
        self.operations = 0

    async def send(self, action: Action, message: AlertMessage) -> str:
        self.operations += 1
        self.actions.append(action)
        self.messages.append(message)
        if action.kind == self.hangs:
            await asyncio.get_running_loop().create_future()
        if self.operations == self.kill_at:
            raise Killed
        if self.breaks is not None:
            raise self.breaks
        if self.fails and (why := self.fails.pop(0)):
            raise DeliveryFailed(why)
        return "HTTP 200"


class Progress:
    """Rows are complete until `behind_s` before now."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.behind_s = 1.0

    async def look(self, _now_s: float) -> None:
        """Nothing to ask."""

    def complete_until_s(self, _kind: str) -> float:
        return self._clock.s - self.behind_s


class World:
    """Everything outside of the process."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.entries = MemoryEntries()
        self.clickhouse = MemoryClickHouse()
        self.clickhouse.clock = self.clock
        self.receivers = Receivers()
        self.progress = Progress(self.clock)

    def error(self, issue: int = ISSUE_ID, environment: str = "production", *, ago_s: float = 0.0) -> None:
        """One error that was received now."""
        self.clickhouse.errors.append((self.clock.s, self.clock.s - ago_s, issue, environment))

    def rule(
        self,
        kind: str = "issue",
        rule_id: int = 5,
        created_s: float = START_S - 60,
        organisation: str = "acme",
        **body: Any,
    ) -> None:
        """A stored rule; one of the same number is replaced."""
        self.clickhouse.rules = [row for row in self.clickhouse.rules if row["rule_id"] != rule_id]
        self.clickhouse.rules.append(rule_row(kind, rule_id, created_s, **body) | {"organisation": organisation})

    def monotonic_s(self) -> float:
        """What passes between two turns, and what questions take."""
        return self.clock.s + self.clickhouse.worked_s


class Process:
    """One process that has the lease."""

    def __init__(self, world: World, owner: str = "one", **settings: Any) -> None:
        self.world = world
        clock = world.clock
        clickhouse = cast("ClickHouse", world.clickhouse)
        made = AlertsSettings(**settings)
        self.lease = EvaluationLease(world.entries, owner, clock.now_s, clock.now_s)
        self.source = RuleSource(clickhouse)
        self.states = States(world.entries, self.lease, clock.now_ns)
        self.evaluator = Evaluator(
            made,
            clickhouse,
            registry_entries(),
            self.source,
            self.states,
            cast("IngestProgress", world.progress),
            "http://console.test",
            clock.now_s,
            world.monotonic_s,
        )
        outbox = cast("Outbox", world.receivers)
        self.sender = DeliverySender(
            made, self.states, self.source, outbox, registry_entries(), "http://console.test", clock.now_ns, lambda: 1.0
        )
        self.history = History(clickhouse, self.states, self.evaluator, clock.now_s)

    async def begin(self) -> None:
        """Takes the lease, as soon as it may, and loads what is stored."""
        while not await self.lease.step():
            self.world.clock.s += 2.0
        await self.states.load_all()

    async def turn(self) -> None:
        """Renews the lease, evaluates once, sends what is due, records."""
        await self.lease.step()
        await self.evaluator.round()
        for key, stored, delivery in self.sender.due():
            await self.sender._try(key, stored, delivery)
        await self.history.write()


def rule_row(kind: str, rule_id: int, created_s: float, **body: Any) -> Row:
    """A row of `alert_rules`."""
    action = {"type": "webhook", "uuid": f"a{rule_id}", "url": "https://hooks.test/x"}
    made: dict[str, Any] = {
        "issue": {
            "actionMatch": "all",
            "filterMatch": "all",
            "conditions": [{"id": "sentry.rules.conditions.first_seen_event.FirstSeenEventCondition"}],
            "filters": [],
            "actions": [action],
            "frequency": 30,
            "environment": None,
        },
        "metric": {
            "dataset": "errors",
            "aggregate": "count()",
            "query": "",
            "timeWindow": 1,
            "thresholdType": 0,
            "resolveThreshold": None,
            "comparisonDelta": None,
            "environment": None,
            "triggers": [{"label": "critical", "alertThreshold": 10, "actions": [action]}],
        },
        "monitor": {
            "monitor": "",
            "environment": None,
            "on": ["missed", "failed", "timeout"],
            "failures": 1,
            "schedule": None,
            "checkinMargin": None,
            "maxRuntime": None,
            "timezone": None,
            "actions": [action],
        },
    }[kind]
    created = time_text(int(created_s * NS))
    return {
        "organisation": "acme",
        "rule_id": rule_id,
        "kind": kind,
        "channels": [1],
        "name": f"Rule {rule_id}",
        "body": orjson.dumps({"name": f"Rule {rule_id}", **made, **body}).decode(),
        "created_at": created,
        "changed_at": time_text(int(created_s * NS) + len(str(body))),
        "created_by": "t",
    }


def utc(seconds: float) -> str:
    """A time for people who read a failure."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat()
