"""Files for an event that was sent before them. Their content is not read here.

Follows Sentry's events/{event_id}/attachments.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from receiver.endpoints import sentry
from receiver.http.answers import Answer, Refused
from receiver.http.request import Request
from receiver.http.routes import Params, Route
from receiver.steps import RequestSteps
from schemas import form, subjects
from schemas.envelope import body as envelope


def routes(steps: RequestSteps) -> list[Route]:
    """The one endpoint."""
    path = "/api/{channel}/events/{event_id}/attachments"
    return [Route("sentry.attachments", path, ("POST",), partial(attach, steps), sentry.DIALECT, prefixed=True)]


async def attach(steps: RequestSteps, request: Request, params: Params) -> Answer:
    """POST of a form of files: 200 with the event's id once they are stored. Raises Refused."""
    credential = sentry.credential_of(request)
    grant = await steps.admission.admit(request, credential, params["channel"])
    event_id = envelope.parse_event_id(params["event_id"])
    if event_id is None:
        raise Refused(400, f"event id in the path: expected 32 hex digits, found {params['event_id'][:40]!a}")
    if not form.is_form(request.headers.get("content-type", "")):
        given = request.headers.get("content-type", "")[:70]
        raise Refused(415, f"Content-Type: expected {form.MEDIA_TYPE} with a boundary, found {given!a}")
    body = await steps.bodies.read(request, grant.key, expects="a form with files")
    message = replace(sentry.raw_message(steps, request, subjects.SENTRY_ATTACHMENT, credential), resource=event_id)
    delivered = await steps.delivery.deliver(request, grant, body, message)
    tally = await steps.delivery.wait_for_counts(delivered)
    return sentry.accepted_answer(event_id, tally)
