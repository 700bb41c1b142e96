"""Browsers' security reports: every form is the same row, and what is no such report is named."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.envelope.body import write_single
from schemas.headers import Origin
from schemas.rows import NANOS_PER_DAY, NANOS_PER_SECOND
from tests.unit import normalised
from workers.normalise.sentry import security
from workers.normalise.verdict import Verdict

NOW_NS = 1_795_272_366 * NANOS_PER_SECOND
ID = "26e31e9cc7b74ad0b11d3a8a265b9e38"
# As Firefox sends it to report-uri.
LEGACY = {
    "csp-report": {
        "blocked-uri": "https://evil.example/x.js",
        "document-uri": "https://shop.example/cart?step=2",
        "effective-directive": "script-src-elem",
        "violated-directive": "script-src-elem",
        "original-policy": "script-src 'self'",
        "disposition": "enforce",
        "line-number": "7",
        "column-number": 3,
        "source-file": "https://shop.example/app.js",
        "status-code": 200,
        "referrer": "https://search.example/",
        "script-sample": "alert(1)",
    }
}
# As Chromium sends it to report-to.
MODERN = {
    "type": "csp-violation",
    "age": 1500,
    "url": "https://shop.example/cart?step=2",
    "user_agent": "Mozilla/5.0 X",
    "body": {
        "blockedURL": "https://evil.example/x.js",
        "documentURL": "https://shop.example/cart?step=2",
        "effectiveDirective": "script-src-elem",
        "originalPolicy": "script-src 'self'",
        "disposition": "enforce",
        "lineNumber": 7,
        "columnNumber": 3,
        "sourceFile": "https://shop.example/app.js",
        "statusCode": 200,
        "referrer": "https://search.example/",
        "sample": "alert(1)",
    },
}


def origin(**changes: Any) -> Origin:
    return normalised.origin(**{"user_agent": "Mozilla/5.0 Y", "item_index": 0, **changes})


def verdict(document: Any, header: bytes = b"{}", **fields: Any) -> Verdict:
    raw = document if isinstance(document, bytes) else orjson.dumps(document)
    return security.normalise(origin(), write_single(header, {"type": "raw_security", **fields}, raw))


def rows(found: Verdict) -> list[dict[str, Any]]:
    return [dict(zip(security.COLUMNS, values, strict=True)) for values in found.rows]


def row(document: Any, **fields: Any) -> dict[str, Any]:
    (found,) = rows(verdict(document, **fields))
    return found


@pytest.mark.parametrize(
    "document",
    [
        LEGACY,
        LEGACY["csp-report"],
        MODERN,
        [MODERN],
        {"csp": {name.replace("-", "_"): value for name, value in LEGACY["csp-report"].items()}},
    ],
)
def test_csp_in_every_form_is_the_same_row(document: Any) -> None:
    """report-uri, its object unwrapped, the Reporting API alone and in a list, Sentry's classified event."""
    found = row(document)
    assert (found["event_type"], found["item_type"]) == ("app.log", "csp")
    assert orjson.loads(found["metadata"]) == {"sentryItemType": "csp", "securityReport": "csp"}
    assert found["name"] == found["body"] == "Blocked 'script' from 'evil.example'"
    assert (found["severity_number"], found["scope_name"], found["user_id"]) == (17, "csp", "203.0.113.9")
    assert found["fingerprint"] == ["csp", "script-src-elem", "evil.example"]
    strings = found["attributes_string"]
    expected = {
        "effective-directive": "script-src-elem",
        "blocked-uri": "https://evil.example/x.js",
        "blocked-host": "evil.example",
        "url.full": "https://shop.example/cart?step=2",
        "server.address": "shop.example",
        "culprit": "script-src-elem",
        "csp.sample": "alert(1)",
        "code.file.path": "https://shop.example/app.js",
        "http.request.header.referer": "https://search.example/",
        "client.address": "203.0.113.9",
    }
    assert {name: strings.get(name) for name in expected} == expected
    assert found["attributes_int"] == {"http.response.status_code": 200, "code.line.number": 7, "code.column.number": 3}


def test_the_reporting_api_says_when_and_who() -> None:
    """The age of a report is in milliseconds; it knows the browser that kept it."""
    found = row([MODERN])
    assert found["timestamp"] == NOW_NS - 1_500_000_000
    assert found["attributes_string"]["user_agent.original"] == "Mozilla/5.0 X"
    legacy = row(LEGACY)
    assert (legacy["timestamp"], legacy["attributes_string"]["user_agent.original"]) == (NOW_NS, "Mozilla/5.0 Y")


def test_release_and_environment_come_with_the_item() -> None:
    """A browser knows neither, so the report's URL says them."""
    found = row(LEGACY, sentry_release="shop@1.2", sentry_environment="staging")
    assert (found["resource"]["service.version"], found["environment"]) == ("shop@1.2", "staging")


