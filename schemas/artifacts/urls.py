"""The names under which a minified file may have been uploaded: `~/static/app.js` stands for every host."""

from __future__ import annotations

import posixpath
from typing import Final
from urllib.parse import urljoin, urlsplit

MAX_URL_LENGTH: Final = 2_048
# A `data:` address is a source map inside of the minified file.
DATA_PREFIX: Final = "data:"
_HOSTLESS: Final = "~"


def candidates(url: str) -> list[str]:
    """The names of a frame's `abs_path` to look for, best first: the whole address, without its query, without host."""
    if not url or len(url) > MAX_URL_LENGTH or url.startswith(DATA_PREFIX):
        return []
    plain = url.partition("#")[0]
    short = plain.partition("?")[0]
    names = [plain, short]
    path = path_of(short)
    if path:
        with_query = path + plain[len(short) :]
        names += [_HOSTLESS + with_query, _HOSTLESS + path]
    return list(dict.fromkeys(names))


def path_of(url: str) -> str:
    """The path of an address, with the slash that begins it; '' if there is none."""
    if url.startswith("~/"):
        return url[1:]
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    if parts.scheme and parts.netloc:
        return parts.path
    if url.startswith("/"):
        return url
    # app:///main.js of mobile and desktop applications
    return parts.path if parts.scheme and parts.path.startswith("/") else ""


def joined(file_url: str, source_map: str) -> str:
    """The name of a source map that the file at `file_url` names relative to itself; '' if it cannot be resolved."""
    if len(source_map) > MAX_URL_LENGTH or source_map.startswith(DATA_PREFIX):
        return ""
    if source_map.startswith(f"{_HOSTLESS}/"):
        return source_map
    try:
        if file_url.startswith(f"{_HOSTLESS}/") and not urlsplit(source_map).scheme:
            base = posixpath.dirname(file_url[1:])
            return _HOSTLESS + posixpath.normpath(posixpath.join(base, source_map))
        return urljoin(file_url, source_map)
    except ValueError:
        return ""
