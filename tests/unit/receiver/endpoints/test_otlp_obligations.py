"""What an OTLP/HTTP server owes its clients, point by point after the OTLP specification, against the application."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from receiver.delivery.publish import BodyTooLarge, Unavailable
from receiver.endpoints import otlp as endpoint
from receiver.http.answers import Refused
from receiver.http.request import Request
from schemas.counts import Counts
from tests.unit.receiver.test_app import FOREIGN, LOGS, SECRET, Answered, Client, auth, otlp, replying

JSON = "application/json"
PROTOBUF = "application/x-protobuf"
TRACES = b'{"resourceSpans":[]}'
DSN_PATH = "/api/42/integration/otlp"


@pytest.fixture
def client() -> Client:
    return Client()


def status_of(answer: Answered) -> Status:
    """The google.rpc.Status of an error, in whichever encoding it came; its media type must be the bare value."""
    if answer.headers["content-type"] == PROTOBUF:
        return Status.FromString(answer.body)
    assert answer.headers["content-type"] == JSON
    found: Status = ParseDict(answer.json, Status())
    return found


# --- paths and methods


@pytest.mark.parametrize("path", ["/v1/logs", "/v1/traces", f"{DSN_PATH}/v1/logs", f"/prefix{DSN_PATH}/v1/traces"])
@pytest.mark.parametrize("ending", ["", "/", "//"])
def test_both_signals_have_one_path_for_both_encodings(client: Client, path: str, ending: str) -> None:
    """OTLP/HTTP Request: JSON and protobuf share the path; a slash at the end changes nothing."""
    for content_type, body in ((JSON, LOGS), (PROTOBUF, b"\x0a\x00")):
        headers = otlp(content_type=content_type) | {"x_sentry_auth": auth()}
        assert client.post(path + ending, body, **headers).status == 200
    assert [headers["Content-Type"] for _, _, headers in client.publisher.published] == [JSON, PROTOBUF]


@pytest.mark.parametrize("path", ["/v1/metrics", "/v1/metrics/", "/v1development/profiles", f"{DSN_PATH}/v1/metrics"])
@pytest.mark.parametrize("content_type", [JSON, PROTOBUF, ""])
def test_signals_we_do_not_take_are_refused_for_good(client: Client, path: str, content_type: str) -> None:
    """404 is not retried; the Status says what to turn off, in the request's encoding."""
    answer = client.post(path, LOGS, **otlp(content_type=content_type))
    assert answer.status == 404
    assert answer.headers["content-type"] == (content_type or JSON)
    assert status_of(answer).code == 5
    message = status_of(answer).message
    assert "expected /v1/traces or /v1/logs" in message
    assert ("OTEL_METRICS_EXPORTER=none" in message) == ("metrics" in path)
    assert "pipeline" in message


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "TRACE", "post"])
@pytest.mark.parametrize("path", ["/v1/logs", "/v1/traces", "/v1/metrics", f"{DSN_PATH}/v1/traces"])
@pytest.mark.parametrize("content_type", [JSON, PROTOBUF])
def test_other_methods_are_405_with_allow(client: Client, method: str, path: str, content_type: str) -> None:
    """And a Status, as every error has one."""
    answer = client.send(method, path, LOGS, otlp(content_type=content_type))
    assert (answer.status, answer.headers["allow"]) == (405, "POST, OPTIONS")
    assert answer.headers["content-type"] == content_type
    assert status_of(answer).code == 12


