"""Check-ins by plain HTTP: a request to one URL, as a crontab line sends it. The worker `check_in` makes the row.

Follows Sentry's HTTP check-ins: the monitor's slug, and for some senders the key, stand in the path.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from urllib.parse import parse_qsl, quote

from receiver.delivery.publish import fresh_salt
from receiver.endpoints import sentry
from receiver.http.answers import Answer, Refused
from receiver.http.request import Request
from receiver.http.routes import Params, Route
from receiver.steps import RequestSteps
from schemas import credentials, subjects
from schemas.credentials import BadCredential, BadRequest, Credential

_METHODS = ("GET", "POST")


def routes(steps: RequestSteps) -> list[Route]:
    """Both paths; a key in the path is for senders that can set neither a header nor a query."""
    handle = partial(check_in, steps)
    return [
        Route("sentry.cron", "/api/{channel}/cron/{slug}", _METHODS, handle, sentry.DIALECT, prefixed=True),
        Route("sentry.cron", "/api/{channel}/cron/{slug}/{key}", _METHODS, handle, sentry.DIALECT, prefixed=True),
    ]


async def check_in(steps: RequestSteps, request: Request, params: Params) -> Answer:
    """GET or POST: 200 once the check-in is stored, its fields in the query or in a JSON body. Raises Refused."""
    credential = _credential(request, params)
    grant = await steps.admission.admit(request, credential, params["channel"])
    query = credentials.query_without_credentials(request.query_string)
    fields = dict(parse_qsl(query))
    body = await steps.bodies.read(request, grant.key, expects="")
    if body.inflated_size_bytes == 0 and not fields.get("status", "").strip():
        raise Refused(400, "query: expected status=in_progress, ok or error, found none; name the job's status")
    message = replace(
        sentry.raw_message(steps, request, subjects.SENTRY_CRON, credential),
        salt=_salt(fields.get("check_in_id", "")),
        resource=quote(params["slug"], safe=""),
        query=query,
    )
    delivered = await steps.delivery.deliver(request, grant, body, message)
    tally = await steps.delivery.wait_for_counts(delivered)
    return sentry.accepted_answer(None, tally)


def _credential(request: Request, params: Params) -> Credential | None:
    """The one key of headers, query and path. Raises Refused (400, 401)."""
    outside_path = sentry.credential_of(request)
    if "key" not in params:
        return outside_path
    try:
        in_path = credentials.path_credential(params["key"])
        return credentials.combine([outside_path, in_path] if outside_path else [in_path])
    except BadCredential as error:
        raise Refused(401, f"key: {error}") from error
    except BadRequest as error:
        raise Refused(400, str(error)) from error


def _salt(check_in_id: str) -> bytes:
    """Two equal requests are two check-ins, unless they have the same check-in id (all zeros are no id)."""
    return b"" if check_in_id.strip("0- ") else fresh_salt()
