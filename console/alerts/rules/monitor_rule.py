"""Monitor rules: is a job late, missed, failed or too long, and what is said about a change. No I/O and no clock."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from console.alerts.rules.monitor_runs import IN_PROGRESS, Monitor, MonitorKey, MonitorRun
from console.alerts.state import FIRING, RESOLVED, Firing, MonitorState, RuleState, identity
from console.api.errors import ApiError
from console.rules.schedule import Crontab, Schedule, read_schedule

if TYPE_CHECKING:
    from console.rules.parsed import MonitorRule

NS: Final = 1_000_000_000
OK, LATE, MISSED, FAILED, TIMEOUT = "ok", "late", "missed", "failed", "timeout"
# As at Sentry, where check-ins say nothing.
MARGIN_S: Final = 60
RUNTIME_S: Final = 1_800
# A check-in that comes early by less belongs to the time it is early for: clocks differ.
EARLY_S: Final = 60.0
_EARLY_SHARE: Final = 0.1
# Times of a schedule that are counted as missed at once; a rule may wait for more.
_MOST_MISSED: Final = 20
# Monitors of one rule that were not well at some time; beyond it no more are told of.
MAX_MONITORS: Final = 2_000
# Monitors that are looked at before others have their turn.
_AT_ONCE: Final = 20
_WORDS: Final[Mapping[str, str]] = {
    LATE: "is late",
    MISSED: "missed its check-in",
    FAILED: "failed",
    TIMEOUT: "takes too long",
    OK: "is well again",
}


@dataclass(frozen=True, slots=True)
class MonitorPlan:
    """When a monitor's next run should be there, and how long a run may take."""

    schedule: Schedule | None
    margin_s: float
    runtime_s: float


@dataclass(frozen=True, slots=True)
class MonitorVerdict:
    """How a monitor is. `at_s`: the time that it is about; `failures`: in a row."""

    status: str
    at_s: float
    failures: int = 0


def plan_of(rule: MonitorRule, config: Mapping[str, str]) -> MonitorPlan:
    """What the rule says comes before what the check-ins say."""
    schedule = rule.schedule
    if schedule is None and "schedule.type" in config:
        fields = {name: config.get(f"schedule.{name}") for name in ("type", "value", "unit")}
        try:
            schedule = read_schedule(fields, config.get("timezone") or "UTC")
        except ApiError:  # one that we cannot compute: then only failed runs are known
            schedule = None
    margin_s = rule.margin_s or _minutes(config.get("checkin_margin"), MARGIN_S)
    return MonitorPlan(schedule, margin_s, rule.runtime_s or _minutes(config.get("max_runtime"), RUNTIME_S))


def verdict(  # noqa: PLR0913, PLR0917 (all that a verdict depends on)
    plan: MonitorPlan,
    runs: Sequence[MonitorRun],
    now_s: float,
    on: Sequence[str],
    since_s: float,
    most_missed: int = _MOST_MISSED,
) -> MonitorVerdict:
    """How a monitor is at a time, as far as a rule wants to know it. What was over before `since_s` does not count."""
    if not runs:
        return MonitorVerdict(OK, now_s)
    last_s = runs[-1].opened_ns / NS
    failed = _failed_at_the_end(runs, plan, now_s)
    missed, expected_s, is_late = _missed(plan, last_s, now_s, most_missed)
    if missed and MISSED in on and expected_s + plan.margin_s >= since_s:
        return MonitorVerdict(MISSED, expected_s, missed + len(failed))
    wanted = [run for run in failed if _kind(run) in on and run.opened_ns / NS >= since_s - plan.runtime_s]
    if wanted:
        return MonitorVerdict(_kind(wanted[-1]), wanted[-1].opened_ns / NS, len(failed))
    if is_late and LATE in on and not missed and expected_s >= since_s:
        return MonitorVerdict(LATE, expected_s, 1)
    return MonitorVerdict(OK, last_s)


def expected_after(schedule: Schedule, last_s: float) -> float | None:
    """When the run after one that began at `last_s` should begin."""
    expected_s = schedule.after(last_s)
    if expected_s is None or not isinstance(schedule, Crontab):
        return expected_s
    following_s = schedule.after(expected_s)
    gap_s = (following_s or expected_s) - expected_s
    is_early = expected_s - last_s <= min(EARLY_S, gap_s * _EARLY_SHARE)
    return following_s if is_early else expected_s


async def evaluate(
    rule: MonitorRule, state: RuleState, monitors: Mapping[MonitorKey, Monitor], end_ns: int
) -> list[Firing]:
    """The firings of changes; `state` has the new ones. Lets others work between monitors."""
    firings = []
    watched = {key: monitor for key, monitor in monitors.items() if _is_watched(rule, key)}
    _keep_watched(rule, state, watched)
    for number, (key, monitor) in enumerate(watched.items()):
        if number % _AT_ONCE == _AT_ONCE - 1:
            await asyncio.sleep(0)
        firing = _change(rule, state, key, monitor, end_ns)
        if firing is not None:
            firings.append(firing)
    if state.evaluated_ns == 0 or _status(state) != state.status:
        state.status, state.since_ns = _status(state), end_ns
    state.evaluated_ns = end_ns
    return firings