# --- media types


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/jsonl", "application/grpc", "json", ";", "*/*"]
)
def test_other_media_types_are_415_in_json(client: Client, content_type: str) -> None:
    """Nothing says which encoding the sender reads, so it is JSON; what was expected is named."""
    answer = client.post("/v1/logs", LOGS, **otlp(content_type=content_type))
    assert (answer.status, answer.headers["content-type"]) == (415, JSON)
    assert PROTOBUF in status_of(answer).message
    answer = client.post("/v1/logs", LOGS, **otlp("", content_type=content_type))
    assert (answer.status, answer.headers["content-type"]) == (401, JSON)
    assert client.post("/v1/logs", LOGS, x_api_key=SECRET, x_axonpush_channel="42").status == 415


@pytest.mark.parametrize(
    ("content_type", "bare"),
    [
        ("application/json; charset=utf-8", JSON),
        ("APPLICATION/JSON", JSON),
        (" application/json ;x", JSON),
        ("application/x-protobuf;proto=opentelemetry", PROTOBUF),
        ("Application/X-Protobuf", PROTOBUF),
        ("application/protobuf", PROTOBUF),
    ],
)
def test_the_answer_has_the_requests_media_type_bare(client: Client, content_type: str, bare: str) -> None:
    """On success and on errors: the collector compares the value for equality."""
    body = LOGS if bare == JSON else b""
    good = client.post("/v1/logs", body, **otlp(content_type=content_type))
    bad = client.post("/v1/logs", body, **otlp(FOREIGN, content_type=content_type))
    assert (good.status, bad.status) == (200, 403)
    assert good.headers["content-type"] == bad.headers["content-type"] == bare


# --- success


@pytest.mark.parametrize(("path", "body"), [("/v1/logs", LOGS), ("/v1/traces", TRACES)])
def test_full_success_is_200_and_an_empty_message(path: str, body: bytes) -> None:
    """Never 201 or 202: `{}` in JSON, zero bytes in protobuf; the same when nobody knows the counts."""
    for client in (Client(), replying(Counts(stage="otlp", accepted=3))):
        answer = client.post(path, body, **otlp())
        assert (answer.status, answer.body) == (200, b"{}")
        answer = client.post(path, b"\x0a\x00", **otlp(content_type=PROTOBUF))
        assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")


@pytest.mark.parametrize("path", ["/v1/logs", "/v1/traces"])
@pytest.mark.parametrize("coding", ["", "gzip", "deflate"])
def test_no_bytes_are_a_message_in_protobuf_and_none_in_json(client: Client, path: str, coding: str) -> None:
    """Zero bytes are the empty request, compressed or not; JSON text has one character at least."""
    empty = {"": b"", "gzip": gzip.compress(b""), "deflate": zlib.compress(b"")}[coding]
    headers = {"content_encoding": coding} if coding else {}
    answer = client.post(path, empty, **otlp(content_type=PROTOBUF), **headers)
    assert (answer.status, answer.body) == (200, b"")
    answer = client.post(path, empty, **otlp(), **headers)
    assert (answer.status, status_of(answer).code) == (400, 3)


@pytest.mark.parametrize(
    ("path", "member", "field", "response"),
    [
        ("/v1/logs", "rejectedLogRecords", "rejected_log_records", ExportLogsServiceResponse),
        ("/v1/traces", "rejectedSpans", "rejected_spans", ExportTraceServiceResponse),
    ],
)
def test_partial_success_counts_records_in_both_encodings(path: str, member: str, field: str, response: Any) -> None:
    """200, the signal's own count, a message that is never empty."""
    client = replying(Counts(stage="otlp", accepted=2, rejected=3, reasons=["record 1: no"], warning="old names"))
    answer = client.post(path, LOGS, **otlp())
    said = answer.json["partialSuccess"]
    assert (answer.status, said[member]) == (200, 3)
    assert "record 1: no" in said["errorMessage"]
    answer = client.post(path, b"\x0a\x00", **otlp(content_type=PROTOBUF))
    partial = response.FromString(answer.body).partial_success
    assert (answer.status, getattr(partial, field), partial.error_message) == (200, 3, said["errorMessage"])


def test_an_answer_is_cut_below_four_mebibytes_and_its_count_is_not() -> None:
    """Whatever the workers have to say."""
    reasons = [f"{number}: " + "\u2603" * 400 for number in range(20_000)]
    client = replying(Counts(stage="otlp", rejected=20_000, reasons=reasons))
    answer = client.post("/v1/traces", TRACES, **otlp())
    assert len(answer.body) < 4 * 1024 * 1024
    assert answer.json["partialSuccess"]["rejectedSpans"] == 20_000


def test_nothing_is_accepted_that_is_not_stored(client: Client) -> None:
    """A 200 means the broker's acknowledgement came; a 503 leaves nothing behind."""
    client.publisher.error = Unavailable("timeout")
    assert client.post("/v1/logs", LOGS, **otlp()).status == 503
    assert client.publisher.published == []
    client.publisher.error = None
    assert client.post("/v1/logs", LOGS, **otlp()).status == 200
    assert len(client.publisher.published) == 1


# --- errors


@pytest.mark.parametrize(
    ("changed", "body", "field"),
    [
        ({"x_axonpush_channel": "x"}, LOGS, "X-Axonpush-Channel"),
        ({"x_axonpush_channel": ""}, LOGS, "X-Axonpush-Channel"),
        ({}, b"", "body"),
        ({"content_encoding": "gzip"}, b"no gzip", "body"),
        ({}, b"{", "body"),
    ],
)
def test_bad_data_names_the_field(changed: dict[str, str], body: bytes, field: str) -> None:
    """OTLP/HTTP, Bad Data: a 400 has a google.rpc.BadRequest among its details, in both encodings."""
    client = replying(Counts(stage="otlp", invalid="expected OTLP, found something else"))
    for content_type in (JSON, PROTOBUF):
        sent = body or (b"" if content_type == JSON else b"{")
        answer = client.post("/v1/logs", sent, **(otlp(content_type=content_type) | changed))
        found = status_of(answer)
        (detail,) = found.details
        violation = BadRequest()
        assert answer.status == 400
        assert detail.Unpack(violation)
        assert violation.field_violations[0].field == field
        assert violation.field_violations[0].description == found.message


@pytest.mark.parametrize("status", [401, 403, 404, 413, 415, 503])
def test_other_errors_have_no_field(status: int) -> None:
    """They are about more than one field of a request."""
    answer = endpoint.refuse(_request(JSON), Refused(status, "key: expected one, found none"))
    assert b"details" not in answer.body


@pytest.mark.parametrize("content_type", [JSON, PROTOBUF])
@pytest.mark.parametrize("path", ["/v1/logs", f"{DSN_PATH}/v1/traces"])
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Unavailable("disconnected"), 503, 14),
        (Unavailable("stream_full", 5), 503, 14),
        (TimeoutError(), 503, 14),
        (RuntimeError("a bug"), 503, 14),
        (BodyTooLarge("max_payload"), 413, 8),
    ],
)
def test_what_is_not_our_clients_fault_is_503_with_seconds(  # noqa: PLR0917
    client: Client, content_type: str, path: str, error: Exception, status: int, code: int
) -> None:
    """500 makes exporters throw data away; 503 with whole seconds within their budget makes them come back."""
    client.publisher.error = error
    answer = client.post(path, LOGS, **otlp(content_type=content_type), x_sentry_auth=auth())
    assert (answer.status, status_of(answer).code, answer.headers["content-type"]) == (status, code, content_type)
    assert status != 503 or 1 <= int(answer.headers["retry-after"]) <= 5


@pytest.mark.asyncio
async def test_a_body_that_comes_too_slowly_is_503_and_not_408() -> None:
    """408 is not on the list of what exporters repeat."""
    client = Client(body_deadline_s=0.01)
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": b"{", "more_body": True}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in otlp().items()]
    scope = {"type": "http", "method": "POST", "path": "/v1/logs", "headers": headers, "client": None}
    await client.app(scope, receive, send)
    answer = Answered(sent)
    assert (answer.status, status_of(answer).code, answer.headers["retry-after"]) == (503, 14, "2")


def test_too_large_says_that_it_is_final() -> None:
    """A 413 is data lost: every client must know what to change. On the wire, declared and inflated."""
    client = Client(max_body_bytes=1000)
    for body, headers in (
        (b"x" * 1001, {}),
        (b"x", {"content_length": "1001"}),
        (gzip.compress(bytes(1001)), {"content_encoding": "gzip"}),
        (zlib.compress(bytes(1001)), {"content_encoding": "deflate"}),
    ):
        answer = client.post("/v1/traces", body, **otlp(content_type=PROTOBUF), **headers)
        assert (answer.status, status_of(answer).code) == (413, 8)
        assert "send less in one request" in status_of(answer).message
        assert "1000" in status_of(answer).message
        assert "retry-after" not in answer.headers


@pytest.mark.parametrize(
    "coding", ["snappy", "lz4", "x-snappy-framed", "compress", "gzip, deflate", "gzip;q=1", "\xff"]
)
def test_encodings_we_do_not_undo_are_415(client: Client, coding: str) -> None:
    """With the ones we do."""
    answer = client.post("/v1/logs", LOGS, **otlp(), content_encoding=coding)
    assert (answer.status, status_of(answer).code) == (415, 3)
    assert "Content-Encoding" in status_of(answer).message


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP", " deflate ", "zstd", "br"])
def test_a_corrupt_stream_is_400(client: Client, coding: str) -> None:
    """Cut, garbage, or garbage behind its end."""
    whole = {"gzip": gzip.compress(LOGS), "deflate": zlib.compress(LOGS)}
    bodies = [b"\xffgarbage", *(part for body in [whole.get(coding.strip().lower(), b"")] if body
                               for part in (body[:-5], body + b"garbage"))]  # fmt: skip
    for body in bodies:
        answer = client.post("/v1/logs", body, **otlp(), content_encoding=coding)
        assert (answer.status, status_of(answer).code) == (400, 3), body
    assert client.publisher.published == []


def test_members_of_gzip_are_one_body(client: Client) -> None:
    """RFC 1952 allows several members; they are one stream."""
    body = gzip.compress(LOGS[:9]) + gzip.compress(LOGS[9:])
    assert client.post("/v1/logs", body, **otlp(), content_encoding="gzip").status == 200


# --- the order of checks, cheap ones first


@pytest.mark.parametrize(
    ("method", "changed", "status"),
    [
        ("GET", {"content_type": "text/plain", "x_api_key": ""}, 405),
        ("POST", {"content_type": "text/plain", "x_api_key": ""}, 401),
        ("POST", {"content_type": "text/plain", "content_length": "9000000"}, 415),
        ("POST", {"x_api_key": "", "x_axonpush_channel": "x", "content_length": "9000000"}, 401),
        ("POST", {"x_axonpush_channel": "x", "content_length": "9000000"}, 400),
        ("POST", {"x_axonpush_channel": "999", "content_length": "9000000"}, 404),
        ("POST", {"x_api_key": FOREIGN, "content_length": "9000000"}, 403),
        ("POST", {"content_length": "9000000", "content_encoding": "gzip"}, 413),
        ("POST", {"content_encoding": "gzip"}, 400),
    ],
)
def test_checks_come_in_the_order_of_their_price(
    client: Client, method: str, changed: dict[str, str], status: int
) -> None:
    """Method, key, channel, media type, length, content: of several faults the first in this order is answered.

    All come before the body. The key is before the media type, so that a refusal names the sender.
    """
    answer = client.send(method, "/v1/logs", b"no gzip", otlp() | changed)
    assert answer.status == status


@pytest.mark.parametrize("changed", [{"x_api_key": ""}, {"content_type": "x"}, {"x_axonpush_channel": "999"}])
def test_a_refused_body_is_not_read(client: Client, changed: dict[str, str]) -> None:
    """What the head decides costs no body."""
    headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in (otlp() | changed).items()]
    assert client.run("POST", "/v1/logs", headers, []).status in (401, 404, 415)


# --- retries and pages


def test_a_retry_is_the_same_export_with_the_same_answer() -> None:
    """A client without an answer sends identical bytes again: one message, and the same counts."""
    client = replying(Counts(stage="otlp", accepted=1, rejected=1, reasons=["record 1: no"]))
    answers = [client.post("/v1/traces", TRACES, **otlp()) for _ in range(3)]
    assert len({answer.body for answer in answers}) == 1
    assert len({headers["Nats-Msg-Id"] for _, _, headers in client.publisher.published}) == 1


@pytest.mark.parametrize("path", ["/v1/logs", "/v1/traces", "/v1/metrics", f"{DSN_PATH}/v1/logs"])
def test_a_page_may_send_after_one_preflight(client: Client, path: str) -> None:
    """204 without a key, the origin echoed with credentials (sendBeacon sends them), the headers it asks for."""
    asked = "content-type,x-api-key,x-axonpush-channel,x-own"
    answer = client.send(
        "OPTIONS",
        path,
        headers={"origin": "https://a.example", "access-control-request-method": "POST",
                 "access-control-request-headers": asked},
    )  # fmt: skip
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "https://a.example"
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-max-age"] == "7200"
    assert "Origin" in answer.headers["vary"]
    for name in (*asked.split(","), "content-encoding", "authorization", "x-axonpush-environment", "x-sentry-auth"):
        assert name in answer.headers["access-control-allow-headers"]


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({}, 200),
        ({"x_axonpush_channel": "x"}, 400),
        ({"x_api_key": ""}, 401),
        ({"x_api_key": FOREIGN}, 403),
        ({"x_axonpush_channel": "999"}, 404),
        ({"content_length": "9000000"}, 413),
        ({"content_type": "x"}, 415),
        ({"x_api_key": "down"}, 503),
    ],
)
def test_a_page_may_read_every_answer(client: Client, changed: dict[str, str], status: int) -> None:
    """Without these headers a browser hides even the reason of a refusal."""
    if changed.get("x_api_key") == "down":
        client.publisher.error = Unavailable("disconnected")
        changed = {}
    answer = client.post("/v1/logs", LOGS, **(otlp() | changed), origin="https://a.example")
    assert answer.status == status
    assert answer.headers["access-control-allow-origin"] == "https://a.example"
    assert answer.headers["access-control-allow-credentials"] == "true"
    exposed = answer.headers["access-control-expose-headers"]
    for name in ("retry-after", "x-axonpush-resolved-environment", "x-axonpush-resolved-via"):
        assert name in exposed


def _request(content_type: str) -> Request:
    async def receive() -> dict[str, Any]:
        return {}

    return Request("POST", "/v1/logs", b"", {"content-type": content_type}, "", receive)
