"""The legacy store endpoint: one event by POST, or by GET from pages that can only load an image."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final

from receiver.admission.auth import Grant
from receiver.delivery.deliver import RawMessage
from receiver.delivery.publish import fresh_salt
from receiver.endpoints.envelope import ENVELOPE_TYPE, envelope
from receiver.endpoints.sentry import DIALECT, accepted_answer, credential_of, raw_message
from receiver.http import body_facts
from receiver.http.answers import Answer, Refused
from receiver.http.body_facts import StoreFacts
from receiver.http.request import Request
from receiver.http.routes import Params, Route
from receiver.steps import RequestSteps
from schemas import subjects
from schemas.credentials import Credential
from schemas.envelope.store_body import form_data

# Hostile JSON of this size takes 4 ms to parse. Larger bodies are parsed by another process.
MAX_READ_HERE_BYTES: Final = 32 * 1024
# One transparent pixel, GIF89a: header, screen and two colours, transparency, image, trailer.
PIXEL: Final = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00"
    b"!\xf9\x04\x01\x00\x00\x00\x00"
    b",\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
)


def routes(steps: RequestSteps) -> list[Route]:
    """Its paths; a path prefix of the DSN stands in front of `/api`."""
    return [
        Route("sentry.store", "/api/{channel}/store", ("POST", "GET"), partial(store, steps), DIALECT, prefixed=True),
        Route("sentry.store", "/api/store", ("POST", "GET"), partial(store, steps), DIALECT, prefixed=True),
    ]


async def store(steps: RequestSteps, request: Request, params: Params) -> Answer:
    """POST of one event to the legacy endpoint: 200 with its id once it is stored. Raises Refused.

    The event is parsed for its id, which is nowhere else in the request.
    GET is for pages that can only load an image.
    """
    if request.method == "GET":
        return await store_pixel(steps, request, params)
    if request.headers.get("content-type", "").strip().lower().startswith(ENVELOPE_TYPE):
        return await envelope(steps, request, params)
    credential = credential_of(request)
    grant = await steps.admission.admit(request, credential, params.get("channel", ""))
    body = await steps.bodies.read(request, grant.key, "an event", keep_bytes=steps.bodies.limits.max_bytes)
    facts = await _store_facts(steps, request, grant, body.head)
    message = _raw_message(steps, request, credential, facts)
    delivered = await steps.delivery.deliver(request, grant, body, message)
    tally = await steps.delivery.wait_for_counts(delivered)
    return accepted_answer(facts.event_id, tally)


async def store_pixel(steps: RequestSteps, request: Request, params: Params) -> Answer:
    """GET of one event in `?sentry_data=`: an image of one pixel once it is stored. Raises Refused."""
    credential = credential_of(request)
    grant = await steps.admission.admit(request, credential, params.get("channel", ""))
    data = form_data(request.query_string)
    if not data:
        raise Refused(400, "query: expected an event in sentry_data=, found none; send it there or by POST")
    max_bytes = steps.bodies.limits.max_bytes
    if len(data) > max_bytes:
        raise Refused(413, f"query: expected at most {max_bytes} bytes of sentry_data, found {len(data)}")
    body = steps.bodies.of_query(request, grant.key, data)
    facts = await _store_facts(steps, request, grant, data)
    delivered = await steps.delivery.deliver(request, grant, body, _raw_message(steps, request, credential, facts))
    await steps.delivery.wait_for_counts(delivered)
    return Answer(200, PIXEL, "image/gif", [("cache-control", "no-store")])


async def _store_facts(steps: RequestSteps, request: Request, grant: Grant, inflated: bytes) -> StoreFacts:
    """The facts of a store body, read in this process if it is small, also after the base64 and zlib of old SDKs.

    The bytes after zlib count for the quotas, too.
    """
    limit_bytes = steps.bodies.limits.max_bytes
    facts = body_facts.store(inflated, MAX_READ_HERE_BYTES) if len(inflated) <= MAX_READ_HERE_BYTES else None
    if facts is None or not facts.is_complete:
        arguments = {"limit_bytes": limit_bytes}
        facts = StoreFacts(*await steps.readers.read(grant.key.id, body_facts.STORE, arguments, inflated))
    request.count_inflated(facts.size_bytes if facts.is_complete else limit_bytes)
    return facts


def _raw_message(steps: RequestSteps, request: Request, credential: Credential | None, facts: StoreFacts) -> RawMessage:
    salt = fresh_salt() if facts.is_fresh else b""
    return replace(raw_message(steps, request, subjects.SENTRY_STORE, credential), salt=salt)
