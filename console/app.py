"""The ASGI application: authenticates, checks the scope, passes a request to its route, and counts the answer."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Final

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from console import metrics
from console.access.sessions import Sessions
from console.api import (
    account,
    delivery,
    events,
    explore,
    issues,
    live_logs,
    monitors,
    organisations,
    releases,
    rules,
    sample_event,
    traces,
)
from console.api.answers import error_answer, json_answer
from console.api.errors import ApiError
from console.api.request import ApiRequest
from console.api.routes import ApiRoute
from console.artifacts import routes as artifacts
from console.changes import dead_letters, keys, projects
from console.page.files import page_files
from console.page.routes import PageRoutes
from console.rules import preview_routes as previews
from console.rules import routes as alerts

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from console.services import Services

PREFIX: Final = "/api/0"
ROUTES: Final[tuple[ApiRoute, ...]] = (
    *account.ROUTES,
    *organisations.ROUTES,
    *issues.ROUTES,
    *events.ROUTES,
    *explore.ROUTES,
    *traces.ROUTES,
    *live_logs.ROUTES,
    *rules.ROUTES,
    *previews.ROUTES,
    *alerts.ROUTES,
    *releases.ROUTES,
    *artifacts.ROUTES,
    *monitors.ROUTES,
    *delivery.ROUTES,
    *sample_event.ROUTES,
    *dead_letters.ROUTES,
    *keys.ROUTES,
    *projects.ROUTES,
)
# Do not cache or frame responses, and do not guess their type.
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
_ABOUT: Final = {
    "what": "axonpush-ingest: the Web API for tools of Sentry, and a page for browsers at this address",
    "api": "/api/0/ with the header `Authorization: Bearer TOKEN`; `axonpush tokens mint` makes one",
    "documentation": "docs/console.md in the repository",
}

log = structlog.get_logger()

# A span around a request: method and path with its parameters unfilled.
Traced = Callable[[str, str], AbstractContextManager[object]]
Endpoint = Callable[["Request"], Awaitable[Response]]


def _untraced(_method: str, _path: str) -> AbstractContextManager[object]:
    return nullcontext()


def make_app(services: Services, traced: Traced = _untraced) -> ASGIApp:
    """The application of one process."""
    sessions = Sessions(services)
    page = PageRoutes(services, sessions, page_files())
    own = [
        Route("/health", _health, methods=["GET"]),
        Route("/ready", _ready_of(services), methods=["GET"]),
        Route("/", _about_of(page), methods=["GET"]),
        *page.routes(),
    ]
    if not services.settings.console_metrics_port:
        own.append(Route("/metrics", _metrics, methods=["GET"]))
    api = [
        Route(PREFIX + path, _Methods(services, routes, sessions, traced)) for path, routes in _by_path(ROUTES).items()
    ]
    handlers = {404: _not_found, 405: _wrong_method, Exception: _unexpected}
    return WithSlash(Starlette(routes=[*own, *api], exception_handlers=handlers))


def _by_path(routes: Iterable[ApiRoute]) -> dict[str, list[ApiRoute]]:
    grouped: dict[str, list[ApiRoute]] = {}
    for route in routes:
        grouped.setdefault(route.path, []).append(route)
    return grouped


class WithSlash:
    """Adds a missing trailing slash; a redirect would lose the request body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/api/") and not scope["path"].endswith("/"):
            scope = {**scope, "path": f"{scope['path']}/"}
        await self._app(scope, receive, send)


class _Methods:
    """The endpoint of one path, with a route for each method. An ASGI application, so that it sees every method."""

    def __init__(self, services: Services, routes: Iterable[ApiRoute], sessions: Sessions, traced: Traced) -> None:
        self._services = services
        self._sessions = sessions
        self._routes = {route.method: route for route in routes}
        self._traced = traced

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.requests import Request  # noqa: PLC0415

        request = Request(scope, receive)
        method = "GET" if request.method == "HEAD" else request.method
        route = self._routes.get(method)
        name = next(iter(self._routes.values())).name
        began_s = time.monotonic()
        if route is None:
            answer = _refused_method(request.method, self._routes)
        else:
            with self._traced(method, PREFIX + route.path):
                answer = await self._answer(request, route)
        answer.headers.update(_HEADERS)
        metrics.REQUESTS.labels(name, answer.status_code).inc()
        metrics.REQUEST_SECONDS.labels(name).observe(time.monotonic() - began_s)
        await answer(scope, receive, send)

    async def _answer(self, http: Request, route: ApiRoute) -> Response:
        services, headers = self._services, dict[str, str]()
        try:
            caller = await self._sessions.caller(http)
            allowance = services.limits.take(caller.token.id, services.settings.console_requests_per_minute)
            if allowance:
                headers = allowance.headers
                if allowance.remaining < 0:
                    wait_s = max(1, allowance.reset_s - int(services.now().timestamp()))
                    text = f"requests: expected at most {allowance.limit} a minute of one token, found more"
                    raise ApiError(429, f"{text}; wait {wait_s} s", {"Retry-After": str(wait_s)})
            if route.scope:
                caller.need(route.scope)
            request = ApiRequest(http, services, caller)
            request.check_path()
            answer = await route.handler(request)
            await self._sessions.prolong(http, answer)
        except ApiError as error:
            answer = error_answer(error)
        except Exception:
            metrics.UNEXPECTED_ERRORS.inc()
            log.exception("unexpected_error", route=route.path, method=route.method)
            answer = json_answer({"detail": "internal error; it is in the log of the console"}, 500)
        answer.headers.update(headers)
        return answer


def _refused_method(method: str, routes: Iterable[str]) -> Response:
    allowed = ", ".join(sorted(routes))
    return error_answer(ApiError(405, f"method: expected {allowed}, found {method[:20]!r}", {"Allow": allowed}))


async def _health(_request: Request) -> Response:
    return json_answer({"status": "up"})


def _about_of(page: PageRoutes) -> Endpoint:
    async def about(request: Request) -> Response:
        """People get the page, programs a hint."""
        is_browser = "text/html" in request.headers.get("accept", "")
        answer = await page.html(request) if is_browser else json_answer(_ABOUT)
        answer.headers["Vary"] = "Accept, Accept-Encoding"
        return answer

    return about


def _ready_of(services: Services) -> Endpoint:
    async def ready(_request: Request) -> Response:
        parts = services.health()
        is_ready = all(parts.values())
        return json_answer({"status": "ready" if is_ready else "not ready", **parts}, 200 if is_ready else 503)

    return ready


async def _metrics(_request: Request) -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def _not_found(request: Request, _error: Exception) -> Response:
    metrics.REQUESTS.labels("none", 404).inc()
    return json_answer({"detail": f"path: expected a route of docs/console.md, found {request.url.path[:200]!r}"}, 404)


async def _wrong_method(request: Request, error: Exception) -> Response:
    allowed = (error.headers or {}).get("Allow", "GET") if isinstance(error, HTTPException) else "GET"
    return _refused_method(request.method, allowed.split(", "))


async def _unexpected(_request: Request, _error: Exception) -> Response:
    metrics.UNEXPECTED_ERRORS.inc()
    return json_answer({"detail": "internal error; it is in the log of the console"}, 500)
