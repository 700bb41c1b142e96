"""ApiRoute: one route with its method, path, scope and handler. app.ROUTES joins all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.responses import Response

from console.api.request import ApiRequest

Handler = Callable[[ApiRequest], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class ApiRoute:
    """One route below /api/0. `scope` is what the token needs; an empty one: any valid token."""

    method: str
    path: str
    scope: str
    handler: Handler

    @property
    def name(self) -> str:
        """For metrics: the path with its parameters unfilled."""
        return self.path
