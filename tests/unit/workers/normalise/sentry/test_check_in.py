"""Sentry check-ins: one row per state of a job, and a name for whatever had to be mended."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import orjson
import pytest
import sentry_sdk
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.envelope.body import write_single
from schemas.rows import row_id
from tests.unit import normalised
from tests.unit.normalised import ID, NOW_NS, SPAN, TRACE, anything, items_of, origin, sdk
from workers.normalise.sentry import check_in
from workers.normalise.verdict import Verdict

rows = partial(normalised.rows, columns=check_in.COLUMNS)
check_storable = partial(normalised.check_storable, columns=check_in.COLUMNS)


def verdict(payload: Any, header: bytes = b"{}", **changes: Any) -> Verdict:
    return check_in.normalise(
        origin(**changes), write_single(header, {"type": "check_in"}, json.dumps(payload).encode())
    )


def row(payload: Any, header: bytes = b"{}", **changes: Any) -> dict[str, Any]:
    (found,) = rows(verdict(payload, header, **changes))
    return found


def check(**fields: Any) -> dict[str, Any]:
    return {"check_in_id": ID, "monitor_slug": "nightly", "status": "ok", **fields}


def test_check_in_becomes_a_row() -> None:
    """Slug, status, duration, schedule and trace are where a query looks for them."""
    schedule = {"type": "crontab", "value": "0 3 * * *"}
    found = row(
        check(
            status="error",
            duration=12.5,
            environment="staging",
            release="shop@1.2",
            monitor_config={"schedule": schedule, "checkin_margin": 5, "timezone": "Europe/Berlin"},
            contexts={"trace": {"trace_id": TRACE, "span_id": SPAN}},
        )
    )
    assert (found["event_type"], found["item_type"], found["name"]) == ("custom", "check_in", "nightly")
    assert (found["status"], found["duration_ns"], found["timestamp"]) == ("error", 12_500_000_000, NOW_NS)
    assert (found["trace_id"], found["span_id"], found["environment"]) == (TRACE, SPAN, "staging")
    assert found["attributes_string"]["monitor.schedule.type"] == "crontab"
    assert found["attributes_string"]["monitor.schedule.value"] == "0 3 * * *"
    assert found["attributes_int"] == {"monitor.checkin_margin": 5}
    assert found["resource"]["service.version"] == "shop@1.2"
    assert orjson.loads(found["metadata"]) == {
        "checkIn": True,
        "monitorSlug": "nightly",
        "checkInId": ID,
        "status": "error",
    }
    assert found["repairs"] == []


def test_start_and_end_are_two_rows_and_a_repeat_is_none() -> None:
    """The id is made of check-in and status, whatever message brought it."""
    start, end = row(check(status="in_progress")), row(check())
    assert start["event_id"] != end["event_id"]
    assert row(check(), origin_id="raw-2", item_index=0)["event_id"] == end["event_id"]
    assert row(check(), channel_id=43)["event_id"] != end["event_id"]


@pytest.mark.parametrize(
    ("given_id", "repair"),
    [
        ("0" * 32, "check_in_id_missing"),
        (None, "check_in_id_missing"),
        ("x", "check_in_id_invalid"),
        (7, "check_in_id_invalid"),
    ],
)
def test_check_in_without_an_id_is_a_row_of_its_message(given_id: Any, repair: str) -> None:
    """All zeros mean the latest one, which is for a query to find."""
    found = row(check(check_in_id=given_id))
    assert found["event_id"] == row_id("sentry.item", 42, "raw-1", 3)
    assert found["repairs"] == [repair]
    assert orjson.loads(found["metadata"])["checkInIdMissing"] is True


@pytest.mark.parametrize("status", ["ok", "error", "in_progress", "missed", "unknown"])
def test_known_statuses_are_kept(status: str) -> None:
    """No repair for them."""
    assert (row(check(status=status))["status"], row(check(status=status))["repairs"]) == (status, [])


@pytest.mark.parametrize("status", [None, "", "timeout", 1, {}])
def test_other_statuses_are_unknown_and_named(status: Any) -> None:
    """The payload still says what it was."""
    assert (row(check(status=status))["status"], row(check(status=status))["repairs"]) == (
        "unknown",
        ["status_unknown"],
    )


@pytest.mark.parametrize("slug", [None, "", "  ", {}, [], True])
def test_check_in_without_a_slug_is_rejected(slug: Any) -> None:
    """There is no monitor it could belong to."""
    found = verdict(check(monitor_slug=slug))
    assert (found.rows, found.accepted, found.rejections[0].reason) == ([], 0, "missing_monitor_slug")


def test_long_slug_is_cut_and_named() -> None:
    """Far above what any monitor is called: two names that differ below that stay two."""
    found = row(check(monitor_slug="m" * 257))
    assert (found["name"], found["repairs"]) == ("m" * 256, ["monitor_slug_cut"])
    beginning = "letter-send-not-signed-or-declined-reminder-notifications"
    assert [row(check(monitor_slug=f"{beginning}-{end}"))["name"][-1] for end in "ab"] == ["a", "b"]


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("Office: Send Daily", "office-send-daily"),
        ("office-send-daily", "office-send-daily"),
        ("  --Nightly   Backup__ ", "nightly-backup"),
        ("Caf\u00e9 Report", "cafe-report"),
        ("job_with_underscores", "job_with_underscores"),
        ("\u65e5\u6b21", "\u65e5\u6b21"),
    ],
)
def test_a_monitor_has_one_name_however_it_is_written(given: str, stored: str) -> None:
    """As Sentry slugifies; a name that would become nothing stays as it is."""
    assert row(check(monitor_slug=given))["name"] == stored


@pytest.mark.parametrize("duration", [-1, "x", True, {}, 1e300, 2**63])
def test_duration_that_is_none_is_zero_and_named(duration: Any) -> None:
    """A wrong duration does not cost the check-in."""
    assert (row(check(duration=duration))["duration_ns"], row(check(duration=duration))["repairs"]) == (
        0,
        ["duration_invalid"],
    )


def test_environment_stays_the_keys_without_permission() -> None:
    """The check-in's own is kept as an attribute."""
    found = row(check(environment="staging"), environment_from_event=False)
    assert (found["environment"], found["attributes_string"]) == ("production", {"sentry.environment": "staging"})


