"""The variables of an SDK's fingerprint, such as `{{ transaction }}`. `{{ default }}` is left to grouping."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from workers.normalise.scalars import as_text
from workers.normalise.sentry.payload.exceptions import Raised
from workers.normalise.sentry.payload.message import EventMessage
from workers.normalise.sentry.payload.stacktrace import crash_frame
from workers.normalise.sentry.payload.tags import read_tags

MAX_VALUE_LENGTH: Final = 1_000

_VARIABLE: Final = re.compile(r"\{\{[ \t]*([^\s{}]{1,220})[ \t]*\}\}")
_DEFAULT: Final = "default"
_TAG: Final = "tags."
# Variable -> (fields of the crash frame, the first one that is there; the word for none of them).
_OF_FRAME: Final = {
    "function": (("function",), "<no-function>"),
    "stack.function": (("function",), "<no-function>"),
    "module": (("module",), "<no-module>"),
    "stack.module": (("module",), "<no-module>"),
    "path": (("abs_path", "filename"), "<no-abs-path>"),
    "stack.abs_path": (("abs_path", "filename"), "<no-abs-path>"),
    "stack.filename": (("filename", "abs_path"), "<no-filename>"),
    "package": (("package",), "<no-package>"),
    "stack.package": (("package",), "<no-package>"),
}


@dataclass(frozen=True, slots=True)
class Variables:
    """What the variables of one event stand for (Sentry, SDK fingerprinting). `raised` is the exception it is about."""

    payload: dict[str, Any]
    level: str
    message: EventMessage
    raised: Raised | None
    frames: list[Any]

    def fill(self, fingerprint: list[str]) -> list[str]:
        """The fingerprint with every variable but `{{ default }}` replaced. One nobody knows is named as such."""
        if not any("{{" in part for part in fingerprint):
            return fingerprint
        return [_VARIABLE.sub(self._replacement, part)[:MAX_VALUE_LENGTH] for part in fingerprint]

    def _replacement(self, match: re.Match[str]) -> str:
        name = match[1]
        return match[0] if name == _DEFAULT else self._value(name)[:MAX_VALUE_LENGTH]

    def _value(self, name: str) -> str:
        if name in _OF_FRAME:
            return self._of_frame(name)
        if name.startswith(_TAG):
            tag = name.removeprefix(_TAG)
            return read_tags(self.payload.get("tags"), []).get(tag) or f"<no-value-for-tag-{tag}>"
        raised = self.raised
        match name:
            case "transaction" | "logger":
                return as_text(self.payload.get(name)) or f"<no-{name}>"
            case "level":
                return self.level
            case "message":
                return self.message.text or (raised.value if raised else "") or "<no-message>"
            case "type" | "error.type":
                return (raised.type if raised else "") or "<no-type>"
            case "value" | "error.value":
                return (raised.value if raised else "") or "<no-value>"
        return f"<unrecognized-variable-{name}>"

    def _of_frame(self, name: str) -> str:
        fields, missing = _OF_FRAME[name]
        frame = crash_frame(self.frames) or {}
        text = next((value for value in map(as_text, map(frame.get, fields)) if value), "")
        if name.endswith("package"):
            text = text.rpartition("/")[2].rpartition("\\")[2]
        return text or missing
