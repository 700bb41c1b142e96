"""What the running system answers: partial success in both encodings, and a reason for every refusal."""

from __future__ import annotations

import gzip
import json
from typing import Any
from uuid import uuid4

import pytest
import urllib3
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

pytestmark = pytest.mark.clients

POOL = urllib3.PoolManager()
START_NS = 1_700_000_000_000_000_000
ENVELOPE = b'{}\n{"type":"event"}\n{"message":"hello"}\n'


def post(url: str, body: bytes, **headers: str) -> urllib3.BaseHTTPResponse:
    """One POST; underscores in names of headers are hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return POOL.request("POST", url, body=body, headers=named, retries=False, timeout=30)


def otlp_headers(ready: dict[str, Any]) -> dict[str, str]:
    """Key and channel."""
    return {"X_API_Key": ready["api_key"], "X_Axonpush_Channel": str(ready["channel"])}


def spans(trace_id: str, span_ids: list[str]) -> dict[str, Any]:
    """An OTLP request as JSON: one span for each id."""
    records = [
        {
            "traceId": trace_id,
            "spanId": span_id,
            "name": f"span {number}",
            "startTimeUnixNano": str(START_NS),
            "endTimeUnixNano": str(START_NS + 7),
        }
        for number, span_id in enumerate(span_ids)
    ]
    return {"resourceSpans": [{"scopeSpans": [{"spans": records}]}]}


def test_invalid_span_is_named_in_json(ready: Any, sql: Any) -> None:
    """OTLP/HTTP, Partial Success: 200, rejectedSpans, the reason, and rows for the valid ones."""
    trace_id = uuid4().hex
    body = json.dumps(spans(trace_id, ["00000000000000a1", "", "00000000000000a3"])).encode()
    answer = post(f"{ready['url']}/v1/traces", body, Content_Type="application/json", **otlp_headers(ready))
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    partial = answer.json()["partialSuccess"]
    assert int(partial["rejectedSpans"]) == 1
    assert partial["errorMessage"]
    assert answer.headers["x-axonpush-resolved-environment"] == ready["environment"]
    assert answer.headers["x-axonpush-resolved-via"] == "api-key"
    sql.wait(f"SELECT span_id FROM events WHERE trace_id = '{trace_id}'", 2)


def test_invalid_span_is_named_in_protobuf(ready: Any, sql: Any) -> None:
    """The same in the encoding of the request, here also compressed."""
    trace_id = uuid4().bytes
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for span_id in (b"\1" * 8, b"\2" * 8, b"\3" * 7):
        scope.spans.add(
            trace_id=trace_id, span_id=span_id, name="s", start_time_unix_nano=START_NS, end_time_unix_nano=START_NS
        )
    answer = post(
        f"{ready['url']}/v1/traces",
        gzip.compress(request.SerializeToString()),
        Content_Type="application/x-protobuf",
        Content_Encoding="gzip",
        **otlp_headers(ready),
    )
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-protobuf")
    assert ExportTraceServiceResponse.FromString(answer.data).partial_success.rejected_spans == 1
    sql.wait(f"SELECT span_id FROM events WHERE trace_id = '{trace_id.hex()}'", 2)


@pytest.mark.parametrize(("content_type", "body"), [("application/json", b"{}"), ("application/x-protobuf", b"")])
def test_full_success_says_nothing(ready: Any, content_type: str, body: bytes) -> None:
    """`{}` in JSON, no bytes in protobuf."""
    request = b'{"resourceSpans":[]}' if content_type == "application/json" else b""
    answer = post(f"{ready['url']}/v1/traces", request, Content_Type=content_type, **otlp_headers(ready))
    assert (answer.status, answer.data) == (200, body)


def test_unknown_items_are_acknowledged_and_named(ready: Any, sql: Any) -> None:
    """Items that make no rows are counted and named; their neighbours are stored."""
    event_id = uuid4().hex
    header = json.dumps({"event_id": event_id}).encode()
    body = header + b'\n{"type":"event"}\n{"message":"kept"}\n{"type":"statsd"}\nx\n'
    answer = post(f"{ready['url']}/api/{ready['channel']}/envelope/?sentry_key={ready['public_token']}", body)
    assert answer.status == 200
    said = answer.json()
    assert said["id"] == event_id
    assert (said["partialSuccess"]["acceptedItems"], said["partialSuccess"]["rejectedItems"]) == (1, 1)
    assert "statsd" in said["partialSuccess"]["errorMessage"]
    (row,) = sql.wait(f"SELECT body FROM events WHERE replaceAll(toString(event_id), '-', '') = '{event_id}'", 1)
    assert row["body"] == "kept"
    sql.wait("SELECT reason FROM outcomes WHERE item_type = 'statsd' AND outcome != 'accepted' LIMIT 1", 1)


def test_broken_envelope_says_where(ready: Any) -> None:
    """400 with the place, what was expected and what was found, also where SDKs log it."""
    answer = post(
        f"{ready['url']}/api/{ready['channel']}/envelope/?sentry_key={ready['public_token']}",
        b'{}\n{"type":"event","length":1000}\n{"message":"cut"}',
    )
    assert answer.status == 400
    said = answer.json()["detail"]
    assert "expected" in said
    assert "found" in said
    assert answer.headers["x-sentry-error"]


@pytest.mark.parametrize(
    ("status", "path", "key"),
    [
        (200, "/api/{channel}/envelope", "{public_token}"),
        (200, "//api//{channel}//envelope//", "{public_token}"),
        (200, "/behind/a/proxy/api/{channel}/envelope/", "{api_key}"),
        (401, "/api/{channel}/envelope/", "pt_nobodyeverminted0000000000000000"),
        (401, "/api/{channel}/envelope/", ""),
        (404, "/api/999/envelope/", "{api_key}"),
        (400, "/api/one/envelope/", "{api_key}"),
        (404, "/api/{channel}/nothing/", "{api_key}"),
    ],
)
def test_sentry_status(ready: Any, status: int, path: str, key: str) -> None:
    """Key, channel and path decide the status; every refusal is JSON with a reason and readable by any page."""
    query = f"?sentry_key={key.format(**ready)}" if key else ""
    answer = post(ready["url"] + path.format(**ready) + query, ENVELOPE, Origin="https://shop.example")
    assert answer.status == status, answer.data
    assert answer.headers["access-control-allow-origin"] in {"*", "https://shop.example"}
    assert status == 200 or answer.json()["detail"]


@pytest.mark.parametrize(
    ("status", "code", "changed", "body"),
    [
        (401, 16, {"X_API_Key": "ak_nobodyeverminted0000000000000000"}, b'{"resourceLogs":[]}'),
        (401, 16, {"X_API_Key": ""}, b'{"resourceLogs":[]}'),
        (400, 3, {"X_Axonpush_Channel": ""}, b'{"resourceLogs":[]}'),
        (400, 3, {"X_Axonpush_Channel": "one"}, b'{"resourceLogs":[]}'),
        (404, 5, {"X_Axonpush_Channel": "999"}, b'{"resourceLogs":[]}'),
        (400, 3, {}, b"{}"),
        (400, 3, {}, b'{"resourceLogs":'),
        (415, 3, {"Content_Type": "text/plain"}, b'{"resourceLogs":[]}'),
        (415, 3, {"Content_Encoding": "lzma"}, b'{"resourceLogs":[]}'),
    ],
)
def test_otlp_status(ready: Any, status: int, code: int, changed: dict[str, str], body: bytes) -> None:
    """Every refusal is a google.rpc.Status in JSON with code and message."""
    headers = {"Content_Type": "application/json", **otlp_headers(ready), **changed}
    answer = post(f"{ready['url']}/v1/logs", body, **headers)
    assert answer.status == status, answer.data
    said = answer.json()
    assert (said["code"], bool(said["message"])) == (code, True)


def test_body_above_the_limit_is_413(ready: Any) -> None:
    """On the wire and inflated: a small body that becomes a large one is refused as well."""
    url = f"{ready['url']}/api/{ready['channel']}/envelope/?sentry_key={ready['public_token']}"
    large = ENVELOPE + b'{"type":"x"}\n' + b" " * 6_000_000
    assert post(url, large).status == 413
    assert post(url, gzip.compress(large), Content_Encoding="gzip").status == 413


def test_preflight_needs_no_key(ready: Any) -> None:
    """A browser asks before it sends, without any credential."""
    url = f"{ready['url']}/api/{ready['channel']}/envelope/"
    headers = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    answer = POOL.request("OPTIONS", url, headers=headers, retries=False, timeout=30)
    assert answer.status == 200
    assert "POST" in answer.headers["access-control-allow-methods"]
