"""Crash uploads: a form with a minidump, or the dump alone. The worker `minidump` reads the dump.

Follows the Sentry minidump endpoint, which Crashpad and Breakpad uploaders use.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final
from uuid import UUID

from receiver.admission.auth import Grant
from receiver.endpoints import sentry
from receiver.http import body_facts
from receiver.http.answers import Answer
from receiver.http.request import Request
from receiver.http.routes import Params, Route
from receiver.steps import RequestSteps
from schemas import headers, subjects
from schemas.crash.upload_form import crash_id

# A hostile form of this size takes 3 ms to parse. Larger ones are parsed by another process.
MAX_READ_HERE_BYTES: Final = 16 * 1024


def routes(steps: RequestSteps) -> list[Route]:
    """The one endpoint."""
    handle = partial(upload, steps)
    return [Route("sentry.minidump", "/api/{channel}/minidump", ("POST",), handle, sentry.DIALECT, prefixed=True)]


async def upload(steps: RequestSteps, request: Request, params: Params) -> Answer:
    """POST of one crash: 200 with the event's id as text once it is stored. Raises Refused.

    The form is read only for that id, by the function that workers use too. The id is the sender's, or is derived from
    the dump, so that a retry with another boundary is the same event.
    """
    credential = sentry.credential_of(request)
    grant = await steps.admission.admit(request, credential, params["channel"])
    body = await steps.bodies.read(request, grant.key, "a minidump", keep_bytes=steps.bodies.limits.max_bytes)
    message = sentry.raw_message(steps, request, subjects.SENTRY_MINIDUMP, credential)
    message = replace(message, content_type=headers.clean(message.content_type))
    event_id = await _crash_id(steps, grant, body.head, message.content_type)
    delivered = await steps.delivery.deliver(request, grant, body, message)
    await steps.delivery.wait_for_counts(delivered)
    return Answer(200, str(UUID(event_id)).encode(), "text/plain")


async def _crash_id(steps: RequestSteps, grant: Grant, inflated: bytes, content_type: str) -> str:
    """The event's id, read in this process if the upload is small. Raises Refused."""
    arguments = {"content_type": content_type, "channel_id": grant.channel.id}
    if len(inflated) <= MAX_READ_HERE_BYTES:
        return crash_id(inflated, content_type, grant.channel.id)
    return str(await steps.readers.read(grant.key.id, body_facts.CRASH, arguments, inflated))
