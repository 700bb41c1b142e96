"""Headers that hold credentials: their values become `[Filtered]` wherever a Sentry payload can have headers.

The names are those that Sentry's SDKs and its server filter by default. Spans and logs carry headers as attributes
(OpenTelemetry semantic conventions, `http.request.header.<name>`), events as a request interface, WSGI as variables.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from workers.normalise.scalars import as_dict, as_list

FILTERED: Final = "[Filtered]"
# What every attribute of a header has in its key; a body without it needs no second look.
ATTRIBUTE_MARK: Final = b".header."

_NAMES: Final = frozenset(
    {
        *("authorization", "proxy-authorization", "www-authenticate", "proxy-authenticate"),
        *("cookie", "set-cookie", "x-api-key", "api-key", "apikey", "x-goog-api-key", "x-amz-security-token"),
        *("x-auth-token", "x-access-token", "x-session-token", "x-csrf-token", "x-csrftoken", "x-xsrf-token"),
        *("x-sentry-auth", "x-gitlab-token", "x-vault-token", "x-hub-signature", "x-hub-signature-256"),
    }
)
_PREFIXES: Final = ("http.request.header.", "http.response.header.", "rpc.request.metadata.", "rpc.response.metadata.")
_VARIABLE: Final = "HTTP_"

_IsSecret = Callable[[str], bool]


@lru_cache(4096)  # the same few names come again and again
def is_secret_header(name: str) -> bool:
    """Whether a header of this name holds a credential. Case and `_` for `-` make no difference."""
    return name.strip().lower().replace("_", "-") in _NAMES


@lru_cache(4096)
def is_secret_attribute(key: str) -> bool:
    """The same for the key of an attribute; a cookie may have a key of its own below the header's."""
    lower = key.lower()
    for prefix in _PREFIXES:
        if lower.startswith(prefix):
            return is_secret_header(lower.removeprefix(prefix).partition(".")[0])
    return False


def filter_headers(fields: dict[str, Any], payload: bytes | memoryview) -> bool:
    """Filters the headers of a parsed Sentry payload in place; whether anything was changed. `payload` is its text."""
    is_changed = False
    request = fields.get("request", fields.get("sentry.interfaces.Http"))
    if request.__class__ is dict:
        is_changed = _filter_request(request)
    contexts = as_dict(fields.get("contexts"))
    if contexts:
        is_changed |= _filter_request(as_dict(contexts.get("response")))
    if ATTRIBUTE_MARK in bytes(payload):
        for attributes in _attribute_maps(fields, contexts):
            is_changed |= filter_attributes(attributes)
    return is_changed


def filter_attributes(attributes: dict[str, Any]) -> bool:
    """Filters attributes in place, bare values and Sentry's `{"value": …}` alike; whether anything was changed."""
    secret = [key for key, value in attributes.items() if is_secret_attribute(key) and not _is_filtered(value)]
    for key in secret:
        value = attributes[key]
        attributes[key] = {"value": FILTERED, "type": "string"} if value.__class__ is dict else FILTERED
    return bool(secret)


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
        return sum(_filter_pair(pair, is_secret) for pair in value) > 0
    if value.__class__ is str:
        filtered = FILTERED if member == "cookies" else _filter_lines(value, is_secret)
        holder[member] = filtered
        return filtered != value
    return False


def _filter_pair(pair: Any, is_secret: _IsSecret) -> bool:
    """`[name, value]`, or an object of `key` and `value`."""
    if pair.__class__ is list and len(pair) == 2:
        name, value = pair
    elif pair.__class__ is dict:
        name, value = pair.get("key"), pair.get("value")
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
