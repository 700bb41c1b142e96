"""The HTTP request of a Sentry payload as OpenTelemetry attributes. Bodies stay in the payload alone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import Any, Final
from urllib.parse import urlencode

from workers.normalise.attributes import Attributes
from workers.normalise.scalars import as_text
from workers.normalise.secrets.headers import is_secret_header
from workers.normalise.sentry.payload.pairs import pairs

REQUEST_INVALID: Final = "request_invalid"
QUERY_CUT: Final = "request_query_cut"

MAX_METHOD_LENGTH: Final = 32
# Parameters of a query sent as a list or an object; the payload has all of them.
MAX_QUERY_PARAMETERS: Final = 1_000
_MAX_HEADER_NAME: Final = 128


def read_request(payload: dict[str, Any], attributes: Attributes, repairs: list[str]) -> None:
    """Put url.*, server.address, http.request.* and user_agent.original (OpenTelemetry semantic conventions, HTTP)."""
    value = payload.get("request")
    if value is None:
        value = payload.get("sentry.interfaces.Http")
    if value is None:
        return
    if value.__class__ is not dict:
        repairs.append(REQUEST_INVALID)
        return
    url = as_text(value.get("url")).strip()
    method = as_text(value.get("method")).strip().upper()
    if method:
        attributes.put("http.request.method", method[:MAX_METHOD_LENGTH])
    if url:
        put_url(url, attributes)
    query = _query_text(value.get("query_string"), repairs)
    if query:
        attributes.put("url.query", query)
    _put_headers(value.get("headers"), attributes)


def put_url(url: str, attributes: Attributes) -> None:
    """The whole URL and its parts; a relative one is a path."""
    attributes.put("url.full", url)
    scheme, has_host, rest = url.partition("://")
    host, slash, path = rest.partition("/") if has_host else ("", "/", url.removeprefix("/"))
    path, _, query = path.partition("#")[0].partition("?")
    if query:
        attributes.put("url.query", query)
    if slash:
        attributes.put("url.path", f"/{path}")
    if has_host:
        attributes.put("url.scheme", scheme)
        _put_host(host.partition("?")[0].partition("#")[0].rpartition("@")[2], attributes)


def _put_host(host: str, attributes: Attributes) -> None:
    name, colon, port = host.rpartition(":")
    if colon and port.isascii() and port.isdigit() and len(port) <= 5:
        attributes.put("server.port", int(port))
        host = name
    if host:
        attributes.put("server.address", host)


def _query_text(value: Any, repairs: list[str]) -> str:
    if value.__class__ in (dict, list):
        parameters = ((key, text) for key, content in pairs(value) for text in _texts(content))
        kept = list(islice(parameters, MAX_QUERY_PARAMETERS))
        if next(parameters, None) is not None:
            repairs.append(QUERY_CUT)
        return urlencode(kept)
    return as_text(value).removeprefix("?")


def _texts(content: Any) -> Iterator[str]:
    """One text, or those of a list: a parameter may come several times."""
    return map(as_text, content if content.__class__ is list else (content,))


def _put_headers(value: Any, attributes: Attributes) -> None:
    """Each header under http.request.header.<lower-case name>; several values of one are joined by commas."""
    headers = _header_lines(value) if value.__class__ is str else pairs(value)
    for name, content in headers:
        key = _header_attribute(name) if len(name) <= _MAX_HEADER_NAME else ""
        if key and content is not None:
            attributes.put(key, ", ".join(map(as_text, content)) if content.__class__ is list else as_text(content))


@lru_cache(1024)  # browsers and proxies send the same few names for ever
def _header_attribute(name: str) -> str:
    """The attribute of a header; '' for one that is not to be indexed."""
    key = name.strip().lower()
    if not key or is_secret_header(key):
        return ""
    return "user_agent.original" if key == "user-agent" else f"http.request.header.{key}"


def _header_lines(text: str) -> list[tuple[str, str]]:
    lines = (line.partition(":") for line in text.splitlines())
    return [(name, content.strip()) for name, colon, content in lines if colon]
