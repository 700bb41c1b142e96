"""Requests of commands to the console: its address, a token, and errors in words."""

from __future__ import annotations

import base64
import binascii
import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final

from ops.cli.servers import READY_FILE, read_json
from ops.runtime.failures import Failed
from ops.runtime.secret_masking import without_secrets

TOKEN_VARIABLE: Final = "AXONPUSH_AUTH_TOKEN"
TIMEOUT_S: Final = 40.0
MAX_PAGES: Final = 100


@dataclass(frozen=True, slots=True)
class WebApi:
    """The Web API of one console for one organisation."""

    url: str
    token: str
    organisation: str

    def tell(self) -> None:
        """One line on stderr: which console a command that changes something works on."""
        print(
            f"works on organisation {self.organisation} of the console at {without_secrets(self.url)}", file=sys.stderr
        )

    def ask(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """The answer; a path without a slash is one of the organisation. Raises Failed."""
        return self._ask(method, path, body, query)[0]

    def pages(self, path: str, **query: Any) -> list[Any]:
        """All entries of a list. Raises Failed."""
        entries: list[Any] = []
        cursor = "0:0:0"
        for _ in range(MAX_PAGES):
            page, link = self._ask("GET", path, None, {**query, "limit": 100, "cursor": cursor})
            entries += page
            if 'rel="next"; results="true"' not in link:
                break
            cursor = f"0:{len(entries)}:0"
        return entries

    def _ask(self, method: str, path: str, body: Any, query: dict[str, Any]) -> tuple[Any, str]:
        place = path if path.startswith("/") else f"/organizations/{self.organisation}/{path}"
        said = {name: value for name, value in query.items() if value not in ("", None)}
        address = f"{self.url}/api/0{place}" + (f"?{urllib.parse.urlencode(said)}" if said else "")
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        try:
            request = urllib.request.Request(address, data, headers, method=method)
            with _OPENER.open(request, timeout=TIMEOUT_S) as answer:
                return json.loads(answer.read() or b"null"), str(answer.headers.get("Link", ""))
        except urllib.error.HTTPError as error:
            with error:
                raise Failed(_detail(error)) from None
        except (OSError, HTTPException, ValueError):
            raise Failed(
                f"expected the console at {without_secrets(self.url)}, found no answer: is it running, and is "
                "AXONPUSH_CONSOLE_URL (or --url) its address?"
            ) from None


def web_api(url: str | None, data_dir: Path) -> WebApi:
    """The console to ask: of the option or a variable, else the one that the token is of. Raises Failed."""
    ready = read_json(data_dir / READY_FILE)
    given = os.environ.get(TOKEN_VARIABLE) or ""
    token = given or str(ready.get("auth_token") or "")
    if not token:
        raise Failed(
            f"expected a token in {TOKEN_VARIABLE}, or a running `axonpush up` in this folder, found neither: "
            "`axonpush tokens mint` makes one"
        )
    fields = _told(token)
    # A token of the variable may be of another system than the `up` of this folder, and is not shown to it.
    of_token = fields.get("url") if given else None
    result = url or os.environ.get("AXONPUSH_CONSOLE_URL") or of_token or ready.get("console_url") or fields.get("url")
    if not str(result).lower().startswith(("http://", "https://")):
        raise Failed("expected the address of the console in --url or AXONPUSH_CONSOLE_URL, found none")
    return WebApi(str(result).rstrip("/"), token, str(fields.get("org") or ready.get("organisation") or "default"))


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The token is for the console alone: another address that it names does not get it."""

    def redirect_request(self, *_: Any, **_named: Any) -> None:
        """No other request."""


_OPENER: Final = urllib.request.build_opener(_NoRedirects)


def _told(token: str) -> dict[str, Any]:
    """What a token says: its address and organisation."""
    try:
        document = json.loads(base64.b64decode(token.removeprefix("sntrys_").rpartition("_")[0]))
    except (binascii.Error, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        document = json.loads(error.read())
    except ValueError:
        document = None
    detail = document.get("detail") if isinstance(document, dict) else None
    return str(detail or f"expected an answer of the console, found HTTP {error.code}")
