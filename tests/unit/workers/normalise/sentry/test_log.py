"""Sentry log containers: one row per log, each judged alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas.envelope.body import write_single
from schemas.headers import Origin
from schemas.rows import NANOS_PER_SECOND, row_id
from workers.normalise.sentry import log
from workers.normalise.verdict import Verdict

EXAMPLE = Path(__file__).parents[4] / "examples" / "sentry" / "logs.envelope"
NOW_NS = 1_795_272_366 * NANOS_PER_SECOND
TRACE = "9b9a0fdc03ea4bc1aa343f0b325b74e4"


def of_body(body: bytes, *, environment_from_event: bool = False) -> Verdict:
    origin = Origin("acme", 42, "k1", "production", environment_from_event, NOW_NS, origin_id="raw-1", item_index=3)
    return log.normalise(origin, body)


def of_logs(*logs: Any) -> Verdict:
    return of_body(write_single(b"{}", {"type": "log", "item_count": len(logs)}, orjson.dumps({"items": logs})))


def rows(found: Verdict) -> list[dict[str, Any]]:
    return [dict(zip(log.COLUMNS, row, strict=True)) for row in found.rows]


def entry(**changes: Any) -> dict[str, Any]:
    return {"timestamp": 1_795_272_365, "trace_id": TRACE, "level": "info", "body": "hello", **changes}


def test_container_becomes_a_row_per_log() -> None:
    """Severity, times to the nanosecond, template, sender, user."""
    disk, tick, odd = rows(of_body(EXAMPLE.read_bytes(), environment_from_event=True))
    assert (disk["event_type"], disk["item_type"], disk["body"]) == ("app.log", "log", "disk 91 % full")
    assert disk["event_id"] == row_id("sentry.log", 42, "raw-1", 3, 0)
    assert (disk["severity_number"], disk["severity_text"]) == (14, "warn")
    assert (disk["trace_id"], disk["span_id"], disk["user_id"]) == (TRACE, "a7cb0ac040c271b8", "42")
    assert disk["environment"] == "staging"
    assert disk["attributes_string"]["sentry.message.template"] == "disk %s %% full"
    assert disk["attributes_int"] == {"sentry.message.parameter.0": 91}
    assert disk["resource"]["host.name"] == "db-1"
    assert disk["resource"]["telemetry.sdk.name"] == "sentry.javascript.node"
    assert disk["repairs"] == ["attribute_type:load"]
    assert (tick["severity_number"], tick["timestamp"]) == (1, 1_795_272_365_123_456_789)
    assert (odd["severity_number"], odd["severity_text"], odd["timestamp"]) == (0, "notice", NOW_NS)
    assert odd["repairs"] == ["timestamp_missing"]


def test_log_without_a_required_field_is_rejected_alone() -> None:
    """Trace id, body and level are required; the index says which log it was."""
    found = of_body(EXAMPLE.read_bytes())
    assert found.accepted == 3
    assert [(one.index, one.reason) for one in found.rejections] == [
        (3, "invalid_trace_id"),
        (4, "missing_body"),
        (5, "missing_level"),
    ]
    assert found.warning == ""


@pytest.mark.parametrize(
    ("level", "number"), [("trace", 1), ("debug", 5), ("info", 9), ("warn", 13), ("error", 17), ("fatal", 21)]
)
def test_levels_map_to_severities(level: str, number: int) -> None:
    """Unless the SDK gives a number of its own between 1 and 24."""
    assert rows(of_logs(entry(level=level)))[0]["severity_number"] == number
    assert rows(of_logs(entry(level=level, severity_number=24)))[0]["severity_number"] == 24
    assert rows(of_logs(entry(level=level, severity_number=25)))[0]["severity_number"] == number


def test_body_that_is_not_text_is_kept_as_text() -> None:
    """A number or an object is worth more than a rejection."""
    (found,) = rows(of_logs(entry(body={"a": [1]})))
    assert (found["body"], found["repairs"]) == ('{"a":[1]}', ["body_not_text"])


def test_equal_logs_are_different_rows() -> None:
    """Their place in the container tells them apart, and a redelivery makes the same ids."""
    first, second = rows(of_logs(entry(), entry()))
    assert first["event_id"] != second["event_id"]
    assert [row["event_id"] for row in rows(of_logs(entry(), entry()))] == [first["event_id"], second["event_id"]]


@pytest.mark.parametrize("records", [None, {}, "x"])
def test_container_without_a_list_is_rejected(records: Any) -> None:
    """There is nothing in it to count."""
    body = write_single(b"{}", {"type": "log"}, orjson.dumps({"items": records}))
    assert [one.reason for one in of_body(body).rejections] == ["invalid_container"]


@pytest.mark.parametrize("name", ["server.address", "sentry.server.address"])
def test_server_is_read_under_either_name(name: str) -> None:
    """sentry-go puts the SDK's prefix before the name that the other SDKs use."""
    (row,) = rows(of_logs(entry(attributes={name: {"value": "till-7", "type": "string"}})))
    assert row["resource"]["host.name"] == "till-7"


def test_invalid_release_is_named_on_every_log() -> None:
    """Logs share their resource, but each row says what was repaired in it."""
    attributes = {"sentry.release": {"value": "a/b", "type": "string"}}
    found = rows(of_logs(entry(attributes=attributes), entry(attributes=attributes)))
    assert [row["repairs"] for row in found] == [["release_invalid"], ["release_invalid"]]
    assert all("service.version" not in row["resource"] for row in found)