def _change(rule: MonitorRule, state: RuleState, key: MonitorKey, monitor: Monitor, end_ns: int) -> Firing | None:
    """The firing of one monitor, if it is in another state than before."""
    before = state.monitors.get(_name(key), MonitorState())
    plan = plan_of(rule, monitor.config)
    runs, since_s = monitor.runs(end_ns), rule.head.created_ns / NS
    answer = verdict(plan, runs, end_ns / NS, rule.on, since_s, max(rule.failures, _MOST_MISSED))
    status = answer.status if answer.status == OK or answer.failures >= rule.failures else before.status
    has_room = _name(key) in state.monitors or len(state.monitors) < MAX_MONITORS
    if status == before.status or not has_room:
        return None
    built = MonitorState(status, end_ns, before.transitions + 1, int(answer.at_s * NS))
    state.monitors[_name(key)] = built
    return _firing(rule, key, (before, built), answer)


def _keep_watched(rule: MonitorRule, state: RuleState, watched: Mapping[MonitorKey, Monitor]) -> None:
    names = {_name(key) for key in watched}
    state.monitors = {name: entry for name, entry in state.monitors.items() if name in names}


def _status(state: RuleState) -> str:
    return "firing" if any(entry.status != OK for entry in state.monitors.values()) else OK


def _missed(plan: MonitorPlan, last_s: float, now_s: float, most: int) -> tuple[int, float, bool]:
    """How many runs are missed, at most so many; when the last of them should have been; whether the next is late."""
    number, missed_s, before_s = 0, 0.0, last_s
    while plan.schedule is not None and number < most:
        is_first = number == 0
        expected_s = expected_after(plan.schedule, before_s) if is_first else plan.schedule.after(before_s)
        if expected_s is None or now_s < expected_s + plan.margin_s:
            is_late = expected_s is not None and now_s >= expected_s
            return number, missed_s or (expected_s or 0.0), is_late
        number, missed_s, before_s = number + 1, expected_s, expected_s
    return number, now_s - plan.margin_s if number else missed_s, False


def _failed_at_the_end(runs: Sequence[MonitorRun], plan: MonitorPlan, now_s: float) -> list[MonitorRun]:
    """The last runs, as long as they failed or took too long; an open one that may go on does not count."""
    failed: list[MonitorRun] = []
    for run in reversed(runs):
        if run.status == IN_PROGRESS and now_s - run.opened_ns / NS <= plan.runtime_s:
            continue
        if run.status == "ok":
            break
        failed.append(run)
    return failed[::-1]


def _kind(run: MonitorRun) -> str:
    if run.status == MISSED:  # a sender may say it itself
        return MISSED
    return TIMEOUT if run.status in (IN_PROGRESS, "timeout") else FAILED


def _firing(
    rule: MonitorRule, key: MonitorKey, states: tuple[MonitorState, MonitorState], answer: MonitorVerdict
) -> Firing:
    before, built = states
    channel, monitor, environment = key
    is_over = built.status == OK
    at = dt.datetime.fromtimestamp(answer.at_s, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    said = {
        OK: f"it ran at {at}",
        LATE: f"expected at {at}, not there yet",
        MISSED: f"expected at {at}, not there when its margin was over",
        FAILED: f"the run of {at} failed",
        TIMEOUT: f"the run of {at} has not ended in time",
    }[built.status]
    times = f"; {answer.failures} times in a row" if answer.failures > 1 else ""
    return Firing(
        identity(*rule.head.key, channel, monitor, environment, built.transitions, built.status),
        built.since_ns,
        RESOLVED if is_over else FIRING,
        "warning" if built.status == LATE else "critical",
        f"monitor:{channel}:{monitor}:{environment}",
        channel,
        f"{monitor} {_WORDS[built.status]}",
        f"{said}{times} (environment {environment})",
        f"/organizations/{rule.head.organisation}/monitors/{monitor}/",
        details={
            "monitor": {
                "slug": monitor,
                "environment": environment,
                "status": built.status,
                "before": before.status,
                "at": at,
                "failures": answer.failures,
            }
        },
    )


def _is_watched(rule: MonitorRule, key: MonitorKey) -> bool:
    channel, monitor, environment = key
    is_named = rule.monitor in ("", monitor) and rule.head.environment in ("", environment)
    return is_named and channel in rule.head.channels


def _name(key: MonitorKey) -> str:
    return ":".join(str(part) for part in key)


def _minutes(text: str | None, default_s: float) -> float:
    try:
        minutes = float(text or 0)
    except ValueError:
        return default_s
    return minutes * 60 if 0 < minutes <= 43_200 else default_s
