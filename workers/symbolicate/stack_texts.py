"""JavaScript stack traces as text, as OpenTelemetry sends them: to frames, and back to text. Pure functions."""

from __future__ import annotations

import re
from typing import Any, Final

from workers.symbolicate.event_traces import MAX_FRAMES, EventTraces, StackTrace

# Of a longer text the lines behind stay as they are: each line costs a microsecond.
MAX_TEXT_LENGTH: Final = 64 * 1024
MAX_LINES: Final = 1_000

# `at name (file:1:2)` and `at file:1:2` of Chrome, Node and Hermes; `name@file:1:2` of Firefox and Safari.
_FRAME: Final = re.compile(
    r"""
      ^(?P<before>[ \t]*at[ ](?:async[ ]|new[ ])?)
       (?:(?P<name>[^\n(]{1,200}?)[ ]\()?
       (?:address[ ]at[ ])?(?P<file>[^\s()]{1,1000}?):(?P<line>\d{1,9}):(?P<column>\d{1,9})\)?$
    | ^(?P<firefox_name>[^\n@]{0,200})@(?P<firefox>[^\n@\ ]{1,1000}):
       (?P<firefox_line>\d{1,9}):(?P<firefox_column>\d{1,9})$
    """,
    re.VERBOSE,
)


class StackText:
    """One stack trace as text, and its lines that are frames."""

    def __init__(self, text: str) -> None:
        self._lines = text[:MAX_TEXT_LENGTH].split("\n", MAX_LINES)
        self._rest = text[MAX_TEXT_LENGTH:]
        self._matches: dict[int, re.Match[str]] = {}
        for number, line in enumerate(self._lines[:MAX_LINES]):
            if (match := _FRAME.match(line.rstrip("\r"))) is not None:
                self._matches[number] = match
                if len(self._matches) == MAX_FRAMES:
                    break

    def traces(self, release: str) -> EventTraces:
        """The frames in the form of an event of this release, oldest call first as Sentry's SDKs send them."""
        frames = [_frame(match) for _, match in sorted(self._matches.items(), reverse=True)]
        owner: dict[str, Any] = {"stacktrace": {"frames": frames}}
        return EventTraces([StackTrace(owner, frames)] if frames else [], release, "", "javascript")

    def with_frames(self, event: EventTraces) -> str:
        """The text with the frames of `event`, which `traces` made and the resolver changed."""
        lines = list(self._lines)
        frames = event.traces[0].owner["stacktrace"]["frames"]
        for number, frame in zip(sorted(self._matches, reverse=True), frames, strict=True):
            # What was sent of a frame has no data: the resolver has put it there.
            if "data" in frame:
                end = "\r" if lines[number].endswith("\r") else ""
                lines[number] = _line(self._matches[number], frame) + end
        return "\n".join(lines) + self._rest


def _frame(match: re.Match[str]) -> dict[str, Any]:
    if match["file"] is None:
        file, line, column, name = match.group("firefox", "firefox_line", "firefox_column", "firefox_name")
    else:
        file, line, column, name = match.group("file", "line", "column", "name")
    return {"abs_path": file, "filename": file, "lineno": int(line), "colno": int(column), "function": name or "?"}


def _line(match: re.Match[str], frame: dict[str, Any]) -> str:
    """The resolved frame in the form of the browser that wrote the line."""
    position = f"{frame['filename']}:{frame['lineno']}:{frame['colno']}"
    if match["file"] is None:
        return f"{frame['function']}@{position}"
    return f"{match['before']}{frame['function']} ({position})"
