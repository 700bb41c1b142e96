"""Native events: `POST /event` as the axonpush SDKs send it, and `/event/batch`. Rows are made by the native worker.

The channel is in the body, so this endpoint reads the body before it knows the channel; the key is checked first.
native_delivery.py stores a body once per idempotency key.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from receiver.admission.auth import Grant
from receiver.endpoints.native_delivery import IDEMPOTENCY_HEADER, StoredEvents, store
from receiver.http import body_facts
from receiver.http.answers import Answer, Refused, json_answer
from receiver.http.body import Body
from receiver.http.body_facts import EventFacts, SubmissionFacts, Unreadable
from receiver.http.request import Request
from receiver.http.routes import Dialect, Params, Route
from receiver.steps import RequestSteps
from schemas import credentials, native_event, subjects
from schemas.credentials import BadCredential, Credential
from schemas.identifiers import SLUG_EXPECTED, is_slug
from schemas.key_masking import mask_keys_in
from schemas.registry import Key

VIA_BODY: Final = "body"
SLOW_BODY_RETRY_AFTER_S: Final = 2
# Hostile JSON of this size takes 4 ms to parse. Larger bodies are parsed by another process.
MAX_READ_HERE_BYTES: Final = 32 * 1024
# Other requests get a turn after this many acknowledgements of a batch, which may have 10,000.
ACKNOWLEDGED_AT_ONCE: Final = 200

# SDKs choose their exceptions by these codes; `validation_error` is a ValidationError in all of them.
_CODES: Final = {
    400: "validation_error",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "payload_too_large",
    415: "unsupported_media_type",
    422: "unprocessable",
    429: "rate_limited",
    503: "unavailable",
    504: "not_confirmed",
}
# navigator.sendBeacon sends text/plain, which needs no preflight.
_MEDIA_TYPES: Final = frozenset({"", "application/json", "text/json", "text/plain"})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def refuse(_request: Request, refused: Refused) -> Answer:
    """An error as axonpush SDKs read it. A body that came too slowly is a 503, which they send again."""
    if refused.status == 408:
        refused = Refused(503, refused.detail, retry_after_s=SLOW_BODY_RETRY_AFTER_S)
    body: dict[str, Any] = {
        "statusCode": refused.status,
        "code": _CODES.get(refused.status, "error"),
        "message": refused.detail,
        "detail": refused.detail,
    }
    if refused.causes:
        body["causes"] = list(refused.causes)
    return json_answer(refused.status, body, refused.headers)


DIALECT: Final = Dialect("native", refuse, preflight_status=204)


@dataclass(frozen=True, slots=True)
class _Posted:
    """One stored request: its credential, its channel, its facts, its result."""

    credential: Credential
    channel_id: int
    submission: SubmissionFacts
    stored: StoredEvents


def routes(steps: RequestSteps) -> list[Route]:
    """Both endpoints; the SDKs' reading endpoints are refused by name."""
    unserved = ("/event/{channel}/list", "/events", "/traces", "/traces/{trace}/events", "/traces/{trace}/summary")
    return [
        Route(subjects.NATIVE_EVENT, "/event", ("POST",), partial(event, steps), DIALECT),
        Route("event.batch", "/event/batch", ("POST",), partial(batch, steps), DIALECT),
        *(Route("event.read", path, ("GET",), no_reading, DIALECT) for path in unserved),
    ]


async def event(steps: RequestSteps, request: Request, _params: Params) -> Answer:
    """POST /event: 201 once the event is stored; with `sync`, once its row is in ClickHouse. Raises Refused."""
    posted = await _post(steps, request, is_batch=False)
    return json_answer(_created_status(posted), _event_answer(request, posted, posted.submission.events[0], 0))


async def batch(steps: RequestSteps, request: Request, _params: Params) -> Answer:
    """POST /event/batch: 202 with one acknowledgement for each event, in order; all are stored or none. Raises Refused.

    One invalid event refuses the batch.
    """
    posted = await _post(steps, request, is_batch=True)
    data = []
    for ordinal, facts in enumerate(posted.submission.events):
        if ordinal % ACKNOWLEDGED_AT_ONCE == 0:
            await asyncio.sleep(0)
        data.append(_event_answer(request, posted, facts, ordinal))
    return json_answer(202, {"accepted": len(data), "data": data, "environment": posted.stored.environment})


