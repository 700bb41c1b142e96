"""Check-ins by plain HTTP: a ping of one URL, as a crontab line makes it. What a check-in means is its worker's matter.

Follows Sentry's HTTP check-ins: the monitor's slug, and for some senders the key, stand in the path.
"""

from __future__ import annotations

from functools import partial
from urllib.parse import parse_qsl, quote

from receiver.delivery.publish import fresh_salt
from receiver.delivery.steps import Delivery, RequestSteps
from receiver.endpoints import sentry
from receiver.http.answers import Answer, Refused
from receiver.http.request import Request
from receiver.http.routes import Params, Route
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
    grant = await sentry.admit(steps, request, credential, params)
    query = credentials.query_without_credentials(request.query_string)
    named = dict(parse_qsl(query))
    with steps.share(request, grant.key) as share:
        body = await steps.read(request, share)
        if body.inflated_size_bytes == 0 and not named.get("status", "").strip():
            raise Refused(400, "query: expected status=in_progress, ok or error, found none; name the job's status")
        delivery = Delivery(
            route=subjects.SENTRY_CRON,
            content_type=request.headers.get("content-type", ""),
            counts_wait_ms=steps.settings.counts_wait_sentry_ms,
            expected=None,
            sentry_client=(credential.client or "") if credential else "",
            salt=_salt(named.get("check_in_id", "")),
            resource=quote(params["slug"], safe=""),
            query=query,
        )
        tally = await steps.deliver(request, grant, body, delivery)
    return sentry.accepted(None, tally)


def _credential(request: Request, params: Params) -> Credential | None:
    """The one key of headers, query and path. Raises Refused (400, 401)."""
    found = sentry.credential_of(request)
    if "key" not in params:
        return found
    try:
        in_path = credentials.path_credential(params["key"])
        return credentials.combine([found, in_path] if found else [in_path])
    except BadCredential as error:
        raise Refused(401, f"key: {error}") from error
    except BadRequest as error:
        raise Refused(400, str(error)) from error


def _salt(check_in_id: str) -> bytes:
    """Two equal pings are two check-ins, unless they name the same one (all zeros name none)."""
    return b"" if check_in_id.strip("0- ") else fresh_salt()
