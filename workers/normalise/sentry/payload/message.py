"""The message of a Sentry event: its forms, its template and its rendered text. Titles are made in grouping."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from workers.normalise.scalars import as_text

# In the order of preference: raven sends its interface, which has the parameters, beside a plain template.
MESSAGE_KEYS: Final = ("logentry", "sentry.interfaces.Message", "message")

# Bounds on filling in a template. Sentry cuts messages at 8,192 characters; a template of ours may be longer, but what
# stands behind its first MAX_TEMPLATE_LENGTH characters stays as it is. The parameters of all places together add at
# most MAX_FILLED_LENGTH: a thousand places that name one parameter of 3 MB would be 3 GB.
MAX_TEMPLATE_LENGTH: Final = 64 * 1024
MAX_PLACES: Final = 1_000
MAX_FILLED_LENGTH: Final = 1_048_576

# Width and precision of two digits: "%999999999d" must not make a gigabyte of blanks. No flag ' ': "50% done" is text.
# No "(" inside a name: else each of many "%(" would look 200 characters ahead.
_PERCENT: Final = re.compile(
    r"%(?:\((?P<name>[^()]{0,200}+)\))?(?P<spec>[-+#0]{0,5}\d{0,2}(?:\.\d{1,2})?)[hlLjzt]{0,2}"
    r"(?P<kind>[diouxXeEfFgGcrsa@%])"
)
_NUMBER_KINDS: Final = frozenset("diouxXeEfFgG")
_CURLY: Final = re.compile(r"\{\{|\}\}|\{(?P<name>[\w.]{0,200}+)(?:![rsa])?(?::[^{}]{0,50}+)?\}")


@dataclass(slots=True)
class EventMessage:
    """`text` as a person reads it; `template` is '' where nothing was filled in; `params` as sent, else None."""

    text: str
    template: str
    params: Any


NO_MESSAGE: Final = EventMessage("", "", None)


def read_message(payload: dict[str, Any]) -> EventMessage:
    """The first of the message's places that holds text (Sentry event payload, Message Interface)."""
    for key in MESSAGE_KEYS:
        value = payload.get(key)
        if value is None or value is False:
            continue
        message = _from_object(value) if value.__class__ is dict else EventMessage(as_text(value), "", None)
        if message.text:
            return message
    return NO_MESSAGE


def _from_object(value: dict[str, Any]) -> EventMessage:
    template = as_text(value.get("message"))
    formatted = as_text(value.get("formatted"))
    params = value.get("params")
    if not formatted:
        formatted = interpolate(template, params) if params else template
    return EventMessage(formatted, template if template != formatted else "", params)


def interpolate(template: str, params: Any) -> str:
    """The template with its printf-style or {}-style places filled in; places without a parameter stay.

    So do places beyond the bounds above. Where a place names null the whole template stays, as in Relay.
    """
    if params.__class__ not in (list, dict):
        return template
    with suppress(_NullParameter):
        return _interpolated(template, _Filling(params))
    return template


def _interpolated(template: str, filled: _Filling) -> str:
    begin, rest = template[:MAX_TEMPLATE_LENGTH], template[MAX_TEMPLATE_LENGTH:]
    if _PERCENT.search(begin):
        return _PERCENT.sub(filled.percent, begin, MAX_PLACES) + rest
    return _CURLY.sub(filled.curly, begin, MAX_PLACES) + rest


class _NullParameter(Exception):
    """A place of the template names a parameter that is null."""


class _Filling:
    """Hands out parameters, by name from an object and in order from a list."""

    def __init__(self, params: Any) -> None:
        self._params = params
        self._next = 0
        self._left = MAX_FILLED_LENGTH
        self._texts: dict[str | int, str] = {}

    def percent(self, match: re.Match[str]) -> str:
        if match["kind"] == "%":
            return "%"
        key = self._key(match["name"] or "")
        if key is None:
            return match[0]
        value = self._params[key]
        if match["kind"] in _NUMBER_KINDS and value.__class__ in (int, float) and _prints_as(match["kind"], value):
            return self._spent(_printf(match["spec"], match["kind"], value), match[0])
        return self._spent(self._text(key), match[0])

    def curly(self, match: re.Match[str]) -> str:
        if match["name"] is None:
            return match[0][0]
        key = self._key(match["name"])
        return match[0] if key is None else self._spent(self._text(key), match[0])

    def _key(self, name: str) -> str | int | None:
        """Where the parameter of a place is found; None if there is none. A place without a name takes the next one."""
        if self._params.__class__ is dict:
            return name if name in self._params else None
        index = _index(name) if name else self._next
        if index >= len(self._params):
            return None
        self._next += not name
        return index

    def _text(self, key: str | int) -> str:
        """The parameter as text, made once however many places name it."""
        text = self._texts.get(key)
        if text is None:
            text = self._texts[key] = _parameter_text(self._params[key])
        return text

    def _spent(self, text: str, place: str) -> str:
        """`text`, or the place as it stands where the template has grown too much."""
        if len(text) > self._left:
            return place
        self._left -= len(text)
        return text


def _parameter_text(value: Any) -> str:
    """A parameter as Relay writes it: true and false are JSON's. Raises _NullParameter."""
    if value is None:
        raise _NullParameter
    if value.__class__ is bool:
        return "true" if value else "false"
    return as_text(value)


def _prints_as(kind: str, value: float) -> bool:
    """Whether printf would print the number whole: 2.5 in the place of an integer stays 2.5."""
    return kind not in "diouxX" or float(value).is_integer()


def _index(name: str) -> int:
    """The place of a numbered parameter; past every list if it is not a number."""
    return int(name) if name.isascii() and name.isdigit() and len(name) < 6 else 1_000_000_000


def _printf(spec: str, kind: str, value: int | float) -> str:
    """A number as printf writes it, else as text: the wrong kind of parameter must not cost the message."""
    try:
        return f"%{spec}{'d' if kind in 'iu' else kind}" % value
    except (TypeError, ValueError, OverflowError):
        return as_text(value)
