"""Headers that hold credentials: their values become `[Filtered]` wherever a Sentry payload can have headers.

The names are those that Sentry's SDKs and its server filter by default. Spans and logs carry headers as attributes
(OpenTelemetry semantic conventions, `http.request.header.<name>`), events as a request interface, WSGI as variables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final

import orjson

from schemas.tolerant_json import dumps_text
from workers.normalise.scalars import as_dict, as_list

FILTERED: Final = "[Filtered]"
# What every attribute of a header has in its key; a body without them needs no second look.
ATTRIBUTE_MARKS: Final = (b".header", b".metadata.")

# Words in names of headers that hold credentials, as Sentry's SDKs filter them. No "authority" and no "tokens": those
# are a host, and how many tokens of a model are left.
_SECRET: Final = re.compile(
    r"authoriz|authentic|(?:^|-)auth(?:$|-)|token(?!s)|secret|passw|pwd|credential|jwt|bearer|saml|csrf|xsrf|cookie"
    r"|session(?!s)|api-?key|access-?key|signature|oidc"
    r"|(?<!idempotency)(?<!websocket)(?<!routing)(?<!partition)(?<!surrogate)(?<!cache)(?<!message)-key$|^key$"
)
# http.request.header.<name>, rpc.grpc.request.metadata.<name>, messaging.header.<name>; cookies have keys of their own.
_HEADER_KEY: Final = re.compile(r"(?:^|[.])(?:headers?|metadata)[.]([^.]+)")
_COOKIE_KEY: Final = re.compile(r"[.](?:set[-_])?cookies?(?:$|[.])")
_COOKIE_PREFIXES: Final = ("http.", "request.", "response.")
_MAP_KEY: Final = re.compile(r"headers?$|^rpc[.].*metadata$")
# An object of one attribute of Sentry's, `{"value": …, "type": …}`.
_CELL_KEYS: Final = frozenset({"value", "type", "unit"})
# Only short names are remembered, or a few thousand long ones would fill the memory.
_MAX_KEY_LENGTH: Final = 200
_VARIABLE: Final = "HTTP_"

_IsSecret = Callable[[str], bool]


def is_secret_header(name: str) -> bool:
    """Whether a header of this name holds a credential. Case and `_` for `-` make no difference."""
    return _is_secret_header(name[:_MAX_KEY_LENGTH])


def is_secret_attribute(key: str) -> bool:
    """The same for the key of an attribute; a cookie may have a key of its own below the header's."""
    return _is_secret_attribute(key[:_MAX_KEY_LENGTH])


def is_header_map(key: str) -> bool:
    """Whether the value of an attribute is a map of headers: http.request.headers, request_headers, header."""
    return _is_header_map(key[-_MAX_KEY_LENGTH:])


@lru_cache(4096)  # the same few names come again and again
def _is_secret_header(name: str) -> bool:
    return _SECRET.search(name.strip().lower().replace("_", "-")) is not None


@lru_cache(4096)
def _is_secret_attribute(key: str) -> bool:
    lower = key.lower()
    found = _HEADER_KEY.search(lower)
    if found is not None and is_secret_header(found[1]):
        return True
    return lower.startswith(_COOKIE_PREFIXES) and _COOKIE_KEY.search(lower) is not None


@lru_cache(4096)
def _is_header_map(key: str) -> bool:
    return _MAP_KEY.search(key.lower()) is not None


def may_name_headers(keys: Iterable[str]) -> bool:
    """Whether one of these attributes may hold a header. Most bodies have none, and need no look at their values."""
    text = "\n".join(keys).lower()
    return "header" in text or "metadata" in text or "cookie" in text


def filter_values(value: Any) -> bool:
    """Filters what is nested in a value, in place: attributes of headers, and maps of headers; whether it changed."""
    is_changed = False
    waiting = [value] if value.__class__ is dict or value.__class__ is list else []
    while waiting:
        held = waiting.pop()
        if held.__class__ is dict:
            is_changed |= filter_attributes(held)
        parts = held.values() if held.__class__ is dict else held
        waiting += [part for part in parts if part and (part.__class__ is dict or part.__class__ is list)]
    return is_changed


def filter_headers(fields: dict[str, Any], payload: bytes | memoryview) -> bool:
    """Filters the headers of a parsed Sentry payload in place; whether anything was changed. `payload` is its text."""
    is_changed = False
    request = fields.get("request", fields.get("sentry.interfaces.Http"))
    if request.__class__ is dict:
        is_changed = _filter_request(request)
    contexts = as_dict(fields.get("contexts"))
    if contexts:
        is_changed |= _filter_request(as_dict(contexts.get("response")))
    raw = bytes(payload)
    if any(mark in raw for mark in ATTRIBUTE_MARKS):
        for attributes in _attribute_maps(fields, contexts):
            is_changed |= filter_attributes(attributes)
    return is_changed


