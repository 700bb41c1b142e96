"""Sentry sessions: updates of one session, aggregates of many, and whatever else stands there."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import Any

import orjson
import pytest
import sentry_sdk
from hypothesis import given, settings
from hypothesis import strategies as st
from sentry_sdk.sessions import track_session

from schemas.envelope.body import write_single
from schemas.rows import NANOS_PER_SECOND, row_id
from tests.unit import normalised
from tests.unit.normalised import ID, NOW_NS, anything, items_of, origin, sdk
from workers.normalise.sentry import session
from workers.normalise.verdict import Verdict

rows = partial(normalised.rows, columns=session.COLUMNS)
check_storable = partial(normalised.check_storable, columns=session.COLUMNS)


def verdict(payload: Any, item_type: str = "session", header: bytes = b"{}", **changes: Any) -> Verdict:
    return session.normalise(origin(**changes), write_single(header, {"type": item_type}, json.dumps(payload).encode()))


def row(payload: Any, **changes: Any) -> dict[str, Any]:
    (found,) = rows(verdict(payload, **changes))
    return found


def update(**fields: Any) -> dict[str, Any]:
    return {
        "sid": ID,
        "started": "2026-11-21T14:45:00Z",
        "timestamp": "2026-11-21T14:46:00.5Z",
        "status": "ok",
        "attrs": {"release": "shop@1.2", "environment": "staging"},
        **fields,
    }


def test_session_becomes_a_row() -> None:
    """Who, how long, how it ended, in which release."""
    attrs = {"release": "shop@1.2", "environment": "staging", "ip_address": "{{auto}}", "user_agent": "Mozilla/5.0"}
    found = row(update(did="user-7", status="Crashed", errors=2, init=True, duration=60.25, seq=4, attrs=attrs))
    assert (found["event_type"], found["item_type"], found["name"]) == ("custom", "session", "shop@1.2")
    assert (found["status"], found["duration_ns"], found["user_id"]) == ("crashed", 60_250_000_000, "user-7")
    assert (found["environment"], found["resource"]["service.version"]) == ("staging", "shop@1.2")
    assert found["timestamp"] == NOW_NS - 5_500_000_000
    assert found["attributes_string"] == {
        "session.id": ID,
        "session.started": "2026-11-21T14:45:00Z",
        "client.address": "203.0.113.9",
        "user.id": "user-7",
        "user_agent.original": "Mozilla/5.0",
    }
    assert orjson.loads(found["metadata"]) == {
        "session": True,
        "sid": ID,
        "status": "crashed",
        "errors": 2,
        "init": True,
    }
    assert found["event_id"] == row_id("sentry.session", 42, ID, "seq", 4)
    assert found["repairs"] == []


def test_updates_of_a_session_are_rows_and_repeats_are_not() -> None:
    """By their number, else by time and state; the message that brought them does not matter."""
    assert row(update())["event_id"] == row(update(), origin_id="raw-2")["event_id"]
    assert row(update())["event_id"] != row(update(status="exited"))["event_id"]
    assert row(update(seq=1))["event_id"] != row(update(seq=2))["event_id"]
    assert row(update(sid="x"))["event_id"] == row_id("sentry.item", 42, "raw-1", 3)
    assert row(update(sid=None))["repairs"] == ["sid_invalid"]


def test_duration_follows_from_the_times_if_it_is_not_sent() -> None:
    """sentry-python sends none."""
    assert row(update())["duration_ns"] == 60_500_000_000


def test_update_before_its_start_is_moved_to_the_start() -> None:
    """As the reference does, and named."""
    found = row(update(timestamp="2026-11-21T14:44:00Z"))
    assert (found["timestamp"], found["duration_ns"]) == (NOW_NS - 66 * NANOS_PER_SECOND, 0)
    assert found["repairs"] == ["timestamp_before_started"]


def test_missing_times_stand_in_for_each_other() -> None:
    """Without either there is nothing to store."""
    assert (row(update(timestamp=None))["timestamp"], row(update(timestamp=None))["repairs"]) == (
        NOW_NS,
        ["timestamp_missing"],
    )
    assert row(update(started="x"))["repairs"] == ["started_invalid"]
    assert [one.reason for one in verdict(update(started=None, timestamp="x")).rejections] == ["invalid_started"]


def test_clock_drift_moves_the_session_and_its_start() -> None:
    """A phone four hours behind."""
    header = b'{"sent_at":"2026-11-21T10:46:06Z"}'
    found = row(update(started="2026-11-21T10:45:00Z", timestamp="2026-11-21T10:46:00Z"), header=header)
    assert found["timestamp"] == NOW_NS - 6 * NANOS_PER_SECOND
    assert found["attributes_string"]["session.started"] == "2026-11-21T14:45:00Z"
    assert (found["duration_ns"], found["repairs"]) == (60 * NANOS_PER_SECOND, ["clock_drift"])
    assert row(update(timestamp=None, started="2026-11-21T10:45:00Z"), header=header)["timestamp"] == NOW_NS


def test_session_without_a_release_is_kept_and_named() -> None:
    """The reference drops it."""
    found = row(update(attrs=None))
    assert (found["name"], found["repairs"], found["environment"]) == ("", ["release_missing"], "production")


def test_aggregates_become_a_row_each() -> None:
    """One per start and user, with its counts; a bad one is rejected alone."""
    aggregates = [
        {"started": "2026-11-21T14:45:00Z", "exited": 3, "errored": 1},
        {"started": "2026-11-21T14:45:00Z", "did": "user-7", "crashed": 1, "abnormal": 2, "unhandled": 4.0},
        {"started": None, "exited": 1},
        "x",
        {"started": "2026-11-21T14:45:00Z", "exited": -1},
    ]
    found = verdict({"aggregates": aggregates, "attrs": {"release": "shop@1.2"}}, "sessions")
    first, second, odd = rows(found)
    assert found.accepted == 3
    assert [(one.index, one.reason) for one in found.rejections] == [(2, "invalid_started"), (3, "invalid_aggregate")]
    assert (first["item_type"], first["name"], first["user_id"]) == ("sessions", "shop@1.2", "")
    assert first["attributes_int"] == {
        "session.exited": 3,
        "session.errored": 1,
        "session.abnormal": 0,
        "session.crashed": 0,
        "session.unhandled": 0,
    }
    assert (second["user_id"], second["attributes_int"]["session.unhandled"]) == ("user-7", 4)
    assert [one["source_ordinal"] for one in (first, second, odd)] == [0, 1, 4]
    assert len({one["event_id"] for one in (first, second, odd)}) == 3
    assert orjson.loads(first["metadata"])["session"] is True
    assert odd["repairs"] == ["count_invalid:exited"]


@pytest.mark.parametrize("aggregates", [None, {}, "x"])
def test_sessions_without_a_list_are_rejected(aggregates: Any) -> None:
    """There is nothing in it to count."""
    found = verdict({"aggregates": aggregates}, "sessions")
    assert [one.reason for one in found.rejections] == ["invalid_sessions"]


def test_real_sdk_sends_a_session_of_an_application() -> None:
    """Automatic tracking, a user, and a handled error."""
    with sdk(auto_session_tracking=True) as captured:
        scope = sentry_sdk.get_isolation_scope()
        scope.set_user({"id": "user-7", "ip_address": "198.51.100.1"})
        with track_session(scope):
            sentry_sdk.capture_exception(ValueError("x"))
    (single,) = items_of(captured, "session")
    (found,) = rows(session.normalise(origin(received_at_ns=time.time_ns()), single))
    assert (found["status"], found["user_id"], found["environment"]) == ("exited", "user-7", "staging")
    assert found["attributes_int"] == {"session.errors": 1}
    assert (found["name"], found["repairs"]) == ("shop@1.2", [])


def test_real_sdk_sends_aggregates_of_requests() -> None:
    """Three requests, one of which had an error."""
    with sdk(auto_session_tracking=True) as captured:
        scope = sentry_sdk.get_isolation_scope()
        for is_bad in (False, True, False):
            with track_session(scope, session_mode="request"):
                if is_bad:
                    sentry_sdk.capture_exception(ValueError("x"))
    singles = items_of(captured, "sessions")
    found = [
        one for single in singles for one in rows(session.normalise(origin(received_at_ns=time.time_ns()), single))
    ]
    assert sum(one["attributes_int"]["session.exited"] for one in found) == 2
    assert sum(one["attributes_int"]["session.errored"] for one in found) == 1
    assert {(one["item_type"], one["name"], one["environment"]) for one in found} == {
        ("sessions", "shop@1.2", "staging")
    }


names = (
    "sid",
    "did",
    "seq",
    "init",
    "timestamp",
    "started",
    "duration",
    "status",
    "errors",
    "abnormal_mechanism",
    "attrs",
)
times = st.fixed_dictionaries({"started": st.just(1_795_272_360)})
attrs = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("release", "environment", "ip_address", "user_agent"), anything)
)
sessions = st.fixed_dictionaries({}, optional={**dict.fromkeys(names, anything), "attrs": attrs})
counts = ("started", "did", "exited", "errored", "abnormal", "crashed", "unhandled")
aggregates = st.fixed_dictionaries({}, optional=dict.fromkeys(counts, anything))


@settings(max_examples=150, deadline=None)
@given(st.tuples(times, sessions).map(lambda pair: pair[0] | pair[1]) | anything)
def test_any_session_is_answered(payload: Any) -> None:
    """A row or a named rejection."""
    found = verdict(payload)
    check_storable(found)
    assert len(found.rows) + len(found.rejections) == 1


@settings(max_examples=150, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "aggregates": st.lists(
                st.tuples(times, aggregates).map(lambda pair: pair[0] | pair[1]) | anything, max_size=3
            )
        },
        optional={"attrs": attrs | anything},
    )
)
def test_any_aggregates_are_accounted_for(payload: dict[str, Any]) -> None:
    """Each is a row or a rejection."""
    found = verdict(payload, "sessions")
    check_storable(found)
    assert len(found.rows) + len(found.rejections) == len(payload["aggregates"])


@given(st.binary(max_size=200))
def test_any_bytes_are_answered(body: bytes) -> None:
    """Not a crash: a row or a named rejection."""
    for raw in (body, b"{}\n{}\n" + body, b'{}\n{"type":"sessions"}\n' + body):
        check_storable(session.normalise(origin(), raw))
