"""The ASGI application: passes a request to its endpoint. Unexpected errors become 503, never 500."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from receiver import metrics
from receiver.endpoints import attachments, cron, envelope, minidump, native, otlp, security, store
from receiver.http import cors
from receiver.http.answers import Answer, Refused, json_answer
from receiver.http.body import Disconnected
from receiver.http.request import Receive, Request, Send
from receiver.http.routes import Dialect, Params, Route, Routes
from receiver.http.unread_body import UnreadBodies
from receiver.steps import RequestSteps
from schemas.credentials import path_without_credentials

UNEXPECTED_RETRY_AFTER_S: Final = 5
STOPPING_RETRY_AFTER_S: Final = 2

Encoded = tuple[tuple[bytes, bytes], ...]

log = structlog.get_logger()


def _refuse(_request: Request, refused: Refused) -> Answer:
    return json_answer(refused.status, {"detail": refused.detail}, refused.headers)


_PLAIN: Final = Dialect("own", _refuse, preflight_status=204)
# For operators and load balancers. They get no cross-origin headers, so other sites cannot read them in a browser.
_OWN: Final = frozenset({"about", "health", "ready", "metrics"})
# The answer to somebody who opens the address in a browser.
_ABOUT: Final = {
    "what": "axonpush-ingest: receives Sentry and OpenTelemetry data",
    "send": {
        "sentry": "DSN http(s)://KEY@this-host/CHANNEL, as `axonpush keys mint` prints it",
        "otlp": "POST /v1/traces and /v1/logs with the headers X-API-Key and X-Axonpush-Channel",
        "native": "POST /event",
    },
    "read": "SQL in ClickHouse, or `axonpush sql`; nothing can be read here",
    "state": {"/health": "whether this process runs", "/ready": "whether it accepts data"},
    "documentation": "docs/send.md in the repository",
}
_CLOSE: Final = (b"connection", b"close")


class App:
    """The receiver as ASGI 3.0 sees it. `stopping`: /ready answers 503, so that load balancers stop sending.

    `ending`: the process is about to end, and every new request gets 503.
    """

    def __init__(self, steps: RequestSteps) -> None:
        self.stopping = False
        self.ending = False
        self._steps = steps
        self.unread_bodies = UnreadBodies()
        own = [
            Route("health", "/health", ("GET",), self._health, _PLAIN),
            Route("about", "/", ("GET",), self._about, _PLAIN),
            Route("ready", "/ready", ("GET",), self._ready, _PLAIN),
        ]
        if steps.settings.receiver_metrics_port == 0:
            own.append(Route("metrics", "/metrics", ("GET",), self._metrics, _PLAIN))
        families = (envelope, store, cron, security, minidump, attachments, otlp, native)
        self._routes = Routes((*(route for family in families for route in family.routes(steps)), *own))

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            request = Request.from_scope(scope, receive)
            name, answer = await self._answer(request)
            metrics.with_labels(metrics.REQUESTS, name, answer.status).inc()
            if request.key is not None and answer.status < HTTPStatus.BAD_REQUEST:
                self._steps.refusals.count_use(request.key)
            common = () if name in _OWN else _common_headers(request)
            if not self.unread_bodies.is_due(request, answer.status):
                await _send(send, answer, common)
                return
            if self.unread_bodies.closes(request):
                common = (*common, _CLOSE)
            await _send(send, answer, common)
            await self._read_rest(request)

    async def _read_rest(self, request: Request) -> None:
        """Reads the rest of a refused body so that the sender gets the answer, unless it was refused too often."""
        network = request.network(trust_forwarded=self._steps.settings.trust_forwarded)
        if not self._steps.refusal_budget.is_exceeded(network):
            await self.unread_bodies.drain(request, network)

    async def _answer(self, request: Request) -> tuple[str, Answer]:
        try:
            return await self._answer_route(request)
        except Exception:
            # After a 500 OTLP exporters drop their data; after a 503 they send it again.
            metrics.UNEXPECTED_ERRORS.inc()
            log.exception("unexpected_error", path=path_without_credentials(request.path)[:200])
            detail = "internal error, and the body may be stored; send the same again"
            refused = Refused(503, detail, retry_after_s=UNEXPECTED_RETRY_AFTER_S, may_be_stored=True)
            match = self._routes.find(request.path)
            refuse = match[0].dialect.refuse if match else _refuse
            return request.route or "none", refuse(request, refused)

    async def _answer_route(self, request: Request) -> tuple[str, Answer]:
        match = self._routes.find(request.path)
        if match is None or (match[0].name == "about" and request.method == "POST"):
            path = path_without_credentials(request.path)[:200]
            refused = Refused(404, f"path: expected an endpoint, found {path!a}", reason="path")
            self._steps.admission.count_refusal(request, refused)
            return "none", _refuse(request, refused)
        route, params = match
        request.route = route.name
        return route.name, await self._handle(request, route, params)

    async def _handle(self, request: Request, route: Route, params: Params) -> Answer:
        if request.method == "OPTIONS":
            return cors.preflight(request, route.methods, route.dialect.preflight_status)
        is_our_fault = False
        try:
            if request.method not in route.methods:
                return self._wrong_method(request, route, params)
            if self.ending and route.name not in _OWN:
                detail = "the receiver is stopping; send the same again"
                raise Refused(503, detail, retry_after_s=STOPPING_RETRY_AFTER_S)
            return await route.handle(request, params)
        except Refused as refused:
            is_our_fault = refused.status == HTTPStatus.SERVICE_UNAVAILABLE
            return self._refuse(request, route, params, refused)
        except Disconnected:
            cut_off = Refused(400, "body: expected all of it, found an end before that", reason="cut_off")
            return self._refuse(request, route, params, cut_off)
        finally:
            request.end(is_our_fault=is_our_fault)

    def _refuse(self, request: Request, route: Route, params: Params, refused: Refused) -> Answer:
        request.channel_text = request.channel_text or params.get("channel", "")
        self._steps.admission.count_refusal(request, refused)
        return route.dialect.refuse(request, refused)

    def _wrong_method(self, request: Request, route: Route, params: Params) -> Answer:
        allowed = ", ".join((*route.methods, "OPTIONS"))
        refused = Refused(405, f"method: expected {allowed}, found {request.method[:20]!a}")
        answer = self._refuse(request, route, params, refused)
        answer.headers.append(("allow", allowed))
        return answer

    async def _about(self, _request: Request, _params: Params) -> Answer:
        return json_answer(200, _ABOUT)

    async def _health(self, _request: Request, _params: Params) -> Answer:
        return json_answer(200, {"status": "up"})

    async def _ready(self, _request: Request, _params: Params) -> Answer:
        parts = self._steps.health() | {"serving": not self.stopping}
        ready = all(parts.values())
        return json_answer(200 if ready else 503, {"status": "ready" if ready else "not ready", **parts})

    async def _metrics(self, _request: Request, _params: Params) -> Answer:
        return Answer(200, generate_latest(), CONTENT_TYPE_LATEST)


def _common_headers(request: Request) -> Encoded:
    return _encoded_common(cors.origin_of(request), request.environment, request.resolved_via)


@lru_cache(maxsize=1024)
def _encoded_common(origin: str, environment: str, resolved_via: str) -> Encoded:
    """Cached: nearly every answer has the same headers."""
    headers = cors.response_headers(origin)
    if environment:
        headers.append(("x-axonpush-resolved-environment", environment))
        headers.append(("x-axonpush-resolved-via", resolved_via))
    return tuple(map(_encode_header, headers))


async def _send(send: Send, answer: Answer, common: Encoded) -> None:
    headers = [*map(_encode_header, answer.headers), *common, (b"content-length", b"%d" % len(answer.body))]
    if answer.content_type:
        headers.append((b"content-type", answer.content_type.encode("latin-1")))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _encode_header(header: tuple[str, str]) -> tuple[bytes, bytes]:
    name, value = header
    return name.encode("latin-1"), value.encode("latin-1")


async def _lifespan(receive: Receive, send: Send) -> None:
    """Nothing to do: server.py opens and closes what the application needs."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
