"""Which console the commands about alerts ask: a token goes to its own console and nowhere else."""

from __future__ import annotations

import base64
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops.cli.alerts.web_api import TOKEN_VARIABLE, WebApi, web_api
from ops.cli.servers import READY_FILE
from ops.runtime.failures import Failed


def token(url: str) -> str:
    document = json.dumps({"url": url, "org": "acme"} if url else {"org": "acme"})
    return f"sntrys_{base64.b64encode(document.encode()).decode()}_secret"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of an `axonpush up`."""
    for name in (TOKEN_VARIABLE, "AXONPUSH_CONSOLE_URL"):
        monkeypatch.delenv(name, raising=False)
    ready = {"console_url": "http://127.0.0.1:9", "auth_token": token("http://127.0.0.1:9"), "organisation": "default"}
    (tmp_path / READY_FILE).write_text(json.dumps(ready))
    return tmp_path


def test_a_token_of_the_variable_goes_to_its_own_console(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not to the `up` of the folder, which may be anybody's."""
    assert web_api(None, folder).url == "http://127.0.0.1:9"
    monkeypatch.setenv(TOKEN_VARIABLE, token("https://console.acme.test/"))
    assert web_api(None, folder).url == "https://console.acme.test"
    monkeypatch.setenv("AXONPUSH_CONSOLE_URL", "https://said.test")
    assert web_api(None, folder).url == "https://said.test"
    assert web_api("https://option.test", folder).url == "https://option.test"


def test_without_an_address_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And names where it is given."""
    monkeypatch.setenv(TOKEN_VARIABLE, token(""))
    monkeypatch.delenv("AXONPUSH_CONSOLE_URL", raising=False)
    with pytest.raises(Failed, match="AXONPUSH_CONSOLE_URL"):
        web_api(None, tmp_path)


@contextmanager
def answering(status: int, location: str) -> Iterator[tuple[str, list[str]]]:
    """A console; its address, and the tokens that it was shown."""
    shown: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shown.append(str(self.headers.get("Authorization")))
            self.send_response(status)
            self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *_: object) -> None:
            """Nothing on the screen."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", shown
        server.shutdown()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    """The other address would get the token."""
    with answering(200, "") as (other, shown), answering(status, f"{other}/api/0/x/") as (url, _):
        with pytest.raises(Failed, match=f"HTTP {status}"):
            WebApi(url, "t", "acme").ask("GET", "alerts/")
        assert shown == []
        assert WebApi(other, "t", "acme").ask("GET", "alerts/") == []
