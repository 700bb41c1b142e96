"""When a job should run: a crontab line in a time zone, or an interval. No clock and no I/O."""

from __future__ import annotations

import calendar
import datetime as dt
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from console.api.errors import ApiError

UNITS_S: Final[Mapping[str, int]] = {
    "minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800, "month": 2_592_000, "year": 31_536_000,
}  # fmt: skip
_NAMED_LINES: Final[Mapping[str, str]] = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}  # fmt: skip
_MONTHS: Final = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
_DAYS: Final = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
# Minute, hour, day of the month, month, day of the week (0 and 7 are Sunday).
_BOUNDS: Final = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_FIELDS: Final = ("minute", "hour", "day of the month", "month", "day of the week")
_DAY_MINUTES: Final = 24 * 60
# 29 February of a leap year that is none of the next seven.
_LONGEST_DAYS: Final = 8 * 366 + 1


@dataclass(frozen=True, slots=True)
class Interval:
    """Every so many seconds after the last run."""

    seconds: int

    def after(self, moment_s: float) -> float | None:
        """When the run after one at `moment_s` should begin."""
        return moment_s + self.seconds


@dataclass(frozen=True, slots=True)
class Crontab:
    """The minutes of a line of a crontab in a time zone."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    # As cron does: with both days given, either of them is enough.
    either_day: bool
    zone: zoneinfo.ZoneInfo

    def after(self, moment_s: float) -> float | None:
        """The first time of the line after `moment_s`; None if there is none in the next eight years."""
        first = dt.datetime.fromtimestamp(moment_s, self.zone).date()
        day, last = first, first + dt.timedelta(days=_LONGEST_DAYS)
        while day <= last:
            if day.month not in self.months:
                day = (day.replace(day=1) + dt.timedelta(days=32)).replace(day=1)
                continue
            if self._has_day(day):
                after_s = moment_s if day <= first + dt.timedelta(days=1) else None
                if (time_s := self._first_of(day, after_s)) is not None:
                    return time_s
            day += dt.timedelta(days=1)
        return None

    def _first_of(self, day: dt.date, after_s: float | None) -> float | None:
        """In clock time; a time that the change to summer time leaves out is as much later as the clock jumps."""
        begin = dt.datetime.combine(day, dt.time(), self.zone)
        end = dt.datetime.combine(day + dt.timedelta(days=1), dt.time(), self.zone)
        if begin.utcoffset() != end.utcoffset():
            times = _times_of(self.minutes, self.hours, day, self.zone)
            return next((time_s for time_s in times if after_s is None or time_s > after_s), None)
        begin_s = begin.timestamp()
        passed = -1 if after_s is None else int((after_s - begin_s) // 60)
        minute = self._minute_after(passed)
        return None if minute is None else begin_s + 60 * minute

    def _minute_after(self, passed: int) -> int | None:
        """The first minute of a day of 24 hours after one of its minutes; -1 is before all."""
        if passed >= _DAY_MINUTES - 1:
            return None
        hour, minute = divmod(passed, 60) if passed >= 0 else (0, -1)
        if hour in self.hours and (later := [entry for entry in self.minutes if entry > minute]):
            return hour * 60 + min(later)
        hours = [entry for entry in self.hours if entry > hour]
        return min(hours) * 60 + min(self.minutes) if hours else None

    def _has_day(self, day: dt.date) -> bool:
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return of_month or of_week if self.either_day else of_month and of_week


@lru_cache(maxsize=64)
def _times_of(
    minutes: frozenset[int], hours: frozenset[int], day: dt.date, zone: zoneinfo.ZoneInfo
) -> tuple[float, ...]:
    """All times of a day on which clocks change."""
    return tuple(
        sorted(
            dt.datetime.combine(day, dt.time(hour, minute), zone).timestamp() for hour in hours for minute in minutes
        )
    )


Schedule = Interval | Crontab


def read_schedule(document: Mapping[str, Any], zone: str) -> Schedule:
    """`{"type": "crontab", "value": "0 2 * * *"}` or `{"type": "interval", "value": 10, "unit": "minute"}`.

    Raises ApiError 400.
    """
    kind, value = document.get("type"), document.get("value")
    if kind == "interval":
        return _interval(value, str(document.get("unit") or "minute"))
    if kind == "crontab" and isinstance(value, str):
        return _crontab(value, zone)
    raise ApiError(400, "schedule: expected type crontab with a line, or interval with a number, found another form")


def _interval(value: Any, unit: str) -> Interval:
    text = str(value)
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else 0
    if not number or unit not in UNITS_S:
        expected = f"a number from 1 and a unit of {', '.join(UNITS_S)}"
        raise ApiError(400, f"schedule: expected {expected}, found {text[:20]!r} {unit[:20]!r}")
    return Interval(number * UNITS_S[unit])


def _crontab(line: str, zone: str) -> Crontab:
    fields = _NAMED_LINES.get(line.strip().lower(), line).split()
    if len(fields) != len(_BOUNDS) or len(line) > 200:
        raise ApiError(400, f"schedule: expected five fields (minute hour day month weekday), found {line[:60]!r}")
    minutes, hours, days, months, weekdays = (_numbers(field, number) for number, field in enumerate(fields))
    either = not fields[2].startswith("*") and not fields[4].startswith("*")
    return Crontab(minutes, hours, days, months, frozenset(day % 7 for day in weekdays), either, _zone(zone))


def _zone(name: str) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ApiError(400, f"timezone: expected one like Europe/Paris, found {name[:60]!r}") from None


def _numbers(field: str, place: int) -> frozenset[int]:
    numbers: set[int] = set()
    for part in field.split(","):
        chosen, slash, step_text = part.partition("/")
        step = _number(step_text, place, {}) if slash else 1
        first, last = _range(chosen, place, has_step=bool(slash))
        if not step or first > last:
            raise _wrong(part, place)
        numbers.update(range(first, last + 1, step))
    return frozenset(numbers)


def _range(text: str, place: int, *, has_step: bool) -> tuple[int, int]:
    least, most = _BOUNDS[place]
    names = _MONTHS if place == 3 else _DAYS if place == 4 else {}
    if text in ("*", "?"):
        return least, min(most, 6) if place == 4 else most
    first_text, dash, last_text = text.partition("-")
    first = _number(first_text, place, names)
    last = _number(last_text, place, names) if dash else most if has_step else first
    if not (least <= first <= most and least <= last <= most):
        raise _wrong(text, place)
    return first, last


def _number(text: str, place: int, names: Mapping[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not (text.isascii() and text.isdigit() and len(text) <= 4):
        raise _wrong(text, place)
    return int(text)


def _wrong(text: str, place: int) -> ApiError:
    least, most = _BOUNDS[place]
    expected = f"a {_FIELDS[place]} from {least} to {most}, a list, a range or a step"
    return ApiError(400, f"schedule: expected {expected}, found {text[:40]!r}")
