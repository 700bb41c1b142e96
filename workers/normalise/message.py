"""The message of a Sentry event: its forms, its template and its rendered text. Titles are made in grouping."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from workers.normalise.scalars import as_text

# In the order of preference: raven sends its interface, which has the parameters, beside a plain template.
MESSAGE_KEYS: Final = ("logentry", "sentry.interfaces.Message", "message")

# Width and precision of two digits: "%999999999d" must not make a gigabyte of blanks. No flag ' ': "50% done" is text.
_PERCENT: Final = re.compile(
    r"%(?:\((?P<name>[^)]{0,200})\))?(?P<spec>[-+#0]{0,5}\d{0,2}(?:\.\d{1,2})?)[hlLjzt]{0,2}"
    r"(?P<kind>[diouxXeEfFgGcrsa@%])"
)
_CURLY: Final = re.compile(r"\{\{|\}\}|\{(?P<name>[\w.]{0,200})(?:![rsa])?(?::[^{}]{0,50})?\}")


@dataclass(slots=True)
class Message:
    """`text` as a person reads it; `template` is '' where nothing was filled in; `params` as sent, else None."""

    text: str
    template: str
    params: Any


NO_MESSAGE: Final = Message("", "", None)


def read_message(payload: dict[str, Any]) -> Message:
    """The first of the message's places that holds text (Sentry event payload, Message Interface)."""
    for key in MESSAGE_KEYS:
        value = payload.get(key)
        if value is None or value is False:
            continue
        message = _from_object(value) if value.__class__ is dict else Message(as_text(value), "", None)
        if message.text:
            return message
    return NO_MESSAGE


def _from_object(value: dict[str, Any]) -> Message:
    template = as_text(value.get("message"))
    formatted = as_text(value.get("formatted"))
    params = value.get("params")
    if not formatted:
        formatted = interpolate(template, params) if params else template
    return Message(formatted, template if template != formatted else "", params)


def interpolate(template: str, params: Any) -> str:
    """The template with its printf-style or {}-style places filled in; places without a parameter stay."""
    if params.__class__ not in (list, dict):
        return template
    filled = _Filling(params)
    if _PERCENT.search(template):
        return _PERCENT.sub(filled.percent, template)
    return _CURLY.sub(filled.curly, template)


class _Filling:
    """Hands out parameters, by name from an object and in order from a list."""

    def __init__(self, params: Any) -> None:
        self._params = params
        self._next = 0

    def percent(self, match: re.Match[str]) -> str:
        if match["kind"] == "%":
            return "%"
        if not self._has(match["name"] or ""):
            return match[0]
        return _printf(match["spec"], match["kind"], self._take(match["name"] or ""))

    def curly(self, match: re.Match[str]) -> str:
        if match["name"] is None:
            return match[0][0]
        return as_text(self._take(match["name"])) if self._has(match["name"]) else match[0]

    def _has(self, name: str) -> bool:
        if self._params.__class__ is dict:
            return name in self._params
        return (_index(name) if name else self._next) < len(self._params)

    def _take(self, name: str) -> Any:
        if self._params.__class__ is dict:
            return self._params[name]
        if name:
            return self._params[_index(name)]
        self._next += 1
        return self._params[self._next - 1]


def _index(name: str) -> int:
    """The place of a numbered parameter; past every list if it is not a number."""
    return int(name) if name.isascii() and name.isdigit() and len(name) < 6 else 1_000_000_000


def _printf(spec: str, kind: str, value: Any) -> str:
    """A number as printf writes it, anything else as text: the wrong kind of parameter must not cost the message."""
    if kind in "diouxXeEfFgG" and value.__class__ in (int, float):
        try:
            return f"%{spec}{'d' if kind in 'iu' else kind}" % value
        except (TypeError, ValueError, OverflowError):
            return as_text(value)
    return as_text(value)