@pytest.mark.parametrize(
    ("directive", "blocked", "title"),
    [
        ("script-src", "inline", "Blocked unsafe inline 'script'"),
        ("script-src", "eval", "Blocked unsafe eval() 'script'"),
        ("script-src-attr", "self", "Blocked unsafe inline 'script'"),
        ("style-src", "", "Blocked inline 'style'"),
        ("style-src-attr", "inline", "Blocked inline 'style'"),
        ("img-src", "data", "Blocked 'image' from 'data:'"),
        ("img-src", "data:image/png;base64,xx", "Blocked 'image' from 'data:'"),
        ("font-src", "https://Fonts.Example:8443/a.woff", "Blocked 'font' from 'fonts.example:8443'"),
        ("connect-src", "wss://live.example/socket", "Blocked 'connect' from 'live.example'"),
        ("form-action", "https://evil.example/", "Blocked 'form' action to 'evil.example'"),
        ("base-uri", "https://evil.example/", "Blocked 'base-uri' from 'evil.example'"),
        ("frame-ancestors", "https://[broken", "Blocked 'frame-ancestors' from 'https:'"),
        ("require-trusted-types-for 'script'", "trusted-types-sink", "Blocked 'require-trusted-types-for' from"),
        ("img-src", "chrome-extension://abc/x.png", "Blocked 'image' from 'chrome-extension://abc'"),
    ],
)
def test_titles_are_those_of_sentry(directive: str, blocked: str, title: str) -> None:
    """Also for directives nobody knows; an old browser only sends the violated one, with its sources."""
    found = row({"csp-report": {"violated-directive": f"{directive} https://ok.example", "blocked-uri": blocked}})
    assert found["name"].startswith(title)


@pytest.mark.parametrize(
    ("document", "kind", "title"),
    [
        (
            {"expect-ct-report": {"hostname": "shop.example", "port": 443, "date-time": "2026-11-21T14:46:00Z"}},
            "expectct",
            "Expect-CT failed for 'shop.example'",
        ),
        (
            {"expect-staple-report": {"hostname": "shop.example", "port": 8443, "response-status": "MISSING"}},
            "expectstaple",
            "Expect-Staple failed for 'shop.example'",
        ),
        (
            {"hostname": "shop.example", "known-pins": [], "noted-hostname": "example", "date-time": "x"},
            "hpkp",
            "Public key pinning validation failed for 'shop.example'",
        ),
        ({"hostname": "shop.example", "scts": []}, "expectct", "Expect-CT failed for 'shop.example'"),
    ],
)
def test_reports_about_certificates(document: Any, kind: str, title: str) -> None:
    """Each a row with the host it is about."""
    found = row(document)
    assert found["name"] == title
    assert orjson.loads(found["metadata"])["securityReport"] == kind
    assert found["attributes_string"]["hostname"] == "shop.example"
    assert found["fingerprint"] == [kind, "shop.example"]


def test_the_content_type_tells_what_the_document_does_not() -> None:
    """Only then: a CSP report under the wrong type is still one."""
    assert row({"hostname": "a.example"}, content_type="application/expect-staple-report")["scope_name"] == (
        "expectstaple"
    )
    assert row(LEGACY, content_type="application/expect-ct-report")["scope_name"] == "csp"


def test_a_list_is_a_row_for_each_report() -> None:
    """Ids of their own; reports about other things are named one by one."""
    found = verdict([MODERN, {"type": "deprecation", "body": {}}, MODERN, 7, {"type": "csp-violation", "body": {}}])
    made = rows(found)
    assert [one["source_ordinal"] for one in made] == [0, 2]
    assert made[0]["event_id"] != made[1]["event_id"]
    assert [(one.index, one.reason) for one in found.rejections] == [
        (1, "security_report_type"),
        (3, "invalid_security_report"),
        (4, "invalid_security_report"),
    ]
    assert (found.accepted, made[0]["group_hash"]) == (2, made[1]["group_hash"])


def test_a_lone_report_has_the_envelopes_id() -> None:
    """As an SDK that sends it in an envelope was told."""
    (found,) = rows(verdict(LEGACY, header=b'{"event_id":"%s"}' % ID.encode()))
    assert found["event_id"] == int(ID, 16)


@pytest.mark.parametrize("document", [b"{", b"7", b"[]x", {}, {"csp-report": {}}, {"a": 1}, [[]], [7] * 501])
def test_what_is_no_report_is_refused(document: Any) -> None:
    """In words."""
    found = verdict(document)
    assert found.rows == []
    assert found.rejections
    assert all(rejection.reason.isidentifier() and rejection.detail for rejection in found.rejections)


scalars = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=8)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
addresses = st.sampled_from(("http://[", "https://a:b@c:99999/", "//x", "data:", ":", "self", "\ud800"))
names = sorted({*LEGACY["csp-report"], *MODERN["body"], "hostname", "port", "known-pins", "scts", "date-time"})  # type: ignore[misc]
report = st.fixed_dictionaries({}, optional=dict.fromkeys(names, anything | addresses))
wrapped = st.fixed_dictionaries({}, optional={"type": st.just("csp-violation"), "age": anything, "body": report})


@settings(max_examples=300, deadline=None)
@given(report | st.fixed_dictionaries({"csp-report": report}) | wrapped | st.lists(wrapped | anything, max_size=4))
def test_any_json_is_rows_or_rejections(document: Any) -> None:
    """As many as there are reports, and each row can be stored."""
    raw = _json(document)
    found = verdict(raw)
    assert found.accepted == len(found.rows)
    assert len(found.rows) + len(found.rejections) == (len(document) if isinstance(document, list) else 1)
    for cells in rows(found):
        assert NOW_NS - 30 * NANOS_PER_DAY <= cells["timestamp"] <= NOW_NS + NANOS_PER_DAY
        assert 0 < len(cells["name"]) <= 256
        assert all(-(2**63) <= number < 2**63 for number in cells["attributes_int"].values())
        str(cells).encode("utf-8")


def _json(document: Any) -> bytes:
    return json.dumps(document).encode()


@given(st.binary(max_size=200))
def test_any_bytes_are_answered(body: bytes) -> None:
    """Not a crash: rows or named rejections."""
    for raw in (body, b"{}\n{}\n" + body, b'{}\n{"type":"raw_security"}\n' + body):
        security.normalise(origin(), raw)
