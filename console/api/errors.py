"""The one exception of the Web API: what a client did wrong, as `{"detail": …}`."""

from __future__ import annotations

from collections.abc import Mapping


class ApiError(Exception):
    """An answer that is no success. `detail` says what was expected, what was found and what to do."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