async def no_reading(_request: Request, _params: Params) -> Answer:
    """GET of events or traces, which are read with SQL. Raises Refused (404)."""
    raise Refused(
        404, "path: events are read with SQL here, see the view `events`; this service only takes POST /event"
    )


async def _post(steps: RequestSteps, request: Request, *, is_batch: bool) -> _Posted:
    credential = _credential(request)
    key = await steps.admission.admit_key(request, credential)
    assert credential is not None  # admit_key refuses a request without one
    _check_media_type(request)
    body = await steps.bodies.read(request, key, expects="", keep_bytes=steps.bodies.limits.max_bytes)
    submission = await _submission(steps, request, key, body, is_batch=is_batch)
    grant = await steps.admission.grant_channel(request, credential, submission.channel, "channel_id")
    grant = _in_environment(request, grant, submission.environment)
    stored = await store(steps, request, grant, body, submission)
    return _Posted(credential, grant.channel.id, submission, stored)


def _credential(request: Request) -> Credential | None:
    """The key of the headers. Raises Refused (401)."""
    try:
        return credentials.api_key_credential(request.headers)
    except BadCredential as error:
        raise Refused(401, f"key: {error}") from error


def _check_media_type(request: Request) -> None:
    text = request.headers.get("content-type", "")
    media_type = text.partition(";")[0].strip().lower()
    if media_type not in _MEDIA_TYPES and not media_type.endswith("+json"):
        raise Refused(415, f"Content-Type: expected application/json, found {text[:60]!a}")


async def _submission(
    steps: RequestSteps, request: Request, key: Key, body: Body, *, is_batch: bool
) -> SubmissionFacts:
    """The facts of the events, read in this process if the body is small. Raises Refused."""
    arguments = {"is_batch": is_batch, "wants_fingerprint": IDEMPOTENCY_HEADER in request.headers}
    try:
        if len(body.head) <= MAX_READ_HERE_BYTES:
            return body_facts.submission(body.head, **arguments)
        return body_facts.submission_of(await steps.readers.read(key.id, body_facts.NATIVE, arguments, body.head))
    except Unreadable as error:
        raise Refused(400, str(error)) from error


def _in_environment(request: Request, grant: Grant, named: str) -> Grant:
    """The event's own environment counts where the key allows it, and before the header.

    SDKs send their client's environment in the header of every request, and that of one call in the body.
    """
    if not named or not grant.key.allow_environment_override:
        return replace(grant, environment_from_event=False)
    if not is_slug(named):
        raise Refused(400, f"environment: expected {SLUG_EXPECTED}, found {named[:70]!a}")
    request.environment, request.resolved_via = named, VIA_BODY
    return replace(grant, environment=named, environment_from_event=False)


def _created_status(posted: _Posted) -> int:
    """201, but 200 for the SDKs from 0.0.18 on, which take every other status for an error without an event id.

    They are known by the header of their key; 0.0.17 shares one for public tokens with them, and always sends `sync`.
    """
    source = posted.credential.source
    is_recent = source == "x-axonpush-api-key" or (source == "x-public-token" and not posted.submission.has_sync)
    return 200 if is_recent else 201


def _event_answer(request: Request, posted: _Posted, facts: EventFacts, ordinal: int) -> dict[str, Any]:
    """The answer for one event; that of a repeat is the first one's.

    The SDKs to 0.0.9 take nothing but a number for an id. They send the channel as one, and a tenant.
    """
    stored = posted.stored
    event_id = native_event.event_id(posted.channel_id, stored.origin_id, ordinal)
    text = native_event.id_text(event_id)
    numeric = posted.submission.has_numeric_ids and "x-tenant-id" in request.headers
    answer: dict[str, Any] = {
        "id": native_event.id_number(event_id) if numeric else text,
        "eventId": text,
        "identifier": stored.identifier or mask_keys_in(facts.identifier),
        "dedupKey": mask_keys_in(stored.key or facts.dedup_key or text),
        "createdAt": _iso(stored.received_at_ns),
        "queued": True,
        "status": "stored" if posted.submission.wants_sync else "queued",
        "environment": stored.environment,
    }
    if stored.is_repeat:
        answer["duplicate"] = True
    return answer


def _iso(time_ns: int) -> str:
    """ISO 8601 in UTC, to the millisecond."""
    return (_EPOCH + timedelta(milliseconds=time_ns // 1_000_000)).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
