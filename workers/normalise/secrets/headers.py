"""Headers that hold credentials, and attributes that hold headers: their values become `[Filtered]`.

Attributes with command lines and addresses are given to commands.py. The names of headers are those that
Sentry's SDKs and its server filter by default. Spans and logs carry headers as attributes (OpenTelemetry semantic
conventions, `http.request.header.<name>`), events as a request interface, WSGI as variables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final

import orjson

from schemas.tolerant_json import dumps_text
from workers.normalise.secrets.commands import (
    FILTERED,
    filtered_command,
    filtered_url,
    is_command,
    secret_variable,
)

# Words in names of headers that hold credentials, as Sentry's SDKs filter them. No "authority" and no "tokens": those
# are a host, and how many tokens of a model are left.
# A key is a secret by the word before it: x-sort-key, cache-key and idempotency-key are none.
_SECRET: Final = re.compile(
    r"authoriz|authentic|(?:^|-)auth(?:$|-)|token(?!s|iz|-(?:count|type|limit|budget|usage)$)|secret|passw|passphrase|pwd"
    r"|(?<!allow-)credential|jwt|bearer|saml|csrf|xsrf|cookie(?!-(?:consent|policy)$)|session(?!s|-(?:count|timeout|ttl)$)"
    r"|signature(?!-(?:input|agent|version|method|algorithm)$)|oidc|^key$"
    r"|(?:api|access|secret|private|auth|master|account|admin|signing|encryption|shared|subscription|functions?|license"
    r"|app|application|client|service|root|customer|deploy|ingest|write|storage|webhook)-?key$"
    r"|api-?key|access-?key"
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

# What is known of an attribute by its key.
_PLAIN, _ADDRESS, _COMMAND, _HEADERS, _SECRET_VALUE = range(5)
# Attributes that hold an address, in which a password may stand.
ADDRESS_KEYS: Final = frozenset({"url.full", "http.url", "url", "db.url", "messaging.url", "server.url", "request.url"})
_MARKS: Final = ("header", "metadata", "cookie", "argv", "command", "cmdline", "process", "connection_string")
IsSecret = Callable[[str], bool]


def is_secret_header(name: str) -> bool:
    """Whether a header of this name holds a credential. Case and `_` for `-` make no difference."""
    return _is_secret_header(name[:_MAX_KEY_LENGTH])


def is_secret_attribute(key: str) -> bool:
    """The same for the key of an attribute; a cookie may have a key of its own below the header's."""
    return _is_secret_attribute(key[:_MAX_KEY_LENGTH])


def has_secrets(key: str) -> bool:
    """Whether the value of an attribute is a secret, or may have secrets in it: maps of headers, commands."""
    return _class_of(key if len(key) <= _MAX_KEY_LENGTH else key[:_MAX_KEY_LENGTH]) > _ADDRESS


def is_header_map(key: str) -> bool:
    """Whether the value of an attribute is a map of headers: http.request.headers, request_headers, header."""
    return _is_header_map(key[-_MAX_KEY_LENGTH:])


@lru_cache(4096)  # the same few names come again and again
def _is_secret_header(name: str) -> bool:
    return _SECRET.search(name.strip().lower().replace("_", "-")) is not None


@lru_cache(4096)
def _is_secret_attribute(key: str) -> bool:
    lower = key.lower()
    match = _HEADER_KEY.search(lower)
    if match is not None and is_secret_header(match[1]):
        return True
    return lower.startswith(_COOKIE_PREFIXES) and _COOKIE_KEY.search(lower) is not None


@lru_cache(4096)
def _is_header_map(key: str) -> bool:
    return _MAP_KEY.search(key.lower()) is not None


@lru_cache(4096)
def _class_of(key: str) -> int:
    if _is_secret_attribute(key) or secret_variable(key):
        return _SECRET_VALUE
    if _is_header_map(key):
        return _HEADERS
    if is_command(key):
        return _COMMAND
    return _ADDRESS if key in ADDRESS_KEYS else _PLAIN


def may_name_secrets(keys: Iterable[str]) -> bool:
    """Whether one of these attributes may hold a header, a command or an address. Most bodies have none, and need no
    look at their values.
    """
    text = "\n".join(keys).lower()
    return any(mark in text for mark in _MARKS)


