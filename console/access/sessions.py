"""Sessions of people in a browser: begun with a token or a one-time link, checked at every request, ended.

A request with a cookie is one of our own page: the browser says where it comes from, and changes carry a page token.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from console import metrics
from console.access import cookie
from console.access.bearer import Caller, NewTokens
from console.access.cookie import Session
from console.access.state import StateUnavailable
from console.api.errors import ApiError
from schemas.web_tokens import expand_scopes

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from console.services import Services
    from schemas.registry import Token

# With a request that the page makes by a clock: nobody has asked for it, so it does not prolong the session.
POLL_HEADER: Final = "x-axonpush-poll"
PAGE_TOKEN_HEADER: Final = "x-axonpush-page"
_READING: Final = frozenset({"GET", "HEAD"})
# A cookie is written anew when this much of its idle time is over, not with every answer.
_PROLONG_AFTER: Final = 0.1


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session, who it is, and what its page sends with changes."""

    session: Session
    caller: Caller
    page_token: str


class Sessions:
    """Begins, checks and ends sessions of this console."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._state = services.session_state
        self._tokens = NewTokens(services.registry)
        self._cookie = cookie.cookie_name(services.url)

    async def caller(self, http: Request) -> Caller:
        """Who makes this request: by its token, else by its session. Raises ApiError 401 or 403."""
        authorization = http.headers.get("authorization", "")
        if authorization or self._cookie not in http.cookies:
            return await self._tokens.authenticate(authorization)
        signed_in = await self.current(http)
        self.check_origin(http)
        if http.method not in _READING:
            given = http.headers.get(PAGE_TOKEN_HEADER, "")
            if not hmac.compare_digest(given.encode(), signed_in.page_token.encode()):
                raise _forged(f"the header {PAGE_TOKEN_HEADER} of this session", "another or none")
        return signed_in.caller

    async def current(self, http: Request) -> SignedIn:
        """The session of the request's cookie. Raises ApiError 401, 503 without the broker."""
        key = await self._key()
        session = cookie.read(http.cookies.get(self._cookie, ""), key)
        token = self._token_of(session) if session else None
        if session is None or token is None or not await self._goes_on(session):
            raise _ended()
        return SignedIn(session, Caller(token, expand_scopes(token.scopes)), cookie.page_token(session, key))

    async def is_valid(self, http: Request, caller: Caller) -> bool:
        """Whether a long answer to this request may go on: neither its token nor its session has ended since."""
        token = self._services.registry_entries.token(caller.token.sha256)
        if token is None or token.revoked:
            return False
        if http.headers.get("authorization") or self._cookie not in http.cookies:
            return True
        session = cookie.read(http.cookies[self._cookie], await self._state.key())
        return session is not None and await self._goes_on(session)

    async def _goes_on(self, session: Session) -> bool:
        is_over = session.until_s <= self._now_s()
        return not is_over and not await self._state.is_ended(session.token_id, session.session_id, session.began_s)

    async def begin(self, http: Request, *, token: str = "", code: str = "") -> SignedIn:
        """A new session of a token, or of a one-time link. Raises ApiError 401, 403 or 503."""
        self.check_origin(http)
        caller = await (self._caller_of_code(code) if code else self._tokens.authenticate(f"Bearer {token}"))
        now_s, key = self._now_s(), await self._key()
        session_id = cookie.session_id_of(secrets.token_bytes(cookie.SESSION_ID_BYTES))
        session = Session(caller.token.id, session_id, now_s, now_s + self._idle_s)
        return SignedIn(session, caller, cookie.page_token(session, key))

    async def end(self, http: Request) -> None:
        """Ends the session of the request, in every console. Raises ApiError 401, 403 or 503."""
        await self.caller(http)
        session = (await self.current(http)).session
        try:
            # Not until_s of this cookie: a copy of it may have been prolonged further.
            longest_s = session.began_s + cookie.LONGEST_S
            await self._state.end(session.token_id, session.session_id, longest_s, self._now_s())
        except StateUnavailable:
            raise _unavailable() from None

    async def prolong(self, http: Request, response: Response) -> None:
        """Writes the cookie anew when a part of its idle time is over; not for what a page asks by itself."""
        is_stream = "text/event-stream" in http.headers.get("accept", "")  # a browser opens it again by itself
        if is_stream or http.headers.get(POLL_HEADER):
            return
        if http.headers.get("authorization") or self._cookie not in http.cookies:
            return
        key = await self._key()
        session = cookie.read(http.cookies[self._cookie], key)
        now_s = self._now_s()
        if session is None or session.until_s - now_s > self._idle_s * (1 - _PROLONG_AFTER):
            return
        longer = session.prolonged(now_s, self._idle_s)
        if longer.until_s > session.until_s:
            await self.write_cookie(response, longer)

    async def write_cookie(self, response: Response, session: Session) -> None:
        """Sets the cookie of a session: no script reads it, and no other site makes a browser send it."""
        response.set_cookie(
            self._cookie,
            cookie.written(session, await self._key()),
            max_age=max(0, session.until_s - self._now_s()),
            path="/",
            httponly=True,
            samesite="strict",
            secure=self._services.url.startswith("https://"),
        )

    def delete_cookie(self, response: Response) -> None:
        """Removes it from the browser."""
        is_secure = self._services.url.startswith("https://")
        response.delete_cookie(self._cookie, path="/", httponly=True, samesite="strict", secure=is_secure)

    def check_origin(self, http: Request) -> None:
        """Raises ApiError 403 for requests that a page of another site makes."""
        site = http.headers.get("sec-fetch-site", "")
        reads = http.method in _READING
        if site:
            if site != "same-origin" and not (reads and site == "none"):
                raise _forged("a request of the console's own page", f"one with Sec-Fetch-Site {site[:20]!r}")
            return
        # Browsers leave Sec-Fetch-Site out without TLS, and old ones do; every browser says Origin with a change.
        origin = urlsplit(http.headers.get("origin", "")).netloc.lower()
        if (origin or not reads) and origin not in self._own_hosts(http):
            raise _forged("the Origin of the console's own page", f"{origin[:80]!r}")

    def _own_hosts(self, http: Request) -> set[str]:
        return {http.headers.get("host", "").lower(), urlsplit(self._services.url).netloc.lower()} - {""}

    async def _caller_of_code(self, code: str) -> Caller:
        try:
            sha256 = await self._state.take_code(code)
        except StateUnavailable:
            raise _unavailable() from None
        token = self._services.registry_entries.token(sha256) if sha256 else None
        if token is None or token.revoked:
            metrics.REFUSED_TOKENS.labels("link").inc()
            text = "link: expected one that was not used yet; `axonpush up` prints a new one at each start"
            raise ApiError(401, text, {"WWW-Authenticate": "Bearer"})
        return Caller(token, expand_scopes(token.scopes))

    def _token_of(self, session: Session) -> Token | None:
        token = self._services.registry_entries.token_of_id(session.token_id)
        return token if token and not token.revoked else None

    async def _key(self) -> bytes:
        try:
            return await self._state.key()
        except StateUnavailable:
            raise _unavailable() from None

    @property
    def _idle_s(self) -> int:
        return self._services.settings.console_session_idle_s

    def _now_s(self) -> int:
        return int(self._services.now().timestamp())


def _ended() -> ApiError:
    metrics.REFUSED_TOKENS.labels("session").inc()
    return ApiError(401, "session: expected a valid one, found none: sign in", {"WWW-Authenticate": "Bearer"})


def _forged(expected: str, actual: str) -> ApiError:
    metrics.REFUSED_TOKENS.labels("origin").inc()
    return ApiError(403, f"origin: expected {expected}, found {actual}")


def _unavailable() -> ApiError:
    return ApiError(503, "broker: expected its answer about sessions, found none; try again", {"Retry-After": "2"})
