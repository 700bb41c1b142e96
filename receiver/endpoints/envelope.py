"""The envelope endpoint, after the Sentry envelope specification. Items are split by the worker `unpack`."""

from __future__ import annotations

import re
from functools import partial
from typing import Final

from receiver.endpoints.sentry import DIALECT, accepted_answer, credential_of, raw_message
from receiver.http.answers import Answer, Refused
from receiver.http.bodies import empty
from receiver.http.request import Request
from receiver.http.routes import Params, Route
from receiver.steps import RequestSteps
from schemas import credentials, subjects
from schemas.credentials import BadCredential, Credential
from schemas.envelope.body import MAX_HEADER_BYTES, EnvelopeError, Identity, read_identity

ENVELOPE_TYPE: Final = "application/x-sentry-envelope"
# The usual header of an envelope, without escapes: faster than to parse it (docs/decisions/0027-tricks.md). Any other
# header (with a DSN, an escape, another order) is read by read_identity.
_TEXT: Final = rb'"[ !#-\[\]-~]*"'
_FLAT: Final = rb"\{(?:%s: ?%s(?:, ?%s: ?%s)*)?\}" % (_TEXT, _TEXT, _TEXT, _TEXT)
_USUAL_HEADER: Final = re.compile(
    rb'\{"event_id": ?"([0-9a-f]{32})"(?:, ?"(?:sent_at": ?%s|(?:sdk|trace)": ?%s))*\}\n' % (_TEXT, _FLAT)
)


def routes(steps: RequestSteps) -> list[Route]:
    """Its paths; a path prefix of the DSN stands in front of `/api`."""
    return [
        Route(
            "sentry.envelope", "/api/{channel}/envelope", ("POST",), partial(envelope, steps), DIALECT, prefixed=True
        ),
    ]


async def envelope(steps: RequestSteps, request: Request, params: Params) -> Answer:
    """POST of an envelope: 200 with the event id of its first line once it is stored. Raises Refused.

    That line is read for the id and, in tunnels, for the only credential there is: then it is read before the rest.
    """
    first_line = _FirstLine()
    credential = credential_of(request) or await _read_credential(steps, request, first_line)
    grant = await steps.admission.admit(request, credential, params.get("channel", ""))
    body = await steps.bodies.read(request, grant.key, expects="an envelope")
    header = first_line.read(body.head)
    credential = _with_envelope(credential, header)
    message = raw_message(steps, request, subjects.SENTRY_ENVELOPE, credential)
    delivered = await steps.delivery.deliver(request, grant, body, message)
    tally = await steps.delivery.wait_for_counts(delivered)
    return accepted_answer(header.event_id if header else None, tally)


async def _read_credential(steps: RequestSteps, request: Request, first_line: _FirstLine) -> Credential | None:
    """The credential in the envelope's first line, for a request that has no other. Raises Refused (401 and others)."""
    head = await steps.bodies.read_unauthenticated(request, lambda head: first_line.read(head) is not None)
    if request.is_read and not head:
        raise empty("an envelope")
    header = first_line.read(head)
    if header is None:
        causes = (first_line.error,)
        raise Refused(401, "key: expected one in headers, query or envelope header, found none", causes=causes)
    return _with_envelope(None, header)


class _FirstLine:
    """The first line of one request's envelope: read once, as soon as enough of the body has arrived.

    `error` says why the line could not be read. With a valid key such a body is stored, and unpack reports the error.
    """

    __slots__ = ("_identity", "error")

    def __init__(self) -> None:
        self._identity: Identity | None = None
        self.error = ""

    def read(self, head: bytes) -> Identity | None:
        """The id and DSN in the line; `head` is the start of the body, which is not read again after a success."""
        if self._identity is None:
            self._identity, self.error = _identity(head)
        return self._identity


def _identity(head: bytes) -> tuple[Identity | None, str]:
    """The id and DSN in the first line, or an error text."""
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
