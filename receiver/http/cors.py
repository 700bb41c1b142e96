"""Cross-origin headers, after the Fetch standard. auth.py checks which origins a key allows."""

from __future__ import annotations

import re
from typing import Final

from receiver.http.answers import Answer, Headers
from receiver.http.request import Request

MAX_AGE_S: Final = 7200
_EXPOSED: Final = ", ".join(
    (
        "x-sentry-error",
        "x-sentry-rate-limits",
        "retry-after",
        "x-axonpush-resolved-environment",
        "x-axonpush-resolved-via",
    )
)
_ALWAYS_ALLOWED: Final = ", ".join(
    (
        "content-type",
        "content-encoding",
        "authorization",
        "x-sentry-auth",
        "x-api-key",
        "x-axonpush-channel",
        "x-axonpush-environment",
        "idempotency-key",
        "sentry-trace",
        "baggage",
        "traceparent",
        "tracestate",
        "x-requested-with",
        "x-csrftoken",
    )
)
_ALWAYS: Final = (
    ("access-control-expose-headers", _EXPOSED),
    ("cross-origin-resource-policy", "cross-origin"),
    ("vary", "Origin"),
)
# Request values that are copied into our headers: only characters that a browser can send are accepted.
_HEADER_LIST: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~, -]{1,2048}")
_ORIGIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[A-Za-z0-9._~:\[\]%-]{1,255}|null")


def origin_of(request: Request) -> str:
    """The `Origin` that is echoed, '' if there is none or it is not what a browser would send."""
    origin = request.headers.get("origin", "")
    return origin if origin and _ORIGIN.fullmatch(origin) else ""


def response_headers(origin: str) -> Headers:
    """The headers every answer carries, errors too: without them a page cannot read why it was refused.

    `origin`, from origin_of, is echoed and credentials are allowed, since `navigator.sendBeacon` always sends them and
    browsers then refuse `*`.
    """
    if origin:
        return [*_ALWAYS, ("access-control-allow-origin", origin), ("access-control-allow-credentials", "true")]
    return [*_ALWAYS, ("access-control-allow-origin", "*")]


def preflight(request: Request, methods: tuple[str, ...], status: int) -> Answer:
    """The answer to OPTIONS, given before any authentication: a browser sends no key with it."""
    asked = request.headers.get("access-control-request-headers", "")
    allowed = f"{_ALWAYS_ALLOWED}, {asked}" if _HEADER_LIST.fullmatch(asked) else _ALWAYS_ALLOWED
    headers = [
        ("access-control-allow-methods", ", ".join((*methods, "OPTIONS"))),
        ("access-control-allow-headers", allowed),
        ("access-control-max-age", str(MAX_AGE_S)),
        ("allow", ", ".join((*methods, "OPTIONS"))),
    ]
    return Answer(status, b"", "", headers)
