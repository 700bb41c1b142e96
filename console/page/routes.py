"""Routes outside the Web API: the HTML page with its files, and the session of the person in front of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from console import metrics
from console.access.sessions import Sessions, SignedIn
from console.api.answers import error_answer, json_answer
from console.api.errors import ApiError
from console.page.files import FOLDER, PageFile, PageFiles
from schemas.web_tokens import MAX_TOKEN_CHARACTERS

if TYPE_CHECKING:
    from console.services import Services

SESSION: Final = "/session"
MAX_BODY: Final = 2 * MAX_TOKEN_CHARACTERS
# Nothing but our own files: no inline script or style, no other host, no frame, and no text that becomes markup.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_UNCACHED: Final = {"Cache-Control": "no-store"}
_FOR_EVER: Final = "public, max-age=31536000, immutable"


class PageRoutes:
    """The endpoints."""

    def __init__(self, services: Services, sessions: Sessions, files: PageFiles) -> None:
        self._services = services
        self._sessions = sessions
        self._files = files

    def routes(self) -> list[Route]:
        """For the application, without `/`, which also tools ask."""
        return [
            Route("/sign-in", self.html, methods=["GET"]),
            Route("/sign-in/", self.html, methods=["GET"]),
            Route("/organizations/{rest:path}", self.html, methods=["GET"]),
            Route(f"{FOLDER}/{{digest}}/{{path:path}}", self.file, methods=["GET"]),
            Route(SESSION, self.session, methods=["GET", "POST", "DELETE"]),
        ]

    async def html(self, request: Request) -> Response:
        """The one page; its scripts read the address."""
        return _answer(request, self._files.html, "no-cache")

    async def file(self, request: Request) -> Response:
        """A file. Of another digest (consoles of two versions run side by side) it is not kept by the browser."""
        file = self._files.find(request.path_params["path"])
        if file is None:
            return json_answer({"detail": "file: expected one of the page, found another path"}, 404, HEADERS)
        is_current = request.path_params["digest"] == self._files.digest
        return _answer(request, file, _FOR_EVER if is_current else "no-store")

    async def session(self, request: Request) -> Response:
        """GET: who is signed in. POST: sign in with `token` or `code`. DELETE: sign out."""
        handlers = {"POST": self._begin, "DELETE": self._end}
        try:
            response = await handlers.get(request.method, self._current)(request)
        except ApiError as error:
            response = error_answer(error)
        response.headers.update(HEADERS | _UNCACHED)
        metrics.REQUESTS.labels(SESSION, response.status_code).inc()
        return response

    async def _current(self, request: Request) -> Response:
        self._sessions.check_origin(request)
        response = json_answer(self._session_json(await self._sessions.current(request)))
        await self._sessions.prolong(request, response)
        return response

    async def _begin(self, request: Request) -> Response:
        document = await _read_body(request)
        token, code = (str(document.get(name) or "").strip() for name in ("token", "code"))
        if bool(token) == bool(code):
            raise ApiError(400, "body: expected a token or a code, found both or none")
        if len(token) > MAX_TOKEN_CHARACTERS or any(character.isspace() for character in token):
            raise ApiError(400, "token: expected the text that `axonpush tokens mint` printed, found another one")
        signed_in = await self._sessions.begin(request, token=token, code=code)
        response = json_answer(self._session_json(signed_in), 201)
        await self._sessions.write_cookie(response, signed_in.session)
        return response

    async def _end(self, request: Request) -> Response:
        await self._sessions.end(request)
        response = Response(status_code=204)
        self._sessions.delete_cookie(response)
        return response

    def _session_json(self, signed_in: SignedIn) -> dict[str, Any]:
        caller = signed_in.caller
        organisation = self._services.registry_entries.organisation(caller.organisation)
        projects = self._services.registry_entries.projects(caller.organisation)
        return {
            "organisation": {"slug": organisation.slug, "name": organisation.name or organisation.slug},
            "projects": [
                {"id": str(project.id), "slug": project.project_slug, "name": project.name or project.project_slug}
                for project in projects
            ],
            "token": {"id": caller.token.id, "name": caller.token.name or f"token {caller.token.id}"},
            "scopes": sorted(caller.scopes),
            "pageToken": signed_in.page_token,
            "untilSeconds": signed_in.session.until_s,
        }


async def _read_body(request: Request) -> dict[str, Any]:
    """A small JSON object; forms of other sites cannot send this media type."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(415, "body: expected application/json, found another media type")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise ApiError(413, f"body: expected at most {MAX_BODY} bytes, found more")
    try:
        document = orjson.loads(bytes(body))
    except orjson.JSONDecodeError:
        raise ApiError(400, "body: expected JSON, found other bytes") from None
    if not isinstance(document, dict):
        raise ApiError(400, "body: expected a JSON object, found another value")
    return document


def _answer(request: Request, file: PageFile, caching: str) -> Response:
    headers = {**HEADERS, "Cache-Control": caching, "ETag": file.etag, "Vary": "Accept-Encoding"}
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    encoding, data = file.best(request.headers.get("accept-encoding", ""))
    if encoding:
        headers["Content-Encoding"] = encoding
    return Response(data, headers=headers, media_type=file.media_type)
