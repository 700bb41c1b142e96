"""Browsers' security reports: CSP, Expect-CT, Expect-Staple, HPKP. The worker `csp` reads the reports.

Follows Sentry's security policy reporting; the key stands in the query, because a policy can name nothing but a URL.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final

from receiver.delivery.publish import fresh_salt
from receiver.endpoints import sentry
from receiver.http.answers import Answer, Refused
from receiver.http.request import Request
from receiver.http.routes import Params, Route
from receiver.steps import RequestSteps
from schemas import credentials, subjects

MEDIA_TYPES: Final = frozenset(
    {
        "application/csp-report",
        "application/json",
        "application/reports+json",
        "application/expect-ct-report",
        "application/expect-ct-report+json",
        "application/expect-staple-report",
        "application/expect-staple-report+json",
    }
)


def routes(steps: RequestSteps) -> list[Route]:
    """Both names of the one endpoint."""
    handle = partial(report, steps)
    return [
        Route("sentry.security", "/api/{channel}/security", ("POST",), handle, sentry.DIALECT, prefixed=True),
        Route("sentry.security", "/api/{channel}/csp-report", ("POST",), handle, sentry.DIALECT, prefixed=True),
    ]


async def report(steps: RequestSteps, request: Request, params: Params) -> Answer:
    """POST of one report or a list of them: 200 and no body once they are stored. Raises Refused.

    Two visitors of one page send the same bytes, which say neither who nor when: each request is a message of its own.
    """
    credential = sentry.credential_of(request)
    grant = await steps.admission.admit(request, credential, params["channel"])
    _check_media_type(request)
    body = await steps.bodies.read(request, grant.key, expects="a security report")
    message = replace(
        sentry.raw_message(steps, request, subjects.SENTRY_SECURITY, credential),
        query=credentials.query_without_credentials(request.query_string),
        salt=fresh_salt(),
    )
    delivered = await steps.delivery.deliver(request, grant, body, message)
    await steps.delivery.wait_for_counts(delivered)
    return Answer(200, content_type="")


def _check_media_type(request: Request) -> None:
    """A sender that names none is believed; the document says what it is. Raises Refused (415)."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type and media_type not in MEDIA_TYPES:
        expected = ", ".join(sorted(MEDIA_TYPES))
        raise Refused(415, f"Content-Type: expected one of {expected}, found {media_type[:70]!a}")
