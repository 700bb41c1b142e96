"""Who am I: what tools ask first. A token belongs to an organisation and to nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from console.api.answers import json_answer
from console.api.routes import ApiRoute

if TYPE_CHECKING:
    from starlette.responses import Response

    from console.api.request import ApiRequest


async def root(request: ApiRequest) -> Response:
    """Version, scopes and user, for `sentry-cli info` and `login`."""
    return json_answer({"version": "0", "auth": {"scopes": sorted(request.caller.scopes)}, "user": _user(request)})


async def auth(request: ApiRequest) -> Response:
    """The user alone, for MCP servers and `sentry auth`."""
    return json_answer({**_user(request), "isAuthenticated": True, "scopes": sorted(request.caller.scopes)})


async def regions(request: ApiRequest) -> Response:
    """One region: this server."""
    return json_answer({"regions": [{"name": "local", "url": request.services.url}]})


def _user(request: ApiRequest) -> dict[str, Any]:
    token = request.caller.token
    name = token.name or f"token {token.id}"
    return {"id": token.id, "name": name, "username": name, "email": f"{token.id}@{token.organisation}.invalid"}


ROUTES = (
    ApiRoute("GET", "/", "", root),
    ApiRoute("GET", "/auth/", "", auth),
    ApiRoute("GET", "/users/me/regions/", "", regions),
)
