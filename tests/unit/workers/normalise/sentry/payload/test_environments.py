"""Whose environment a row has: the key's, unless the key lets the item name its own. The same for every item."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from schemas.envelope.body import write_single
from schemas.rows import NANOS_PER_SECOND
from tests.unit.workers.normalise.sentry.test_event import NOW_NS, origin
from workers.normalise.sentry import check_in, event, feedback, log, session, span, trace_metric, transaction

NOW_S = NOW_NS // NANOS_PER_SECOND
TRACE, SPAN = "9b9a0fdc03ea4bc1aa343f0b325b74e4", "a7cb0ac040c271b8"
IDS = {"trace_id": TRACE, "span_id": SPAN}
TIMES = {"start_timestamp": NOW_S - 1, "timestamp": NOW_S}


def attribute(name: str) -> dict[str, Any]:
    return {"attributes": {"sentry.environment": {"value": name, "type": "string"}}} if name else {}


def own(name: str) -> dict[str, Any]:
    return {"environment": name} if name else {}


# item type -> (normaliser, payload that names an environment)
ITEMS: dict[str, Any] = {
    "event": (event, own),
    "transaction": (transaction, lambda name: {**TIMES, "contexts": {"trace": IDS}, "spans": [], **own(name)}),
    "check_in": (check_in, lambda name: {"monitor_slug": "m", "status": "ok", **own(name)}),
    "session": (session, lambda name: {"sid": TRACE, "started": NOW_S, "attrs": {"release": "1", **own(name)}}),
    "feedback": (feedback, lambda name: {"contexts": {"feedback": {"message": "m"}}, **own(name)}),
    "log": (
        log,
        lambda name: {
            "items": [{"timestamp": NOW_S, "trace_id": TRACE, "level": "info", "body": "b"} | attribute(name)]
        },
    ),
    "span": (
        span,
        lambda name: {
            "items": [{**IDS, "name": "n", "start_timestamp": NOW_S, "end_timestamp": NOW_S} | attribute(name)]
        },
    ),
    "trace_metric": (
        trace_metric,
        lambda name: {
            "items": [
                {"timestamp": NOW_S, "trace_id": TRACE, "name": "n", "type": "counter", "value": 1} | attribute(name)
            ]
        },
    ),
}


def environments(kind: str, named: str, *, is_allowed: bool, resolved: str = "production") -> set[str]:
    module, payload = ITEMS[kind]
    body = write_single(b"{}", {"type": kind}, orjson.dumps(payload(named)))
    where = origin(environment=resolved, environment_from_event=is_allowed)
    found = module.normalise(where, body)
    assert found.rows, found.rejections
    return {dict(zip(module.COLUMNS, row, strict=True))["environment"] for row in found.rows}


@pytest.mark.parametrize("kind", ITEMS)
def test_an_item_names_its_environment_only_with_permission(kind: str) -> None:
    """Without it, always the one that the receiver resolved from key and header."""
    assert environments(kind, "staging", is_allowed=True) == {"staging"}
    assert environments(kind, "staging", is_allowed=False) == {"production"}
    assert environments(kind, "staging", is_allowed=False, resolved="qa") == {"qa"}


@pytest.mark.parametrize("kind", ITEMS)
@pytest.mark.parametrize("named", ["", "a/b", "none", "x" * 65, ".."])
def test_what_is_no_environment_leaves_the_keys(kind: str, named: str) -> None:
    """Nothing named, or a name that Sentry refuses too."""
    assert environments(kind, named, is_allowed=True) == {"production"}