def filter_values(value: Any) -> bool:
    """Filters what is nested in a value, in place: attributes of headers, and maps of headers; whether it changed."""
    is_changed = False
    waiting = [value] if value.__class__ is dict or value.__class__ is list else []
    while waiting:
        container = waiting.pop()
        if container.__class__ is dict:
            is_changed |= filter_attributes(container)
        parts = container.values() if container.__class__ is dict else container
        waiting += [part for part in parts if part and (part.__class__ is dict or part.__class__ is list)]
    return is_changed


def filter_attributes(attributes: dict[str, Any]) -> bool:
    """Filters attributes in place, bare values and Sentry's `{"value": …}` alike; whether anything was changed."""
    filtered: dict[str, Any] = {}
    for key, value in attributes.items():
        kind = _class_of(key if len(key) <= _MAX_KEY_LENGTH else key[:_MAX_KEY_LENGTH])
        if kind and not _is_filtered(value):
            changed = _FILTERS[kind](value)
            if changed is not None:
                filtered[key] = changed
    attributes.update(filtered)
    return bool(filtered)


def _secret(value: Any) -> Any:
    return {"value": FILTERED, "type": "string"} if _is_cell(value) else FILTERED


def _filtered_command(value: Any) -> Any:
    """A command without its secrets; None if it has none."""
    if _is_cell(value):
        inner = _filtered_command(value["value"])
        return None if inner is None else value | {"value": inner}
    filtered = filtered_command(value)
    return None if filtered is value or filtered == value else filtered


def _filtered_address(value: Any) -> Any:
    if _is_cell(value):
        inner = _filtered_address(value["value"])
        return None if inner is None else value | {"value": inner}
    if value.__class__ is not str or "@" not in value:
        return None
    filtered = filtered_url(value)
    return None if filtered == value else filtered


def _is_cell(value: Any) -> bool:
    return value.__class__ is dict and "value" in value and value.keys() <= _CELL_KEYS


def _filtered_map(value: Any) -> Any:
    """A map of headers without its secrets, whatever its form; None if it has none."""
    if _is_cell(value):
        inner = _filtered_map(value["value"])
        return None if inner is None else value | {"value": inner}
    if value.__class__ is str:
        return _filtered_text(value)
    holder = {"headers": value}
    return holder["headers"] if filter_named(holder, "headers", is_secret_header) else None


def _filtered_text(text: str) -> str | None:
    """The same for headers as JSON text, or one on each line."""
    if text.lstrip()[:1] in ("{", "["):
        with suppress(ValueError):
            parsed = _filtered_map(orjson.loads(text))
            return None if parsed is None else dumps_text(parsed)
    lines = _filter_lines(text, is_secret_header)
    return None if lines == text else lines


_FILTERS: Final[dict[int, Callable[[Any], Any]]] = {
    _SECRET_VALUE: _secret,
    _HEADERS: _filtered_map,
    _COMMAND: _filtered_command,
    _ADDRESS: _filtered_address,
}


def filter_named(holder: dict[str, Any], member: str, is_secret: IsSecret) -> bool:
    """Filters one member in any of its forms: an object, pairs, lines of text; whether anything was changed."""
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


def _filter_entry(entries: list[Any], index: int, is_secret: IsSecret) -> bool:
    """One entry of a list: a pair, or a line of text."""
    entry = entries[index]
    if entry.__class__ is not str:
        return _filter_pair(entry, is_secret)
    entries[index] = _filter_lines(entry, is_secret)
    return bool(entries[index] != entry)


def _filter_pair(pair: Any, is_secret: IsSecret) -> bool:
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


def _filter_lines(text: str, is_secret: IsSecret) -> str:
    lines = []
    for line in text.split("\n"):
        name, colon, _ = line.partition(":")
        lines.append(f"{name}: {FILTERED}" if colon and is_secret(name) else line)
    return "\n".join(lines)


def _is_filtered(value: Any) -> bool:
    """Whether there is nothing to filter: SDKs write this word themselves."""
    return value is None or value == FILTERED or (value.__class__ is dict and value.get("value") == FILTERED)
