"""The legacy store endpoint: one event by POST, or by GET from pages that can only load an image."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final

from receiver.admission.auth import Grant
from receiver.delivery.publish import fresh_salt
from receiver.delivery.steps import Delivery, RequestSteps
from receiver.endpoints.envelope import ENVELOPE_TYPE, envelope
from receiver.endpoints.sentry import DIALECT, accepted, admit, check_not_empty, credential_of, delivery
from receiver.http import body_facts
from receiver.http.answers import Answer, Refused
from receiver.http.body import Body
from receiver.http.body_facts import StoreFacts
from receiver.http.request import Request
from receiver.http.routes import Params, Route
from schemas import subjects
from schemas.credentials import Credential
from schemas.envelope.store_body import form_data

# JSON that was made for it takes 0.12 us a byte to read: 4 ms. Larger bodies are read by another process.
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

    The event is parsed for its id alone: it stands nowhere else, and few senders are left that come this way.
    GET is for pages that can only load an image.
    """
    if request.method == "GET":
        return await store_pixel(steps, request, params)
    if request.headers.get("content-type", "").strip().lower().startswith(ENVELOPE_TYPE):
        return await envelope(steps, request, params)
    credential = credential_of(request)
    grant = await admit(steps, request, credential, params)
    with steps.share(request, grant.key) as share:
        body = await steps.read(request, share, keep_bytes=steps.limits.max_bytes)
        check_not_empty(body.inflated_size_bytes, "an event")
        found = await _store_facts(steps, request, grant, body.head)
        tally = await steps.deliver(request, grant, body, _store_delivery(steps, request, credential, found))
    return accepted(found.event_id, tally)


async def store_pixel(steps: RequestSteps, request: Request, params: Params) -> Answer:
    """GET of one event in `?sentry_data=`: an image of one pixel once it is stored. Raises Refused."""
    credential = credential_of(request)
    grant = await admit(steps, request, credential, params)
    data = form_data(request.query_string)
    if not data:
        raise Refused(400, "query: expected an event in sentry_data=, found none; send it there or by POST")
    if len(data) > steps.limits.max_bytes:
        raise Refused(413, f"query: expected at most {steps.limits.max_bytes} bytes of sentry_data, found {len(data)}")
    with steps.share(request, grant.key) as share:
        share.grow_to(len(data))
        body = Body(wire=data, encoding="identity", head=data, inflated_size_bytes=len(data))
        steps.came(request, len(data))
        found = await _store_facts(steps, request, grant, data)
        await steps.deliver(request, grant, body, _store_delivery(steps, request, credential, found))
    return Answer(200, PIXEL, "image/gif", [("cache-control", "no-store")])


async def _store_facts(steps: RequestSteps, request: Request, grant: Grant, inflated: bytes) -> StoreFacts:
    """The facts of a store body: read here where it is small, also after the base64 and zlib of old SDKs are undone.

    What was packed once more counts for the quotas of bytes, too.
    """
    limit_bytes = steps.limits.max_bytes
    found = body_facts.store(inflated, MAX_READ_HERE_BYTES) if len(inflated) <= MAX_READ_HERE_BYTES else None
    if found is None or not found.is_complete:
        told = {"limit_bytes": limit_bytes}
        found = StoreFacts(*await steps.readers.read(grant.key.id, body_facts.STORE, told, inflated))
    steps.came(request, found.size_bytes if found.is_complete else limit_bytes)
    return found


def _store_delivery(
    steps: RequestSteps, request: Request, credential: Credential | None, found: StoreFacts
) -> Delivery:
    salt = fresh_salt() if found.is_fresh else b""
    return replace(delivery(steps, request, subjects.SENTRY_STORE, credential), salt=salt)
