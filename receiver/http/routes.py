"""Finds the endpoint of a path. The files in endpoints/ and app.py list the paths."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from receiver.http.answers import Answer, Refused
from receiver.http.request import Request
from receiver.short_cache import ShortCache

Params = dict[str, str]
MAX_SEGMENTS: Final = 64


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a family of endpoints writes errors, and its preflight status."""

    name: str
    refuse: Callable[[Request, Refused], Answer]
    preflight_status: int


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint. `pattern` is a path; `{name}` stands for any one segment.

    `prefixed` allows any path before it, because a DSN may have a path prefix. `name` labels the metrics.
    """

    name: str
    pattern: str
    methods: tuple[str, ...]
    handle: Callable[[Request, Params], Awaitable[Answer]]
    dialect: Dialect
    prefixed: bool = False

    @property
    def segments(self) -> tuple[str, ...]:
        return tuple(segment for segment in self.pattern.split("/") if segment)


class Routes:
    """The route table. Runs of slashes are one slash, a slash at the end is none."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._exact: dict[tuple[str, ...], Route] = {}
        self._by_end: dict[str, list[tuple[tuple[str, ...], Route]]] = defaultdict(list)
        self._known: ShortCache[tuple[Route, Params]] = ShortCache()
        for route in routes:
            if route.prefixed or "{" in route.pattern:
                end = route.segments[-1]
                self._by_end["" if end.startswith("{") else end].append((route.segments, route))
            else:
                self._exact[route.segments] = route

    def find(self, path: str) -> tuple[Route, Params] | None:
        """The route of `path` and the values of its placeholders, which must not be changed."""
        match = self._known.get(path)
        if match is None:
            match = self._find(path)
            if match is not None:
                self._known.put(path, match)
        return match

    def _find(self, path: str) -> tuple[Route, Params] | None:
        segments = tuple(segment for segment in path.split("/") if segment)
        if len(segments) > MAX_SEGMENTS:
            return None
        exact = self._exact.get(segments)
        if exact is not None:
            return exact, {}
        if not segments:
            return None
        for pattern, route in (*self._by_end.get(segments[-1], ()), *self._by_end.get("", ())):
            params = _match(pattern, segments, prefixed=route.prefixed)
            if params is not None:
                return route, params
        return None


def _match(pattern: tuple[str, ...], segments: tuple[str, ...], *, prefixed: bool) -> Params | None:
    spare = len(segments) - len(pattern)
    if spare < 0 or (spare and not prefixed):
        return None
    params: Params = {}
    for expected, segment in zip(pattern, segments[spare:], strict=True):
        if expected.startswith("{"):
            params[expected[1:-1]] = segment
        elif expected != segment:
            return None
    return params
