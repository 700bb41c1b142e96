"""Who and where, in Sentry events: tags, user, environment, release, SDK, and the times they say."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from schemas.envelope.body import write_single
from schemas.headers import Origin
from schemas.rows import NANOS_PER_DAY, NANOS_PER_SECOND
from tests.unit import normalised
from workers.normalise.sentry import event
from workers.normalise.verdict import Verdict

NOW_NS = 1_795_272_366 * NANOS_PER_SECOND  # 2026-11-21T14:46:06Z


def origin(**changes: Any) -> Origin:
    return normalised.origin(**{"environment_from_event": False, "origin_seq": 7, "item_index": 0, **changes})


def verdict(payload: Any, *, header: bytes = b"{}", **changes: Any) -> Verdict:
    return event.normalise(origin(**changes), write_single(header, {"type": "event"}, orjson.dumps(payload)))


def row(payload: Any, **options: Any) -> dict[str, Any]:
    (values,) = verdict(payload, **options).rows
    return dict(zip(event.COLUMNS, values, strict=True))


def test_tags_come_in_two_forms_and_are_cleaned() -> None:
    """Scalars become text, the first of equal keys stays, reserved names and nulls go."""
    pairs = [["a b", 1], ["flag", True], ["half", 1.5], ["whole", 2.0], ["a b", 2], ["none", None], ["user", "x"]]
    found = row({"tags": pairs})["attributes_string"]
    assert found == {"a-b": "1", "flag": "True", "half": "1.5", "whole": "2"}
    assert row({"tags": {"x": "y"}})["attributes_string"] == {"x": "y"}
    odd = row({"tags": {"käse": "a\nb", "k" * 300: "v" * 300}})
    assert odd["attributes_string"] == {"k_se": "a b", "k" * 200: "v" * 200}
    assert "tag_changed" in odd["repairs"]


def test_user_has_attributes_and_one_key() -> None:
    """Numbers are ids too, {{auto}} is the sender, and what identifies a user is the first thing there is."""
    found = row(
        {"user": {"id": 5, "username": "ann", "ip_address": "{{auto}}", "geo": {"city": "Bonn"}, "plan": "pro"}}
    )
    assert found["user_id"] == "5"
    assert found["attributes_string"] == {
        "user.id": "5",
        "user.name": "ann",
        "client.address": "203.0.113.9",
        "geo.locality.name": "Bonn",
        "user.plan": "pro",
    }
    assert row({"user": {"email": "a@b.c"}})["user_id"] == "a@b.c"
    assert row({"user": {"ip_address": "::1"}})["user_id"] == "::1"
    assert row({"user": {"ip_address": "nonsense"}})["repairs"] == ["timestamp_missing", "user_ip_invalid"]


@pytest.mark.parametrize(
    ("payload", "address"),
    [
        ({"platform": "javascript"}, "203.0.113.9"),
        ({"platform": "python"}, None),
        ({"platform": "javascript", "sdk": {"settings": {"infer_ip": "never"}}}, None),
        ({"sdk": {"settings": {"infer_ip": "auto"}}}, "203.0.113.9"),
        ({"request": {"env": {"REMOTE_ADDR": "198.51.100.4"}}}, "198.51.100.4"),
        ({"user": {"ip_address": "{{auto}}"}, "sdk": {"settings": {"infer_ip": "never"}}}, None),
    ],
)
def test_the_sender_address_is_inferred_only_where_allowed(payload: dict[str, Any], address: str | None) -> None:
    """SDK settings decide; platforms that never sent an address are taken as they meant it."""
    assert row(payload)["attributes_string"].get("client.address") == address


def test_environment_of_the_event_needs_permission() -> None:
    """Without it the key's environment is stored, and what the event said is an attribute."""
    payload = {"environment": "dev"}
    assert row(payload)["environment"] == "production"
    assert row(payload)["attributes_string"]["sentry.environment"] == "dev"
    assert row(payload, environment_from_event=True)["environment"] == "dev"
    assert row({"tags": {"environment": "qa"}}, environment_from_event=True)["environment"] == "qa"
    invalid = row({"environment": "a/b"}, environment_from_event=True)
    assert (invalid["environment"], invalid["repairs"]) == ("production", ["timestamp_missing", "environment_invalid"])


@pytest.mark.parametrize(
    ("release", "stored"),
    [(" a@1.0 ", "a@1.0"), (17, "17"), ("latest", None), ("a/b", None), ("x" * 201, None), ([1], None), ("\x00", None)],
)
def test_release_is_validated(release: Any, stored: str | None) -> None:
    """What Sentry refuses as a release is dropped and named, never the event."""
    found = row({"release": release})
    assert found["resource"].get("service.version") == stored
    assert ("release_invalid" in found["repairs"]) == (stored is None)


