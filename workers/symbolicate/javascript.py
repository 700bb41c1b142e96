"""Frames of minified JavaScript: which can be looked up, and what a looked-up one becomes. Pure functions."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urljoin

from workers.normalise.scalars import whole

_PLATFORMS: Final = frozenset({"javascript", "node", "react-native"})
_UNKNOWN_FUNCTIONS: Final = frozenset({"", "?", "<unknown>", "<anonymous>", "anonymous"})
# webpack:///./src/shop.js, webpack://name/./src/shop.js, webpack-internal:///...
_BUNDLER_PREFIXES: Final = ("webpack://", "webpack-internal://", "turbopack://", "rspack://")
_NOT_OURS: Final = ("/node_modules/", "/webpack/bootstrap", "(webpack)")


@dataclass(frozen=True, slots=True)
class MinifiedPosition:
    """Where in which file: `line` and `column` count from 1."""

    abs_path: str
    line: int
    column: int


def position_of(frame: Any, platform: str) -> MinifiedPosition | None:
    """The position of a frame that a source map could resolve; None for others."""
    if frame.__class__ is not dict or (frame.get("platform") or platform) not in _PLATFORMS:
        return None
    path = frame.get("abs_path") or frame.get("filename")
    line, column = whole(frame.get("lineno")), whole(frame.get("colno"))
    if path.__class__ is not str or not line or line < 0 or line > 2**31:
        return None
    # Without a column, the first of the line: a file that is not minified still resolves.
    column = 1 if column is None or column < 1 else min(column, 2**31)
    return MinifiedPosition(path, line, column)


def resolved(frame: dict[str, Any], looked_up: tuple[Any, ...], map_url: str, called_as: str) -> dict[str, Any]:
    """The frame of the source. `called_as` is what the caller calls this function, '' if it is not known."""
    source, line, column, _, function, text, before, after = looked_up
    source_frame = {name: value for name, value in frame.items() if name not in {"module", "vars"}}
    source_frame["filename"], source_frame["abs_path"] = _file_names(source, str(frame.get("abs_path") or map_url))
    source_frame["lineno"], source_frame["colno"] = line, column
    source_frame["function"] = _function(function, called_as, frame.get("function"))
    if text is not None:
        source_frame["context_line"], source_frame["pre_context"], source_frame["post_context"] = text, before, after
    if is_foreign(source_frame["abs_path"]):
        source_frame["in_app"] = False
    data = frame.get("data")
    source_frame["data"] = {**(data if data.__class__ is dict else {}), "sourcemap": map_url, "symbolicated": True}
    return source_frame


def is_served(path: str) -> bool:
    """Whether a path is that of a file that a build makes. Others are the runtime's: `node:fs`."""
    return path.partition("?")[0].endswith((".js", ".mjs", ".cjs", ".jsbundle", ".bundle", ".hbc"))


def is_foreign(path: str) -> bool:
    """Whether a source belongs to a dependency or to the bundler."""
    return any(part in path for part in _NOT_OURS)


def _file_names(source: str, base: str) -> tuple[str, str]:
    """(the source's name as people read it, its whole address)."""
    for prefix in _BUNDLER_PREFIXES:
        if source.startswith(prefix):
            # A name of the bundle may stand before the path.
            path = source.removeprefix(prefix).partition("/")[2].partition("?")[0]
            return path.lstrip("/") or source, source
    name = source.partition("?")[0]
    if "://" in name:
        return name.partition("://")[2].partition("/")[2] or name, name
    if name.startswith("/"):
        return name, name
    try:
        return name, urljoin(base, name) if "://" in base else posixpath.join(posixpath.dirname(base), name)
    except ValueError:
        return name, name


def _function(scope: str | None, called_as: str, minified: Any) -> str:
    """The name in the source: of the scope, else as the caller calls it, else the minified one."""
    if scope and scope not in _UNKNOWN_FUNCTIONS:
        return scope
    if called_as:
        return called_as
    if scope and scope != "<unknown>":
        return scope
    return minified if minified.__class__ is str and minified else "<unknown>"
