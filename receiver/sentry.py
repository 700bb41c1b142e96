"""The Sentry endpoints, after the Sentry SDK overview and envelope specification. Items are unpack's business."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from typing import Any, Final

from receiver import body_facts, rate_limits
from receiver.answers import Answer, Headers, Refused, json_answer, printable
from receiver.auth import Grant
from receiver.body import Body
from receiver.body_facts import StoreFacts
from receiver.counts import Tally
from receiver.door import Delivery, Door
from receiver.publish import fresh_salt
from receiver.quotas import RETRY_AFTER_S
from receiver.recent import Recent
from receiver.request import Request
from receiver.routes import Dialect, Params, Route
from schemas import credentials, subjects
from schemas.credentials import BadCredential, BadRequest, Credential
from schemas.envelope import MAX_HEADER_BYTES, EnvelopeError, Identity, read_identity
from schemas.store_body import form_data

ENVELOPE_TYPE: Final = "application/x-sentry-envelope"
_CHANNEL_IN_PATH: Final = "channel in the path"
# One SDK says the same in every request: 0.6 us in place of 11 to read it.
_RECENT: Final = Recent[Credential]()
# The header of nearly every envelope, in letters that mean themselves: 1.1 us in place of 4.5 to parse it.
# Whatever else may stand there (a DSN, an escape, another order) is read_identity's.
_TEXT: Final = rb'"[ !#-\[\]-~]*"'
_FLAT: Final = rb"\{(?:%s: ?%s(?:, ?%s: ?%s)*)?\}" % (_TEXT, _TEXT, _TEXT, _TEXT)
_USUAL_HEADER: Final = re.compile(
    rb'\{"event_id": ?"([0-9a-f]{32})"(?:, ?"(?:sent_at": ?%s|(?:sdk|trace)": ?%s))*\}\n' % (_TEXT, _FLAT)
)
# JSON that was made for it takes 0.12 us a byte to read: 4 ms. Larger bodies are read by another process.
MAX_READ_HERE_BYTES: Final = 32 * 1024
# One transparent pixel, GIF89a: header, screen and two colours, transparency, image, trailer.
PIXEL: Final = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00"
    b"!\xf9\x04\x01\x00\x00\x00\x00"
    b",\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
)


def refuse(request: Request, refused: Refused) -> Answer:
    """An error as Sentry SDKs expect it: JSON, and the reason once more where they log it."""
    body: dict[str, Any] = {"detail": refused.detail}
    if refused.causes:
        body["causes"] = list(refused.causes)
    headers = [("x-sentry-error", printable(refused.detail)), *refused.headers]
    if refused.status == 429:
        limits = rate_limits.for_each(rate_limits.ALL_CATEGORIES, RETRY_AFTER_S)
        headers.append((rate_limits.HEADER, rate_limits.header_value(limits)))
    return json_answer(refused.status, body, headers)


DIALECT: Final = Dialect("sentry", refuse, preflight_status=200)


def routes(door: Door) -> list[Route]:
    """Every Sentry endpoint. A path prefix of the DSN stands in front of `/api`."""
    return [
        Route("sentry.envelope", "/api/{channel}/envelope", ("POST",), partial(envelope, door), DIALECT, prefixed=True),
        Route("sentry.store", "/api/{channel}/store", ("POST", "GET"), partial(store, door), DIALECT, prefixed=True),
        Route("sentry.store", "/api/store", ("POST", "GET"), partial(store, door), DIALECT, prefixed=True),
    ]


async def envelope(door: Door, request: Request, params: Params) -> Answer:
    """POST of an envelope: 200 with the event id of its first line once it is stored. Raises Refused.

    That line is read for the id and, in tunnels, for the only credential there is: then it is read before the rest.
    """
    credential = credential_of(request)
    if credential is None:
        credential = await _tunnelled(door, request)
    grant = await admit(door, request, credential, params)
    with door.share(request, grant.key) as share:
        body = await door.read(request, share)
        check_not_empty(body.inflated_size_bytes, "an envelope")
        header, _ = _header(body.head)
        credential = _with_envelope(credential, header)
        tally = await door.deliver(request, grant, body, delivery(door, request, subjects.SENTRY_ENVELOPE, credential))
    return accepted(header.event_id if header else None, tally)


async def store(door: Door, request: Request, params: Params) -> Answer:
    """POST of one event to the legacy endpoint: 200 with its id once it is stored. Raises Refused.

    The event is parsed for its id alone: it stands nowhere else, and few senders are left that come this way.
    GET is for pages that can only load an image.
    """
    if request.method == "GET":
        return await store_pixel(door, request, params)
    if request.headers.get("content-type", "").strip().lower().startswith(ENVELOPE_TYPE):
        return await envelope(door, request, params)
    credential = credential_of(request)
    grant = await admit(door, request, credential, params)
    with door.share(request, grant.key) as share:
        body = await door.read(request, share, keep_bytes=door.limits.max_bytes)
        check_not_empty(body.inflated_size_bytes, "an event")
        found = await _store_facts(door, request, grant, body.head)
        tally = await door.deliver(request, grant, body, _store_delivery(door, request, credential, found))
    return accepted(found.event_id, tally)


def credential_of(request: Request) -> Credential | None:
    """The credential in headers or query, None if there is none. Raises Refused (400, 401)."""
    get = request.headers.get
    said = (get("x-sentry-auth", ""), get("authorization", ""), request.query_string)
    credential = _RECENT.get(said)
    if credential is None:
        credential = _credential_of(request)
        if credential is not None:
            _RECENT.put(said, credential)
    return credential


def _credential_of(request: Request) -> Credential | None:
    try:
        return credentials.sentry_credential(request.headers, request.query_string)
    except BadCredential as error:
        raise Refused(401, f"key: {error}") from error
    except BadRequest as error:
        raise Refused(400, str(error)) from error


async def admit(door: Door, request: Request, credential: Credential | None, params: Params) -> Grant:
    """The grant of a request to `/api/{channel}/…`. Raises Refused."""
    secret = credential.key if credential else ""
    return await door.admit(request, secret, params.get("channel", ""), _CHANNEL_IN_PATH)


def accepted(found_id: str | None, tally: Tally | None, headers: Headers | None = None) -> Answer:
    """200: the event's id if there is one, and what was not taken if that is known.

    A header asks SDKs to stop sending what nobody stores: they do not read the body.
    """
    body: dict[str, Any] = {"id": found_id} if found_id else {}
    headers = headers or []
    if tally is not None and tally.rejected:
        body["partialSuccess"] = {
            "acceptedItems": tally.accepted,
            "rejectedItems": tally.rejected,
            "errorMessage": tally.message,
        }
        if limits := rate_limits.for_unsupported(tally.reasons):
            headers.append((rate_limits.HEADER, rate_limits.header_value(limits)))
    return json_answer(200, body, headers)


async def store_pixel(door: Door, request: Request, params: Params) -> Answer:
    """GET of one event in `?sentry_data=`: an image of one pixel once it is stored. Raises Refused."""
    credential = credential_of(request)
    grant = await admit(door, request, credential, params)
    data = form_data(request.query_string)
    if not data:
        raise Refused(400, "query: expected an event in sentry_data=, found none; send it there or by POST")
    if len(data) > door.limits.max_bytes:
        raise Refused(413, f"query: expected at most {door.limits.max_bytes} bytes of sentry_data, found {len(data)}")
    with door.share(request, grant.key) as share:
        share.grow_to(len(data))
        body = Body(wire=data, encoding="identity", head=data, inflated_size_bytes=len(data))
        door.came(request, len(data))
        found = await _store_facts(door, request, grant, data)
        await door.deliver(request, grant, body, _store_delivery(door, request, credential, found))
    return Answer(200, PIXEL, "image/gif", [("cache-control", "no-store")])


async def _store_facts(door: Door, request: Request, grant: Grant, inflated: bytes) -> StoreFacts:
    """The facts of a store body: read here where it is small, also after the base64 and zlib of old SDKs are undone.

    What was packed once more counts for the quotas of bytes, too.
    """
    limit_bytes = door.limits.max_bytes
    found = body_facts.store(inflated, MAX_READ_HERE_BYTES) if len(inflated) <= MAX_READ_HERE_BYTES else None
    if found is None or not found.is_complete:
        told = {"limit_bytes": limit_bytes}
        found = StoreFacts(*await door.readers.read(grant.key.id, body_facts.STORE, told, inflated))
    door.came(request, found.size_bytes if found.is_complete else limit_bytes)
    return found


def _store_delivery(door: Door, request: Request, credential: Credential | None, found: StoreFacts) -> Delivery:
    salt = fresh_salt() if found.is_fresh else b""
    return replace(delivery(door, request, subjects.SENTRY_STORE, credential), salt=salt)


async def _tunnelled(door: Door, request: Request) -> Credential | None:
    """The credential in the envelope's first line, for a request that has no other. Raises Refused (401 and others)."""
    head = await door.read_stranger(request, lambda head: _header(head)[0] is not None)
    if request.is_read:
        check_not_empty(len(head), "an envelope")
    header, unreadable = _header(head)
    credential = _with_envelope(None, header)
    if credential is None and unreadable:
        raise Refused(401, "key: expected one in headers, query or envelope header, found none", causes=(unreadable,))
    return credential


