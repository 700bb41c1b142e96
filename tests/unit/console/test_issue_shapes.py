"""An issue as tools read it: status, level and what is left out of it."""

from __future__ import annotations

from typing import Any

import pytest

from console.issues.shapes import issue_shape, level_of
from console.storage.clickhouse import Row
from schemas.registry import Channel
from tests.unit.console.fakes import URL
from tests.unit.console.test_routes import ISSUE, LAST, NEVER

MADE_AT = "2026-11-01 00:00:00.000000000"
WEB = Channel(id=1, organisation="acme", slug="web", name="Web shop")


def shape(last_event: Row | None = None, project: Channel = WEB, **changed: Any) -> dict[str, Any]:
    return issue_shape(ISSUE | changed, project, LAST if last_event is None else last_event, URL)


@pytest.mark.parametrize(
    ("row", "status", "details", "substatus"),
    [
        ({"status": "resolved"}, "resolved", {}, None),
        ({"status": "resolved", "resolved_in": "2.0"}, "resolved", {"inRelease": "2.0"}, None),
        ({"status": "resolved", "release_after": MADE_AT}, "resolved", {"inNextRelease": True}, None),
        ({"status": "archived"}, "ignored", {}, "archived_forever"),
        ({"status": "unresolved"}, "unresolved", {}, "ongoing"),
        ({"status": "unresolved", "is_regressed": True}, "unresolved", {}, "regressed"),
        # An issue that came back keeps what it was resolved in; it is not resolved in it any more.
        ({"status": "unresolved", "resolved_in": "2.0", "release_after": MADE_AT}, "unresolved", {}, "ongoing"),
        ({"status": "archived", "resolved_in": "2.0", "release_after": MADE_AT}, "ignored", {}, "archived_forever"),
    ],
)
def test_status(row: Row, status: str, details: dict[str, Any], substatus: str | None) -> None:
    """In Sentry's words; how it was resolved is said of resolved issues only."""
    made = shape(**row)
    assert (made["status"], made["statusDetails"], made["substatus"]) == (status, details, substatus)


@pytest.mark.parametrize(
    ("number", "level"),
    [
        (0, "error"),
        (1, "debug"),
        (8, "debug"),
        (9, "info"),
        (12, "info"),
        (13, "warning"),
        (16, "warning"),
        (17, "error"),
        (20, "error"),
        (21, "fatal"),
        (24, "fatal"),
    ],
)
def test_level(number: int, level: str) -> None:
    """Of a severity number, at both edges of each level."""
    assert level_of(number) == level


def test_an_issue_whose_rows_are_gone_is_shown_still() -> None:
    """Its own row has numbers and times; the last event gave the words."""
    made = shape({}, Channel(id=2, organisation="acme"))
    assert made["title"] == "(no title)"
    assert (made["culprit"], made["level"], made["platform"], made["type"]) == ("", "error", "other", "default")
    assert made["metadata"] == {"title": "(no title)"}
    assert made["project"] == {"id": "2", "slug": "channel-2", "name": "channel-2", "platform": "other"}
    assert (made["count"], made["userCount"], made["assignedTo"]) == ("12", 3, None)
    assert shape(first_seen=NEVER)["firstSeen"] is None


def test_the_words_of_the_last_event() -> None:
    """One of type and value is enough for an error; without a culprit the transaction stands there."""
    assert shape({"exception_message": "out of memory"})["metadata"]["value"] == "out of memory"
    assert shape({"exception_message": "out of memory"})["type"] == "error"
    assert shape({"exception_type": "OOM"})["metadata"] == {"type": "OOM", "value": "", "title": "(no title)"}
    placed = shape(LAST | {"filename": "pay.py", "function": ""})["metadata"]
    assert placed == {"type": "KeyError", "value": "'x'", "title": "KeyError: 'x'", "filename": "pay.py"}
    assert shape({"transaction": "POST /pay"})["culprit"] == "POST /pay"
    assert shape(LAST | {"transaction": "POST /pay"})["culprit"] == "pay.py in pay"
    assert shape({"title": "x" * 300})["title"] == "x" * 256


@pytest.mark.parametrize(("said", "shown"), [(True, True), (False, False), (1, True), (None, False)])
def test_an_unhandled_error_is_told(said: object, shown: object) -> None:
    """Of the last error; one whose row is gone is none."""
    assert shape(LAST | {"is_unhandled": said})["isUnhandled"] is shown
    assert shape({})["isUnhandled"] is False
