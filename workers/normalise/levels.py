"""Levels of Sentry events and logs as OpenTelemetry severities. Nothing but the two tables lives here."""

from __future__ import annotations

from typing import Any, Final

from workers.normalise.scalars import as_text, whole

LEVEL_INVALID: Final = "level_invalid"

Severity = tuple[int, str]

# OpenTelemetry logs data model, SeverityNumber: the first number of each range.
SEVERITY_NUMBERS: Final = {"trace": 1, "debug": 5, "info": 9, "warning": 13, "warn": 13, "error": 17, "fatal": 21}

_EVENT_LEVELS: Final[dict[str, Severity]] = {
    "trace": (1, "trace"),
    "debug": (5, "debug"),
    "info": (9, "info"),
    "log": (9, "info"),
    "warning": (13, "warning"),
    "warn": (13, "warning"),
    "error": (17, "error"),
    "fatal": (21, "fatal"),
    "critical": (21, "fatal"),
    # Python's logging module
    "10": (5, "debug"),
    "20": (9, "info"),
    "30": (13, "warning"),
    "40": (17, "error"),
    "50": (21, "fatal"),
}


def event_severity(value: Any, default: str, repairs: list[str]) -> Severity:
    """(severity number, level) of an event's level; `default` where there is none or nobody knows it."""
    if value is None:
        return _EVENT_LEVELS[default]
    known = _EVENT_LEVELS.get(as_text(value).strip().lower())
    if known is None:
        repairs.append(LEVEL_INVALID)
        return _EVENT_LEVELS[default]
    return known


def log_severity(level: str, number: Any) -> Severity:
    """(severity number, level) of a log: the SDK's own number if it is one, an unknown level is kept with number 0."""
    text = level.strip().lower()[:32]
    given = whole(number)
    if given is not None and 1 <= given <= 24:
        return given, text
    return SEVERITY_NUMBERS.get(text, 0), text
