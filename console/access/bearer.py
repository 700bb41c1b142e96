"""Authenticates a request by its bearer token and checks scopes. Texts of tokens are hashed at once and never kept."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from console import metrics
from console.access.registry import FollowedRegistry, KnownEntries
from console.api.errors import ApiError
from schemas.registry import Channel, Token, key_hash
from schemas.web_tokens import MAX_TOKEN_CHARACTERS, SCOPES, expand_scopes

_HOW: Final = "`axonpush tokens mint` makes one"
MAX_WAITING: Final = 100
MAX_WAIT_S: Final = 5.0


class UnknownToken(ApiError):
    """401 for a token that is not registered, or not yet known here."""

    def __init__(self) -> None:
        text = f"Invalid token: expected one that is registered here, found another; {_HOW}"
        super().__init__(401, text, {"WWW-Authenticate": "Bearer"})


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a token, and what it may do in its one organisation."""

    token: Token
    scopes: frozenset[str]

    @property
    def organisation(self) -> str:
        """The only organisation that this caller can see."""
        return self.token.organisation

    def need(self, scope: str) -> None:
        """Raises ApiError 403 without this scope."""
        if scope not in self.scopes:
            metrics.REFUSED_TOKENS.labels("scope").inc()
            listed = ", ".join(name for name in SCOPES if name in self.scopes) or "none"
            raise ApiError(403, f"token: expected the scope {scope}, found {listed}")


class NewTokens:
    """Waits for tokens that are not known yet: one may have been minted a moment ago.

    At most MAX_WAITING requests wait, so that guessed tokens hold no more; others are answered at once.
    """

    def __init__(self, registry: FollowedRegistry) -> None:
        self._registry = registry
        self._waiting = asyncio.Semaphore(MAX_WAITING)

    async def authenticate(self, authorization: str) -> Caller:
        """As the function of this name, once more after everything that was written before is known."""
        with suppress(UnknownToken):
            return authenticate(self._registry.entries, authorization)
        if not self._waiting.locked():
            await self._catch_up()
        try:
            return authenticate(self._registry.entries, authorization)
        except UnknownToken:
            metrics.REFUSED_TOKENS.labels("unknown").inc()
            raise

    async def _catch_up(self) -> None:
        async with self._waiting:
            with suppress(TimeoutError):
                async with asyncio.timeout(MAX_WAIT_S):
                    await self._registry.caught_up()


def authenticate(entries: KnownEntries, authorization: str) -> Caller:
    """The caller of a request with this `Authorization` header. Raises ApiError 401, UnknownToken among them."""
    scheme, _, text = authorization.partition(" ")
    text = text.strip()
    if not authorization:
        raise _refused("missing", f"expected the header `Authorization: Bearer TOKEN`, found none; {_HOW}")
    if scheme.lower() != "bearer" or not text or len(text) > MAX_TOKEN_CHARACTERS:
        raise _refused("form", f"expected the header `Authorization: Bearer TOKEN`, found another form; {_HOW}")
    token = entries.token(key_hash(text))
    if token is None:
        raise UnknownToken
    if token.revoked:
        raise _refused("revoked", f"Invalid token: expected one that is in use, found a revoked one; {_HOW}")
    return Caller(token, expand_scopes(token.scopes))


def organisation_of(caller: Caller, slug: str) -> str:
    """The organisation of a path. Raises ApiError 404 for all but the caller's: which exist is not told."""
    if slug.lower() != caller.organisation:
        raise ApiError(404, f"organisation: expected {caller.organisation}, the one of this token, found {slug[:64]!r}")
    return caller.organisation


def project_of(entries: KnownEntries, caller: Caller, slug: str) -> Channel:
    """The project of a path, by slug or number. Raises ApiError 404 that names those that exist."""
    channel = entries.project(caller.organisation, slug)
    if channel is None:
        known = [project.project_slug for project in entries.projects(caller.organisation)]
        more = f" and {len(known) - 10} more" if len(known) > 10 else ""
        listed = ", ".join(known[:10]) or "none"
        raise ApiError(404, f"project: expected one of {caller.organisation} ({listed}{more}), found {slug[:64]!r}")
    return channel


def _refused(reason: str, text: str) -> ApiError:
    metrics.REFUSED_TOKENS.labels(reason).inc()
    return ApiError(401, text, {"WWW-Authenticate": "Bearer"})
