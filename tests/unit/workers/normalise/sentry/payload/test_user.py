"""The user of an event: every field an SDK sends is found again, and whose address counts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.workers.normalise.sentry.payload.test_scope import row

SENDER = "203.0.113.9"


def strings(**user: Any) -> Any:
    return row({"user": user})["attributes_string"]


def test_data_of_an_sdk_are_the_users_attributes() -> None:
    """`user.data` is where SDKs put what has no field; what is no object stays under its own name."""
    assert strings(data={"plan": "pro", "team": "blue"}) == {"user.plan": "pro", "user.team": "blue"}
    assert strings(data="pro") == {"user.data": "pro"}


def test_every_known_field_has_its_name() -> None:
    """OpenTelemetry's, where it has one."""
    sent = {"id": "5", "username": "ann", "name": "Ann A.", "email": "a@b.c", "segment": "beta"}
    geo = {"country_code": "DE", "region": "NW", "city": "Bonn", "planet": "earth"}
    assert strings(**sent, geo=geo) == {
        "user.id": "5",
        "user.name": "ann",
        "user.full_name": "Ann A.",
        "user.email": "a@b.c",
        "user.segment": "beta",
        "geo.country.iso_code": "DE",
        "geo.region.name": "NW",
        "geo.locality.name": "Bonn",
        "geo.planet": "earth",
    }


@pytest.mark.parametrize(
    ("platform", "address"),
    [("javascript", SENDER), ("cocoa", SENDER), ("objc", SENDER), ("python", None), ("java", None), (None, None)],
)
def test_sdks_that_run_at_the_user_mean_the_senders_address(platform: str | None, address: str | None) -> None:
    """In a browser or on a phone the sender is the user; a server is not."""
    found = row({"platform": platform, "user": {"id": "1"}} if platform else {"user": {"id": "1"}})
    assert found["attributes_string"].get("client.address") == address


@pytest.mark.parametrize(
    ("rule", "platform", "address"),
    [
        ("auto", "python", SENDER),
        ("never", "javascript", None),
        ("legacy", "javascript", SENDER),
        ("odd", "cocoa", None),
    ],
)
def test_an_sdks_own_setting_decides(rule: str, platform: str, address: str | None) -> None:
    """`infer_ip`: auto is yes, never and words nobody knows are no, legacy is by platform."""
    found = row({"platform": platform, "sdk": {"settings": {"infer_ip": rule}}, "user": {"id": "1"}})
    assert found["attributes_string"].get("client.address") == address


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ({"id": 5, "username": "ann", "email": "a@b.c"}, "5"),
        ({"username": "ann", "email": "a@b.c"}, "ann"),
        ({"email": "a@b.c", "ip_address": "::1"}, "a@b.c"),
        ({"ip_address": "::1"}, "::1"),
        ({}, ""),
    ],
)
def test_a_user_is_known_by_the_first_there_is(user: dict[str, Any], expected: str) -> None:
    """Id, name, e-mail, address."""
    assert row({"user": user})["user_id"] == expected
