"""Answer, which the receiver sends, and Refused, which any step may raise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from schemas.key_masking import mask_keys_in

JSON: Final = "application/json"
MAX_DETAIL_LENGTH: Final = 1000
# The reason of an answer that does not say whether the body is stored.
NOT_CONFIRMED: Final = "not_confirmed"

Headers = list[tuple[str, str]]


@dataclass(slots=True)
class Answer:
    """One HTTP answer. Header names are lower case; content-length is added when it is sent."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: Headers = field(default_factory=list)


class Refused(Exception):
    """The request ends here with a 4xx or 503. Each dialect words it in its own way (Sentry JSON, google.rpc.Status).

    `detail` says what was expected, what was found and what to do; a key that was found in a wrong place is masked.
    `retry_after_s` is for answers that a client should repeat. `reason` is one of few words for `outcomes`; without it,
    that of the status. `is_counted`: `outcomes` has it anyway, by a quota or by the worker of the stored body.
    `may_be_stored`: nobody knows whether the broker has the body.
    """

    def __init__(  # noqa: PLR0913 (each has a name)
        self,
        status: int,
        detail: str,
        *,
        causes: tuple[str, ...] = (),
        retry_after_s: int | None = None,
        reason: str = "",
        is_counted: bool = False,
        may_be_stored: bool = False,
    ) -> None:
        detail = mask_keys_in(detail)
        super().__init__(detail)
        self.status = status
        self.detail = detail[:MAX_DETAIL_LENGTH]
        self.causes = tuple(map(mask_keys_in, causes))
        self.retry_after_s = retry_after_s
        self.reason = reason
        self.is_counted = is_counted
        self.may_be_stored = may_be_stored

    @property
    def headers(self) -> Headers:
        """`Retry-After` in whole seconds, a form that every client reads; nothing if the client should not repeat."""
        return [] if self.retry_after_s is None else [("retry-after", str(self.retry_after_s))]


def json_answer(status: int, body: dict[str, Any], headers: Headers | None = None) -> Answer:
    """A JSON answer. The media type has no parameters, because some exporters compare it for equality."""
    return Answer(status, orjson.dumps(body), JSON, headers or [])


def header_text(text: str, limit: int = 200) -> str:
    """`text` as a header value: printable ASCII, one line, at most `limit` characters."""
    return "".join(char if " " <= char <= "~" else "?" for char in text[:limit]).strip()
