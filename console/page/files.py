"""The files of the page: read and compressed once at start, and found by a digest of all of them.

A browser keeps a file for ever, because a changed file has another address. Modules import each other by relative
paths, so the digest stands in the folder and no file is rewritten, except for the one HTML page.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import brotli

STATIC: Final = Path(__file__).with_name("static")
FOLDER: Final = "/page"
HTML: Final = "index.html"
# What index.html has in the place of addresses.
_BASE: Final = "{base}"
_PRELOADS: Final = "{preloads}"
# Loaded only by the views that need them; all other modules are part of the first view.
LAZY_FOLDERS: Final = ("views/trace", "views/logs", "views/more", "views/delivery", "views/settings", "views/alerts")
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_MAX_ACCEPTED: Final = 200
_REFUSED: Final = re.compile(r"q=0(?:\.0{0,3})?")


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file in each of its encodings."""

    media_type: str
    plain: bytes
    encoded: dict[str, bytes]
    etag: str

    def best(self, accepted: str) -> tuple[str, bytes]:
        """The encoding for an `Accept-Encoding`, "" for none, and the bytes."""
        offered = (part.partition(";") for part in accepted[:_MAX_ACCEPTED].lower().replace(" ", "").split(","))
        wanted = {name for name, _, weight in offered if not _REFUSED.fullmatch(weight)}
        name = next((name for name in ("br", "gzip") if name in wanted), "")
        return name, self.encoded[name] if name else self.plain


class PageFiles:
    """All files by their path."""

    def __init__(self, folder: Path = STATIC) -> None:
        # Others are an editor's or an operating system's, in a checkout.
        paths = sorted(path for path in folder.rglob("*") if path.suffix in _TYPES)
        contents = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        self.digest = hashlib.sha256(repr(sorted(contents.items())).encode()).hexdigest()[:16]
        html = contents.pop(HTML)
        self.files = {name: _file(name, data) for name, data in contents.items()}
        self.html = _file(HTML, self._filled(html.decode(), contents))

    def find(self, path: str) -> PageFile | None:
        """A file by its path below the digest."""
        return self.files.get(path)

    @property
    def base(self) -> str:
        """The address of the files, without a slash at the end."""
        return f"{FOLDER}/{self.digest}"

    def _filled(self, html: str, contents: dict[str, bytes]) -> bytes:
        modules = [name for name in contents if name.endswith(".js") and name != "theme.js"]
        first = [name for name in modules if not name.startswith(LAZY_FOLDERS)]
        preloads = "".join(f'<link rel="modulepreload" href="{self.base}/{name}">\n' for name in first)
        return html.replace(_PRELOADS, preloads).replace(_BASE, self.base).encode()


@functools.cache
def page_files() -> PageFiles:
    """The files of this installation, compressed once for all requests."""
    return PageFiles()


def _file(name: str, data: bytes) -> PageFile:
    encoded = {"br": brotli.compress(data, quality=9), "gzip": gzip.compress(data, 9, mtime=0)}
    etag = f'"{hashlib.sha256(data).hexdigest()[:24]}"'
    return PageFile(_TYPES[Path(name).suffix], data, encoded, etag)
