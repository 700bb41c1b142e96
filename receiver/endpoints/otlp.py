"""The OTLP/HTTP endpoints, after the OTLP specification. The workers decode the records."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

from receiver.admission.auth import Grant
from receiver.delivery.counts import Tally
from receiver.delivery.deliver import RawMessage
from receiver.endpoints import sentry
from receiver.http.answers import Answer, Refused
from receiver.http.request import Request
from receiver.http.routes import Dialect, Params, Route
from receiver.steps import RequestSteps
from schemas import credentials, subjects
from schemas.credentials import BadCredential
from schemas.otlp import http_bodies as otlp

CHANNEL_HEADER: Final = "x-axonpush-channel"
SLOW_BODY_RETRY_AFTER_S: Final = 2

# google.rpc.Code by HTTP status, as google/rpc/code.proto maps them.
_CODES: Final = {400: 3, 401: 16, 403: 7, 404: 5, 405: 12, 413: 8, 415: 3, 429: 8, 503: 14}
_UNKNOWN_CODE: Final = 2
_HEADER_NAME: Final = re.compile(r"[A-Za-z][A-Za-z-]{0,63}")
_EXPECTED_COUNTS: Final = 1  # one worker reads the whole body


@dataclass(frozen=True, slots=True)
class SignalEndpoint:
    """One kind of telemetry: its word in schemas.otlp, its path and its subject."""

    kind: Literal["logs", "traces"]
    path: str
    subject: str


_DSN_PATH: Final = "/api/{channel}/integration/otlp"
_SIGNALS: Final = (
    SignalEndpoint("logs", "/v1/logs", subjects.OTLP_LOGS),
    SignalEndpoint("traces", "/v1/traces", subjects.OTLP_TRACES),
)


def refuse(request: Request, refused: Refused) -> Answer:
    """An error as google.rpc.Status in the request's own encoding, JSON where that is none.

    Exporters repeat 429, 502, 503 and 504 only, so a body that came too slowly is a 503 and not a 408.
    """
    if refused.status == 408:
        refused = Refused(503, refused.detail, retry_after_s=SLOW_BODY_RETRY_AFTER_S)
    encoding: otlp.Encoding = otlp.media_type(request.headers.get("content-type", "")) or "json"
    code = _CODES.get(refused.status, _UNKNOWN_CODE)
    message = ": ".join((refused.detail, *refused.causes))
    retry_after_s = refused.retry_after_s if refused.status == 429 else None
    content = otlp.status(encoding, code, message, retry_after_s, _field(refused))
    return Answer(refused.status, *_body(content, encoding), headers=refused.headers)


def _field(refused: Refused) -> str:
    """The invalid part of the request: a reason for a 400 begins with a header's name, or it is about the body."""
    if refused.status != 400:
        return ""
    name, colon, _ = refused.detail.partition(": ")
    return name if colon and _HEADER_NAME.fullmatch(name) else "body"


DIALECT: Final = Dialect("otlp", refuse, preflight_status=204)


def routes(steps: RequestSteps) -> list[Route]:
    """Both signals with an API key, and with the key of a DSN below `/api/{channel}`; others are refused by name."""
    endpoints = [
        Route("otlp.metrics", "/v1/metrics", ("POST",), partial(refuse_signal, "metrics"), DIALECT),
        Route("otlp.metrics", f"{_DSN_PATH}/v1/metrics", ("POST",), partial(refuse_signal, "metrics"), DIALECT, True),
        Route("otlp.profiles", "/v1development/profiles", ("POST",), partial(refuse_signal, "profiles"), DIALECT),
    ]
    for signal in _SIGNALS:
        dsn_path = f"{_DSN_PATH}{signal.path}"
        endpoints.append(Route(signal.subject, signal.path, ("POST",), partial(with_api_key, steps, signal), DIALECT))
        endpoints.append(
            Route(signal.subject, dsn_path, ("POST",), partial(with_dsn_key, steps, signal), DIALECT, prefixed=True)
        )
    return endpoints


async def with_api_key(steps: RequestSteps, signal: SignalEndpoint, request: Request, _params: Params) -> Answer:
    """POST /v1/…: the key in X-API-Key, the channel in X-Axonpush-Channel. Raises Refused."""
    try:
        credential = credentials.api_key_credential(request.headers)
    except BadCredential as error:
        raise Refused(401, f"key: {error}") from error
    channel = request.headers.get(CHANNEL_HEADER, "").strip()
    grant = await steps.admission.admit(request, credential, channel, "X-Axonpush-Channel")
    return await _export(steps, signal, request, grant)


async def with_dsn_key(steps: RequestSteps, signal: SignalEndpoint, request: Request, params: Params) -> Answer:
    """POST /api/{channel}/integration/otlp/v1/…: the same with Sentry's ways to send a key. Raises Refused."""
    grant = await steps.admission.admit(request, sentry.credential_of(request), params["channel"])
    return await _export(steps, signal, request, grant)


# What to change at the sender, for the refusal.
_TURN_OFF: Final = {
    "metrics": "set OTEL_METRICS_EXPORTER=none in an SDK, or take this exporter out of a Collector's metrics pipeline",
    "profiles": "take this exporter out of the profiles pipeline",
}


async def refuse_signal(what: str, _request: Request, _params: Params) -> Answer:
    """POST /v1/metrics and profiles: refused for good, so that exporters stop trying. Raises Refused (404)."""
    raise Refused(404, f"{what} are not stored here: expected /v1/traces or /v1/logs; {_TURN_OFF[what]}")


async def _export(steps: RequestSteps, signal: SignalEndpoint, request: Request, grant: Grant) -> Answer:
    encoding = _encoding(request)  # after the key, so that a refusal names who sends the wrong type
    body = await steps.bodies.read(request, grant.key, expects="a JSON object" if encoding == "json" else "")
    message = RawMessage(
        route=signal.subject,
        content_type=otlp.MEDIA_TYPES[encoding],
        counts_wait_ms=steps.settings.counts_wait_otlp_ms,
        expected=_EXPECTED_COUNTS,
    )
    delivered = await steps.delivery.deliver(request, grant, body, message)
    tally = await steps.delivery.wait_for_counts(delivered)
    return Answer(200, *_body(_success_body(signal, encoding, tally), encoding))


def _success_body(signal: SignalEndpoint, encoding: otlp.Encoding, tally: Tally | None) -> bytes:
    """A full success has no message; a warning is a partial success that rejected nothing."""
    if tally is None or not (tally.rejected or tally.warning):
        return otlp.success(encoding)
    return otlp.partial_success(signal.kind, encoding, tally.rejected, tally.message)


def _encoding(request: Request) -> otlp.Encoding:
    text = request.headers.get("content-type", "")
    encoding = otlp.media_type(text)
    if encoding is None:
        raise Refused(415, f"Content-Type: expected application/x-protobuf or application/json, found {text[:60]!a}")
    return encoding


def _body(content: bytes, encoding: otlp.Encoding) -> tuple[bytes, str]:
    return content, otlp.MEDIA_TYPES[encoding]
