"""Conditions of an issue alert as Sentry names them: which are evaluated, and what each of them needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from console.api.errors import ApiError

_FIRST: Final = "sentry.rules.conditions."
# By the last part of the name, which is enough in a request of ours.
CONDITIONS: Final[Mapping[str, str]] = {
    f"{_FIRST}first_seen_event.FirstSeenEventCondition": "new",
    f"{_FIRST}regression_event.RegressionEventCondition": "regressed",
    f"{_FIRST}every_event.EveryEventCondition": "every",
    f"{_FIRST}event_frequency.EventFrequencyCondition": "events",
    f"{_FIRST}event_frequency.EventUniqueUserFrequencyCondition": "users",
}
INTERVALS_S: Final[Mapping[str, int]] = {
    "1m": 60, "5m": 300, "10m": 600, "15m": 900, "30m": 1_800, "1h": 3_600, "1d": 86_400, "1w": 604_800,
    "30d": 2_592_000,
}  # fmt: skip
_COMPARISONS: Final = ("count", "percent")
MOST: Final = 1e9


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition. `events` and `users`: more than `value` of them in `interval_s`.

    With `compared_s`: more than `value` percent more than in the same time so long before.
    """

    kind: str
    words: str
    value: float = 0.0
    interval_s: int = 0
    compared_s: int = 0

    @property
    def is_count(self) -> bool:
        """Whether it counts errors of a time, and not only looks at the new ones."""
        return self.kind in ("events", "users")


NEW_ISSUE: Final = Condition("new", "a new issue")
REGRESSION: Final = Condition("regressed", "a resolved issue comes back")
EVERY_EVENT: Final = Condition("every", "an error comes in")


def read_condition(part: Mapping[str, Any], shown: str) -> Condition:
    """The condition of an object of a rule. Raises ApiError 400, also for one that is not evaluated."""
    kind = CONDITIONS.get(str(part.get("id")))
    if kind is None:
        known = ", ".join(CONDITIONS)
        raise ApiError(400, f"{shown}.id: expected a condition that is evaluated here: {known}; {found_name(part)}")
    plain = {"new": NEW_ISSUE, "regressed": REGRESSION, "every": EVERY_EVENT}.get(kind)
    return plain or _counting(kind, part, shown)


def _counting(kind: str, part: Mapping[str, Any], shown: str) -> Condition:
    value = read_number(part.get("value"), f"{shown}.value")
    interval = read_choice(part, "interval", INTERVALS_S, "1h", shown)
    comparison = read_choice(part, "comparisonType", dict.fromkeys(_COMPARISONS, 1), "count", shown)
    noun = "errors" if kind == "events" else "users"
    if comparison == "count":
        return Condition(kind, f"more than {value:g} {noun} in {interval}", value, INTERVALS_S[interval])
    before = read_choice(part, "comparisonInterval", INTERVALS_S, "1w", shown)
    words = f"{value:g} % more {noun} in {interval} than {before} before"
    return Condition(kind, words, value, INTERVALS_S[interval], INTERVALS_S[before])


def read_choice(part: Mapping[str, Any], name: str, choices: Mapping[str, Any], default: str, shown: str) -> str:
    """A text that is one of `choices`. Raises ApiError 400."""
    value = part.get(name)
    if value is None or value == "":
        return default
    if not isinstance(value, str) or value not in choices:
        raise ApiError(400, f"{shown}.{name}: expected one of {', '.join(choices)}, found {str(value)[:40]!r}")
    return value


def read_number(value: Any, shown: str) -> float:
    """A number from 0 on, also as text, as Sentry's own page sends it. Raises ApiError 400."""
    if isinstance(value, str) and len(value) <= 20:
        try:
            value = float(value)
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST:
        raise ApiError(400, f"{shown}: expected a number from 0 to {MOST:.0f}, found {str(value)[:40]!r}")
    return float(value)


def found_name(part: Mapping[str, Any]) -> str:
    """What a request has instead of a known name."""
    return f"found {str(part.get('id') or part.get('type') or 'none')[:100]!r}"