def filter_attributes(attributes: dict[str, Any]) -> bool:
    """Filters attributes in place, bare values and Sentry's `{"value": …}` alike; whether anything was changed."""
    filtered: dict[str, Any] = {}
    for key, value in attributes.items():
        if is_secret_attribute(key):
            if not _is_filtered(value):
                filtered[key] = {"value": FILTERED, "type": "string"} if _is_cell(value) else FILTERED
        elif is_header_map(key) and (changed := _filtered_map(value)) is not None:
            filtered[key] = changed
    attributes.update(filtered)
    return bool(filtered)


def _is_cell(value: Any) -> bool:
    return value.__class__ is dict and "value" in value and value.keys() <= _CELL_KEYS


def _filtered_map(value: Any) -> Any:
    """A map of headers without its secrets, whatever its form; None if it has none."""
    if _is_cell(value):
        held = _filtered_map(value["value"])
        return None if held is None else value | {"value": held}
    if value.__class__ is str:
        return _filtered_text(value)
    holder = {"headers": value}
    return holder["headers"] if _filter_named(holder, "headers", is_secret_header) else None


def _filtered_text(text: str) -> str | None:
    """The same for headers as JSON text, or one on each line."""
    if text.lstrip()[:1] in ("{", "["):
        with suppress(ValueError):
            parsed = _filtered_map(orjson.loads(text))
            return None if parsed is None else dumps_text(parsed)
    lines = _filter_lines(text, is_secret_header)
    return None if lines == text else lines


def _attribute_maps(fields: dict[str, Any], contexts: dict[str, Any]) -> list[dict[str, Any]]:
    """Every place where a payload has attributes: of a span, a trace, a list of spans or logs, their links."""
    trace, otel = as_dict(contexts.get("trace")), as_dict(contexts.get("otel"))
    holders = [fields, trace, otel, *as_list(fields.get("spans")), *as_list(fields.get("items"))]
    holders += _breadcrumbs(fields)
    maps = [as_dict(holder.get(name)) for holder in map(as_dict, holders) for name in ("data", "attributes", "tags")]
    return [attributes for attributes in maps if attributes]


def _breadcrumbs(fields: dict[str, Any]) -> list[Any]:
    breadcrumbs = fields.get("breadcrumbs")
    return as_list(breadcrumbs.get("values") if breadcrumbs.__class__ is dict else breadcrumbs)


def _filter_request(request: dict[str, Any]) -> bool:
    """Headers, cookies and WSGI variables of a request or response interface."""
    is_changed = _filter_named(request, "headers", is_secret_header)
    is_changed |= _filter_named(request, "env", _is_secret_variable)
    return _filter_named(request, "cookies", _always) or is_changed


def _always(_name: str) -> bool:
    return True


def _is_secret_variable(name: str) -> bool:
    return name.startswith(_VARIABLE) and is_secret_header(name.removeprefix(_VARIABLE))


def _filter_named(holder: dict[str, Any], member: str, is_secret: _IsSecret) -> bool:
    """One member in any of its forms: an object, pairs, lines of text."""
    value = holder.get(member)
    if not value:
        return False
    if value.__class__ is dict:
        secret = [key for key, content in value.items() if is_secret(key) and not _is_filtered(content)]
        for key in secret:
            value[key] = FILTERED
        return bool(secret)
    if value.__class__ is list:
        return sum(_filter_entry(value, index, is_secret) for index in range(len(value))) > 0
    if value.__class__ is str:
        filtered = FILTERED if member == "cookies" else _filter_lines(value, is_secret)
        holder[member] = filtered
        return filtered != value
    return False


def _filter_entry(entries: list[Any], index: int, is_secret: _IsSecret) -> bool:
    """One entry of a list: a pair, or a line of text."""
    entry = entries[index]
    if entry.__class__ is not str:
        return _filter_pair(entry, is_secret)
    entries[index] = _filter_lines(entry, is_secret)
    return bool(entries[index] != entry)


def _filter_pair(pair: Any, is_secret: _IsSecret) -> bool:
    """`[name, value]`, or an object of `key` and `value`."""
    if pair.__class__ is list and len(pair) == 2:
        name, value = pair
    elif pair.__class__ is dict:
        name, value = pair.get("key", pair.get("name")), pair.get("value")
    else:
        return False
    if name.__class__ is not str or not is_secret(name) or _is_filtered(value):
        return False
    pair[1 if pair.__class__ is list else "value"] = FILTERED
    return True


def _filter_lines(text: str, is_secret: _IsSecret) -> str:
    lines = []
    for line in text.split("\n"):
        name, colon, _ = line.partition(":")
        lines.append(f"{name}: {FILTERED}" if colon and is_secret(name) else line)
    return "\n".join(lines)


def _is_filtered(value: Any) -> bool:
    """Whether there is nothing to filter: SDKs write this word themselves."""
    return value is None or value == FILTERED or (value.__class__ is dict and value.get("value") == FILTERED)
