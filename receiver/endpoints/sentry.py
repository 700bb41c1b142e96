"""What all Sentry endpoints share, after the Sentry SDK overview: credentials, answers, refusals."""

from __future__ import annotations

from typing import Any, Final

from receiver.admission.quotas import RETRY_AFTER_S
from receiver.delivery.counts import Tally
from receiver.delivery.deliver import RawMessage
from receiver.endpoints import rate_limits
from receiver.http.answers import Answer, Headers, Refused, header_text, json_answer
from receiver.http.request import Request
from receiver.http.routes import Dialect
from receiver.short_cache import ShortCache
from receiver.steps import RequestSteps
from schemas import credentials
from schemas.credentials import BadCredential, BadRequest, Credential

# An SDK sends the same credentials in every request.
_CREDENTIALS: Final = ShortCache[Credential]()


def refuse(request: Request, refused: Refused) -> Answer:
    """An error as Sentry SDKs expect it: JSON, and the reason again in the header that they log."""
    body: dict[str, Any] = {"detail": refused.detail}
    if refused.causes:
        body["causes"] = list(refused.causes)
    headers = [("x-sentry-error", header_text(refused.detail)), *refused.headers]
    if refused.status == 429:
        limits = rate_limits.for_each(rate_limits.ALL_CATEGORIES, RETRY_AFTER_S)
        headers.append((rate_limits.HEADER, rate_limits.header_value(limits)))
    return json_answer(refused.status, body, headers)


DIALECT: Final = Dialect("sentry", refuse, preflight_status=200)


def credential_of(request: Request) -> Credential | None:
    """The credential in headers or query, None if there is none. Raises Refused (400, 401)."""
    get = request.headers.get
    credential_texts = (get("x-sentry-auth", ""), get("authorization", ""), request.query_string)
    credential = _CREDENTIALS.get(credential_texts)
    if credential is None:
        credential = _credential_of(request)
        if credential is not None:
            _CREDENTIALS.put(credential_texts, credential)
    return credential


def _credential_of(request: Request) -> Credential | None:
    try:
        return credentials.sentry_credential(request.headers, request.query_string)
    except BadCredential as error:
        raise Refused(401, f"key: {error}") from error
    except BadRequest as error:
        raise Refused(400, str(error)) from error


def accepted_answer(event_id: str | None, tally: Tally | None, headers: Headers | None = None) -> Answer:
    """200: the event's id if there is one, and the rejected items if they are known.

    SDKs do not read the body, so a header asks them to stop sending item types that are not stored.
    """
    body: dict[str, Any] = {"id": event_id} if event_id else {}
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


def raw_message(steps: RequestSteps, request: Request, route: str, credential: Credential | None) -> RawMessage:
    """The message for a Sentry body; endpoints may add to it."""
    return RawMessage(
        route=route,
        content_type=request.headers.get("content-type", ""),
        counts_wait_ms=steps.settings.counts_wait_sentry_ms,
        expected=None,
        sentry_client=(credential.client or "") if credential else "",
    )
