"""Crash uploads: a form with a minidump, or the dump alone. What is in the dump is its worker's business.

Follows the Sentry minidump endpoint, which Crashpad and Breakpad uploaders use.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from uuid import UUID

from receiver import body as bodies
from receiver import sentry
from receiver.answers import Answer
from receiver.door import Door
from receiver.request import Request
from receiver.routes import Params, Route
from schemas import headers, subjects
from schemas.crash_form import crash_id


def routes(door: Door) -> list[Route]:
    """The one endpoint."""
    handle = partial(upload, door)
    return [Route("sentry.minidump", "/api/{channel}/minidump", ("POST",), handle, sentry.DIALECT, prefixed=True)]


async def upload(door: Door, request: Request, params: Params) -> Answer:
    """POST of one crash: 200 with the event's id as text once it is stored. Raises Refused.

    The form is read for that id alone, and by the function the workers use: the sender's own id stands inside, and one
    that is made is made of the dump, so that a retry under a new boundary is the same event.
    """
    credential = sentry.credential_of(request)
    grant = await sentry.admit(door, request, credential, params)
    with door.budget.share(bodies.check_declared(request, door.limits)) as share:
        body = await door.read(request, share, keep_bytes=door.limits.max_bytes)
        sentry.check_not_empty(body.inflated_size_bytes, "a minidump")
        delivery = sentry.delivery(door, request, subjects.SENTRY_MINIDUMP, credential)
        delivery = replace(delivery, content_type=headers.clean(delivery.content_type))
        await door.deliver(request, grant, body, delivery)
        found = crash_id(body.head, delivery.content_type, grant.channel.id)
    return Answer(200, str(UUID(found)).encode(), "text/plain")
