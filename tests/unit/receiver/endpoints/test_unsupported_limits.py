"""What nobody stores is answered with a limit on a 200, so that SDKs stop sending it; what is stored never is."""

from __future__ import annotations

import pytest
import sentry_sdk
import urllib3
from hypothesis import given
from hypothesis import strategies as st
from sentry_sdk.transport import HttpTransport

from receiver.endpoints import rate_limits
from schemas import subjects
from schemas.counts import Counts
from tests.unit.receiver.test_app import ENVELOPE, SECRET, auth, replying
from workers.unpack.envelope import _WORKER_OF
from workers.unpack.pieces import ITEM_WORKERS


def limits(*dropped: str) -> str:
    """The header for a body of which these item types were dropped; '' if there is none."""
    reasons = [f"unsupported_item_type:{name}" for name in dropped]
    client = replying(Counts(stage="unpack", expect=0, rejected=len(dropped), reasons=reasons))
    answer = client.post("/api/42/envelope/", ENVELOPE, x_sentry_auth=auth(), origin="https://shop.example")
    assert answer.status == 200
    assert "x-sentry-rate-limits" in answer.headers["access-control-expose-headers"]
    return answer.headers.get("x-sentry-rate-limits", "")


@pytest.mark.parametrize(
    ("dropped", "header"),
    [
        (("profile",), "86400:profile;profile_chunk;profile_chunk_ui:organization:unsupported"),
        (("profile_chunk", "profile"), "86400:profile;profile_chunk;profile_chunk_ui:organization:unsupported"),
        (("replay_event", "replay_recording"), "86400:replay:organization:unsupported"),
        (("statsd", "replay_video"), "86400:metric_bucket;replay:organization:unsupported"),
        (("client_report",), ""),
        (("unreal_report",), ""),
        (("form_data", "otel_log", "event", "??weird"), ""),
        ((), ""),
    ],
)
def test_a_dropped_type_is_limited_for_a_day(dropped: tuple[str, ...], header: str) -> None:
    """On 200, by the categories SDKs check for it; a type nobody knows limits nothing."""
    assert limits(*dropped) == header


def test_an_invalid_item_is_no_reason_for_a_limit() -> None:
    """A log without a body says nothing about the logs to come."""
    client = replying(
        Counts(stage="log", accepted=3, rejected=1, reasons=["log 4: no body", "malformed:client_report"]),
        Counts(stage="unpack", expect=1),
    )
    answer = client.post("/api/42/envelope/", ENVELOPE, x_sentry_auth=auth())
    assert "x-sentry-rate-limits" not in answer.headers


def test_what_we_store_is_never_limited() -> None:
    """Neither our item types nor a category that one of them is sent under."""
    stored = {*ITEM_WORKERS, *_WORKER_OF, *subjects.SOURCES}
    assert not stored & set(rate_limits._CATEGORIES_OF)
    limited = {category for categories in rate_limits._CATEGORIES_OF.values() for category in categories}
    assert limited == set(rate_limits.UNSUPPORTED_CATEGORIES)
    assert not limited & set(rate_limits.ACCEPTED_CATEGORIES)


def test_the_real_sdk_obeys_the_header() -> None:
    """sentry_sdk takes it from a 200, stops replays and profiles, and goes on with everything else."""
    client = sentry_sdk.Client(dsn=f"http://{SECRET}@127.0.0.1:1/1", default_integrations=False)
    transport = client.transport
    assert isinstance(transport, HttpTransport)
    found = limits("profile", "replay_event")
    transport._update_rate_limits(urllib3.HTTPResponse(headers={"x-sentry-rate-limits": found}, status=200))
    assert transport._check_disabled("profile_chunk")
    assert transport._check_disabled("replay")  # type: ignore[arg-type]
    for category in ("error", "default", "transaction", "span", "log_item", "attachment", "session", "monitor"):
        assert not transport._check_disabled(category)  # type: ignore[arg-type]
    client.close(timeout=0)


@given(st.lists(st.text(max_size=60) | st.sampled_from(["unsupported_item_type:profile", "unsupported_item_type:"])))
def test_any_reasons_make_a_header_or_none(reasons: list[str]) -> None:
    """Nothing of what a sender wrote gets into the header."""
    value = rate_limits.header_value(rate_limits.for_unsupported(reasons))
    assert value in ("", "86400:profile;profile_chunk;profile_chunk_ui:organization:unsupported")