def check_not_empty(size_bytes: int, expected: str) -> None:
    """Raises Refused (400) for a body of no bytes."""
    if size_bytes == 0:
        raise Refused(400, f"body: expected {expected}, found no bytes")


def _header(head: bytes) -> tuple[Identity | None, str]:
    """The envelope's header, or why it cannot be read: then unpack will say so, with the body safely stored."""
    usual = _USUAL_HEADER.match(head)
    if usual is not None and usual.end() <= MAX_HEADER_BYTES and usual[0].count(b'"sent_at"') < 2:
        return Identity(usual[1].decode(), None), ""
    try:
        return read_identity(head), ""
    except EnvelopeError as error:
        return None, str(error)


def _with_envelope(credential: Credential | None, header: Identity | None) -> Credential | None:
    """The credential, or the one in the envelope's `dsn`. Raises Refused (401) if these are different keys."""
    if header is None or header.dsn is None:
        return credential
    try:
        inside = credentials.dsn_credential(header.dsn)
        return credentials.combine([credential, inside] if credential else [inside])
    except BadCredential as error:
        raise Refused(401, f"key: {error}") from error


def delivery(door: Door, request: Request, route: str, credential: Credential | None) -> Delivery:
    """How a Sentry body is delivered, unless its endpoint knows more."""
    return Delivery(
        route=route,
        content_type=request.headers.get("content-type", ""),
        counts_wait_ms=door.settings.counts_wait_sentry_ms,
        expected=None,
        sentry_client=(credential.client or "") if credential else "",
    )
