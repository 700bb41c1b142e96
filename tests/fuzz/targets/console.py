"""What the Web API parses: searches, columns and orders of Discover, and alert rules."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from typing import Any, Final

import orjson

from console.api.errors import ApiError
from console.api.request import Period
from console.explore.question import QuestionReader, Scope
from console.query.conditions import Language, conditions
from console.query.datasets import DATASETS
from console.rules.actions import ActionReader
from console.rules.read_rule import read_issue_rule, read_metric_rule, read_monitor_rule
from schemas.registry import Channel
from tests.fuzz.target import Sample, Target

_NOW: Final = dt.datetime(2026, 11, 27, 12, tzinfo=dt.UTC)
_PROJECTS: Final = {"web": 1, "1": 1}
# Everything of a statement that is not a placeholder: our words, our quotes, no way out of them.
_OURS: Final = re.compile(r"[\w\s()=<>!.,'\[\]/*+\\{}:-]*")
_QUERIES: Final = (
    "is:unresolved level:error !url:*health* (a:1 OR b:>2) text",
    'title:"out of \\"memory\\"" release:[a, b] tags[till]:seven has:user firstSeen:-24h assigned:me',
    "release:latest timesSeen:>=10 left:>2 timestamp:>2026-01-31 issue:WEB-00000000",
)
_COLUMNS: Final = (
    "errors\ntitle\ncount()\ncount_unique(user.id)\n-count",
    "spans\nspan.op\np95(span.duration)\navg_if(`span.op:db`,span.duration)\n-p95_span_duration",
    "spans\ncount_if(level,equals,error)\npercentile(span.duration,0.95)\nepm()\n-epm()",
)
_RULES: Final[tuple[dict[str, Any], ...]] = (
    {
        "name": "a",
        "conditions": [
            {"id": "sentry.rules.conditions.first_seen_event.FirstSeenEventCondition"},
            {"id": "sentry.rules.conditions.event_frequency.EventFrequencyCondition", "value": 5, "interval": "1h"},
        ],
        "filters": [{"id": "sentry.rules.filters.level.LevelFilter", "match": "gte", "level": "40"}],
        "actions": [{"type": "webhook", "url": "https://a.test/x"}, {"type": "email", "to": ["a@b.test"]}],
        "frequency": 30,
    },
    {
        "name": "a",
        "aggregate": "count()",
        "query": "level:error",
        "timeWindow": 5,
        "triggers": [
            {"label": "critical", "alertThreshold": 9, "actions": [{"type": "slack", "url": "https://a.test/x"}]}
        ],
    },
    {
        "name": "a",
        "on": ["missed", "failed"],
        "schedule": {"type": "crontab", "value": "*/5 8-18 * * 1-5"},
        "timezone": "Europe/Paris",
        "actions": [{"type": "email", "to": "a@b.test"}],
    },
)


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _search(data: bytes) -> bool:
    """A search is refused, or becomes SQL in which only parameters are a client's."""
    found = conditions(_text(data), Language(_PROJECTS.get, lambda: _NOW))
    for sql in (found.of_issue, found.of_event):
        assert _OURS.fullmatch(sql), sql
        assert "--" not in sql
    return True


def _question(data: bytes) -> bool:
    """The first line is the dataset, the last one the order."""
    name, *fields, order = _text(data).split("\n") if b"\n" in data else ("", "")
    scope = Scope("acme", [Channel(id=1, organisation="acme")], Period(_NOW - dt.timedelta(days=1), _NOW), _NOW)
    dataset = DATASETS.get(name) or DATASETS["spans" if len(data) % 2 else "errors"]
    question = QuestionReader(dataset, scope, _PROJECTS.get).read(fields, "", [order])
    for column in question.columns:
        assert _OURS.fullmatch(column.sql), column.sql
    return True


def _rule(data: bytes) -> bool:
    document = orjson.loads(data)
    if not isinstance(document, dict):
        return False
    actions = ActionReader(lambda: uuid.UUID(int=1), {})
    if "aggregate" in document:
        read_metric_rule(document, actions, _PROJECTS.get, lambda: _NOW)
    elif "on" in document:
        read_monitor_rule(document, actions)
    else:
        read_issue_rule(document, actions, _PROJECTS.get, lambda: _NOW)
    return True


TARGETS: Final = (
    Target("console-search", lambda: [Sample(one.encode(), "bytes") for one in _QUERIES], _search, (ApiError,)),
    Target("console-question", lambda: [Sample(one.encode(), "bytes") for one in _COLUMNS], _question, (ApiError,)),
    Target(
        "console-rule",
        lambda: [Sample(orjson.dumps(one), "json") for one in _RULES],
        _rule,
        (ApiError, orjson.JSONDecodeError),
    ),
)