def test_real_sdk_reports_start_and_end() -> None:
    """sentry_sdk.crons.monitor around a job that works and one that fails."""
    config: Any = {"schedule": {"type": "interval", "value": 5, "unit": "minute"}, "max_runtime": 10}
    with sdk() as captured:
        with sentry_sdk.monitor("nightly", monitor_config=config):
            pass
        with pytest.raises(ZeroDivisionError), sentry_sdk.monitor("hourly"):
            raise ZeroDivisionError
    found = [one for single in items_of(captured, "check_in") for one in rows(check_in.normalise(origin(), single))]
    assert [(one["name"], one["status"]) for one in found] == [
        ("nightly", "in_progress"),
        ("nightly", "ok"),
        ("hourly", "in_progress"),
        ("hourly", "error"),
    ]
    start, end = found[:2]
    assert orjson.loads(start["metadata"])["checkInId"] == orjson.loads(end["metadata"])["checkInId"]
    assert len({one["event_id"] for one in found}) == 4
    assert (start["duration_ns"], end["duration_ns"] > 0) == (0, True)
    assert (start["environment"], start["resource"]["service.version"]) == ("staging", "shop@1.2")
    assert start["attributes_int"]["monitor.schedule.value"] == 5
    assert start["attributes_string"]["monitor.schedule.unit"] == "minute"


names = (
    "check_in_id",
    "status",
    "duration",
    "environment",
    "release",
    "monitor_config",
    "contexts",
    "timestamp",
)


@settings(max_examples=150, deadline=None)
@given(st.fixed_dictionaries({"monitor_slug": st.just("job")}, optional=dict.fromkeys(names, anything)))
def test_any_check_in_with_a_slug_is_one_row(payload: dict[str, Any]) -> None:
    """Whatever its other fields hold."""
    found = verdict(payload)
    check_storable(found)
    assert (len(found.rows), found.accepted, found.rejections) == (1, 1, [])


@settings(deadline=None)
@given(anything)
def test_any_json_is_answered(payload: Any) -> None:
    """A row or a named rejection."""
    check_storable(verdict(payload))


@given(st.binary(max_size=200))
def test_any_bytes_are_answered(body: bytes) -> None:
    """Not a crash: a row or a named rejection."""
    for raw in (body, b"{}\n{}\n" + body, b'{}\n{"type":"check_in"}\n' + body):
        check_storable(check_in.normalise(origin(), raw))
