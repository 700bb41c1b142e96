"""Answers of the Web API: JSON, pages with the Link header that tools of Sentry read, and times."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import orjson
from starlette.responses import Response

from console.api.errors import ApiError
from console.storage.times import is_never

if TYPE_CHECKING:
    from console.api.request import ApiRequest

DEFAULT_PAGE: Final = 25
MAX_PAGE: Final = 100
# Further pages are asked with a narrower query; each of them reads everything before it.
MAX_OFFSET: Final = 100_000
_CURSOR: Final = re.compile(r"\d{1,18}:(?P<offset>\d{1,9}):[01]")


def json_answer(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON document."""
    return Response(orjson.dumps(document), status, headers, "application/json")


def error_answer(error: ApiError) -> Response:
    """`{"detail": …}`."""
    return json_answer({"detail": error.detail}, error.status, error.headers)


class Page:
    """The page that a request asks for: `limit` (or `per_page`) entries from `offset` on."""

    def __init__(self, request: ApiRequest, most: int = MAX_PAGE, default: int = DEFAULT_PAGE) -> None:
        self._request = request
        name = "per_page" if request.text("per_page") else "limit"
        self.limit = request.number(name, default, most)
        self.offset = _offset(request.text("cursor"))

    @property
    def parameters(self) -> dict[str, int]:
        """For `LIMIT {limit:UInt32} OFFSET {offset:UInt32}`: one entry more tells whether there is another page."""
        return {"limit": self.limit + 1, "offset": self.offset}

    def of(self, entries: list[Any]) -> list[Any]:
        """This page of a list that is in memory, and the entry after it."""
        return entries[self.offset : self.offset + self.limit + 1]

    def answer(self, document: Any, *, has_more: bool) -> Response:
        """The page as JSON (a list, or an object that has one), with links to the pages before and after it."""
        before, after = max(0, self.offset - self.limit), self.offset + self.limit
        has_next = has_more and after <= MAX_OFFSET
        links = [
            self._link("previous", before, is_back=True, has_results=self.offset > 0),
            self._link("next", after, is_back=False, has_results=has_next),
        ]
        return json_answer(document, headers={"Link": ", ".join(links)})

    def _link(self, name: str, offset: int, *, is_back: bool, has_results: bool) -> str:
        url = self._request.http.url
        cursor = f"0:{offset}:{int(is_back)}"
        address = f"{self._request.services.url}{url.path}?{url.include_query_params(cursor=cursor).query}"
        return f'<{address}>; rel="{name}"; results="{str(has_results).lower()}"; cursor="{cursor}"'


def _offset(cursor: str) -> int:
    if not cursor:
        return 0
    match = _CURSOR.fullmatch(cursor)
    if match is None or int(match["offset"]) > MAX_OFFSET:
        raise ApiError(400, f"cursor: expected one of the Link header, found {cursor[:40]!r}")
    return int(match["offset"])


def iso_time(text: str) -> str | None:
    """A time of ClickHouse as tools read it, `2026-01-31T10:00:00.123Z`; None for 1970, which means none."""
    if not text or is_never(text):
        return None
    date, _, clock = text.partition(" ")
    whole, _, fraction = clock.partition(".")
    return f"{date}T{whole}.{fraction[:6].ljust(6, '0')}Z"