def test_sdk_comes_from_the_nearest_place() -> None:
    """The payload's, else the envelope's, else what the client called itself."""
    header = b'{"sdk":{"name":"sentry.envelope","version":"2"}}'
    client = "sentry.client/3.1"
    own = row({"sdk": {"name": "sentry.own", "version": "1"}}, header=header, sentry_client=client)["resource"]
    assert (own["telemetry.sdk.name"], own["telemetry.sdk.version"]) == ("sentry.own", "1")
    assert row({}, header=header, sentry_client=client)["resource"]["telemetry.sdk.name"] == "sentry.envelope"
    named = row({}, sentry_client=client)["resource"]
    assert (named["telemetry.sdk.name"], named["telemetry.sdk.version"]) == ("sentry.client", "3.1")


def test_attribute_bomb_is_bounded_and_counted() -> None:
    """A thousand attributes are kept; how many were not is in the row."""
    found = row({"extra": {f"key{number}": number for number in range(5_000)}})
    kept = sum(len(found[column]) for column in event.COLUMNS if column.startswith("attributes_"))
    assert (kept, found["dropped_attributes_count"]) == (1_000, 4_000)
    assert "attributes_dropped" in found["repairs"]


@pytest.mark.parametrize(
    ("sent", "nanos"),
    [
        (1_795_272_365, 1_795_272_365_000_000_000),
        (1_795_272_365.25, 1_795_272_365_250_000_000),
        ("1795272365.5", 1_795_272_365_500_000_000),
        ("2026-11-21T14:46:05", 1_795_272_365_000_000_000),
        ("2026-11-21T14:46:05.123456789Z", 1_795_272_365_123_456_789),
        ("2026-11-21T15:46:05.5+01:00", 1_795_272_365_500_000_000),
    ],
)
def test_timestamps_come_as_numbers_and_as_text(sent: Any, nanos: int) -> None:
    """Text keeps its nanoseconds; no zone means UTC."""
    found = row({"timestamp": sent})
    assert (found["timestamp"], found["original_timestamp_ns"], found["repairs"]) == (nanos, 0, [])


@pytest.mark.parametrize(
    ("sent", "stored_ns", "repair"),
    [
        (1_795_272_366 + 61, NOW_NS, "timestamp_future"),
        (253_402_300_799, NOW_NS, "timestamp_future"),
        (1_700_000_000, NOW_NS - 30 * NANOS_PER_DAY, "timestamp_too_old"),
        (946_684_800, NOW_NS - 30 * NANOS_PER_DAY, "timestamp_too_old"),
        (946_684_799, NOW_NS, "timestamp_impossible"),
        (0, NOW_NS, "timestamp_impossible"),
        (-1, NOW_NS, "timestamp_impossible"),
        ("0001-01-01T00:00:00+14:00", NOW_NS, "timestamp_impossible"),
        ("yesterday", NOW_NS, "timestamp_invalid"),
        (1e300, NOW_NS, "timestamp_invalid"),
        ([], NOW_NS, "timestamp_invalid"),
    ],
)
def test_stray_timestamps_are_moved_and_named(sent: Any, stored_ns: int, repair: str) -> None:
    """Never dropped, never in a partition of their own, the original beside where UInt64 holds it."""
    found = row({"timestamp": sent})
    assert (found["timestamp"], found["repairs"]) == (stored_ns, [repair])
    assert 0 <= found["original_timestamp_ns"] < 2**64


def test_clock_drift_is_corrected_from_55_minutes_on() -> None:
    """The envelope's sent_at tells how wrong the sender's clock is."""
    hour_ago = NOW_NS // NANOS_PER_SECOND - 3600
    payload = {"timestamp": hour_ago - 5}
    drifted = row(payload, header=b'{"sent_at":"2026-11-21T13:46:06Z"}')
    assert (drifted["timestamp"], drifted["repairs"]) == (NOW_NS - 5 * NANOS_PER_SECOND, ["clock_drift"])
    assert drifted["original_timestamp_ns"] == (hour_ago - 5) * NANOS_PER_SECOND
    late = row(payload, header=b'{"sent_at":"2026-11-21T13:52:06Z"}')
    assert (late["timestamp"], late["repairs"]) == ((hour_ago - 5) * NANOS_PER_SECOND, [])
