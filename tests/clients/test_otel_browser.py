"""@opentelemetry/sdk-trace-web in headless Chromium, from a page of another origin than the receiver's."""

from __future__ import annotations

import functools
import http.server
import subprocess
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import wait_until_drained
from tests.clients.otel_processes import Facts, facts_of
from tests.clients.sentry_clients import npm_pin
from tests.clients.toolchains import npm_project, require_chromium, require_node
from tests.polling import eventually

pytestmark = pytest.mark.clients

SUCCESS, FAILED = 0, 1  # ExportResultCode
BUNDLE = ("page.js", "--bundle", "--format=esm", "--target=es2022", "--outfile=bundle.js", "--log-level=error")


def proves(feature: str, result: str) -> pytest.MarkDecorator:
    """A claim for the SDK in the browser."""
    version = npm_pin("otel-browser", "@opentelemetry/sdk-trace-web")
    return pytest.mark.proves("@opentelemetry/sdk-trace-web", version, feature, result)


class _Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_parts: object) -> None:
        """Tests say nothing while they pass."""


class Pages:
    """The built page on a port of its own. One server, two origins: Chromium tells 127.0.0.1 from localhost."""

    def __init__(self, project: Path, port: int) -> None:
        self.project = project
        self.allowed, self.refused = (f"http://{host}:{port}" for host in ("127.0.0.1", "localhost"))

    def open(self, origin: str, profile: Path, ready: Facts, token: str) -> Facts:
        """Open the page as `origin`; returns what it sent and what was answered."""
        asked = {"address": ready["url"], "token": token, "channel": ready["channel"]}
        url = f"{origin}/page.html?{urllib.parse.urlencode(asked)}"
        return facts_of([require_node(), "drive.mjs", require_chromium(), profile, url], cwd=self.project)


@pytest.fixture(scope="module")
def pages() -> Iterator[Pages]:
    """The page, bundled and served until the module's last test."""
    require_chromium()
    project = npm_project("otel-browser")
    subprocess.run([project / "node_modules" / ".bin" / "esbuild", *BUNDLE], cwd=project, check=True, timeout=60)
    handler = functools.partial(_Files, directory=str(project))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Pages(project, server.server_port)
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def token(pages: Pages, ready: Facts, command: Any) -> str:
    """A public token that only pages of `pages.allowed` may use."""
    bound = ("--channel", str(ready["channel"]), "--environment", "production", "--origin", pages.allowed)
    minted: str = command("keys", "mint", "--public", *bound)["key"]
    return minted


def sent_to(facts: Facts, ready: Facts) -> list[tuple[str, int | None]]:
    """(method, status) of the requests to the receiver, preflight first."""
    return [(one["method"], one.get("status")) for one in facts["requests"] if one["url"].startswith(ready["url"])]


@proves("span of a page of an allowed origin, after a preflight", "one row")
def test_a_page_of_an_allowed_origin_may_send(pages: Pages, token: str, ready: Any, sql: Any, tmp_path: Path) -> None:
    """The preflight passes without a key, the span arrives with the token's environment, the exporter sees success."""
    profiles = iter(range(100))

    def opened() -> Facts:
        facts = pages.open(pages.allowed, tmp_path / f"profile-{next(profiles)}", ready, token)
        return facts if facts["results"][0]["code"] == SUCCESS else {}

    facts = eventually(opened, "the new token to be known")
    assert sorted(sent_to(facts, ready)) == [("OPTIONS", 204), ("POST", 200)]
    (row,) = sql.wait(f"SELECT * FROM events WHERE trace_id = '{facts['trace_id']}'", 1)
    assert (row["name"], row["span_id"], row["service_name"]) == ("click buy", facts["span_id"], "shop-web")
    assert (row["environment"], row["session_id"]) == ("production", "s-1")
    assert row["url"] == f"{pages.allowed}/page.html"
    assert row["duration_ns"] >= 0


@proves("page of an origin the token does not allow", "refused with 403, no row")
@pytest.mark.asyncio
async def test_a_page_of_another_origin_is_refused(
    pages: Pages, token: str, ready: Any, sql: Any, tmp_path: Path
) -> None:
    """The browser may read the 403, the exporter reports a failure, and there is no row."""
    eventually(
        lambda: pages.open(pages.allowed, tmp_path / "first", ready, token)["results"][0]["code"] == SUCCESS,
        "the new token to be known",
    )
    facts = pages.open(pages.refused, tmp_path / "second", ready, token)
    assert sorted(sent_to(facts, ready)) == [("OPTIONS", 204), ("POST", 403)]
    assert facts["results"][0]["code"] == FAILED
    assert "403" in facts["results"][0]["error"] or "Forbidden" in facts["results"][0]["error"]
    await wait_until_drained(ready["nats_url"])
    assert sql.rows(f"SELECT count() AS n FROM events WHERE trace_id = '{facts['trace_id']}'") == [{"n": 0}]
