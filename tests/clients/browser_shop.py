"""A shop with pages and a server of its own, and visits to it in a real browser. No test lives here."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3

from tests.clients.sentry_clients import Facts, run
from tests.clients.toolchains import npm_project, require_chromium, require_node, require_openssl
from tests.polling import eventually

STOP_TIMEOUT_S = 10.0
POLICY = "style-src 'none'"


@dataclass(frozen=True)
class Visit:
    """What a page's script said, and every request the browser made to another origin, preflights included."""

    facts: Facts
    requests: list[Facts]

    def statuses(self, method: str) -> set[int]:
        """Of the answers to requests with this method."""
        return {one["status"] for one in self.requests if one["method"] == method}


@dataclass(frozen=True)
class Shop:
    """A running shop, and the public token that allows exactly its own origins."""

    folder: Path
    ports: dict[str, int]
    key: str
    release: str
    ready: Facts

    @property
    def dsn(self) -> str:
        """For the pages."""
        dsn: str = self.ready["dsn"].replace(self.ready["public_token"], self.key)
        return dsn

    @property
    def api(self) -> str:
        """The address of the channel at the receiver."""
        return f"{self.ready['url']}/api/{self.ready['channel']}"

    def page(self, what: str, host: str = "127.0.0.1", **given: str) -> dict[str, Any]:
        """A visit to the page that runs `what` of its script."""
        brought = {"visit": what, "dsn": self.dsn, "release": self.release, **given}
        return {"url": f"http://{host}:{self.ports['http']}/shop.html", "given": brought}

    def policy(self, mark: str, *, by_reporting_api: bool) -> dict[str, Any]:
        """A visit to a page that breaks its own policy; `mark` stands in the page's address.

        Browsers take endpoints of the Reporting API by https only: the shop's proxy, under another name and so origin.
        """
        path = f"/api/{self.ready['channel']}/security/?sentry_key={self.key}"
        if by_reporting_api:
            endpoint = f"https://localhost:{self.ports['https']}{path}"
            query = {"policy": f"{POLICY}; report-to csp", "endpoints": f'csp="{endpoint}"', "mark": mark}
            address = f"https://127.0.0.1:{self.ports['https']}"
        else:
            query = {"policy": f"{POLICY}; report-uri {self.ready['url']}{path}", "mark": mark}
            address = f"http://127.0.0.1:{self.ports['http']}"
        return {"url": f"{address}/policy.html?{urlencode(query)}", "reports": True}

    def visit(self, *pages: dict[str, Any]) -> list[Visit]:
        """Goes to all pages in one browser, in this order."""
        asked = json.dumps({"chromium": require_chromium(), "visits": pages})
        found = json.loads(run([require_node(), "visit.js", asked], self.folder).splitlines()[-1])
        return [Visit(**one) for one in found]


@contextlib.contextmanager
def open_shop(system: Any, folder: Path, release: str) -> Iterator[Shop]:
    """A shop that runs until the block ends. Skips where a browser, node or openssl is missing."""
    require_chromium()
    project = npm_project("sentry-browser")
    ready: Facts = system.ready
    dsn = ready["dsn"].replace(ready["public_token"], ready["api_key"])
    command = [sys.executable, project / "shop.py", dsn, release, project / "site", _certificate(folder)]
    with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ports = json.loads(process.stdout.readline())
            origins = [f"{scheme}://127.0.0.1:{port}" for scheme, port in ports.items()]
            key = system.mint("--public", *(f"--origin={origin}" for origin in origins), environment="web")
            shop = Shop(project, ports, key, release, ready)
            _until_known(shop, origins[0])
            yield shop
        finally:
            process.terminate()
            process.wait(STOP_TIMEOUT_S)


@contextlib.contextmanager
def open_pages(system: Any, folder: Path, release: str) -> Iterator[Shop]:
    """A shop whose pages are the files of a folder, until the block ends. Skips where a browser or node is missing."""
    require_chromium()
    handler = functools.partial(_Files, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            origin = f"http://127.0.0.1:{server.server_port}"
            key = system.mint("--public", f"--origin={origin}", environment="web")
            shop = Shop(npm_project("sentry-browser"), {"http": server.server_port}, key, release, system.ready)
            _until_known(shop, origin)
            yield shop
        finally:
            server.shutdown()
            thread.join()


class _Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_parts: object) -> None:
        """Tests say nothing while they pass."""


def _certificate(folder: Path) -> Path:
    """A file with a key and its own certificate, for this machine."""
    key, certificate, both = folder / "key.pem", folder / "certificate.pem", folder / "both.pem"
    named = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    make = [require_openssl(), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *named]
    subprocess.run([*make, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    return both


def _until_known(shop: Shop, origin: str) -> None:
    """A new key takes effect within a second; an envelope without items makes no row."""
    pool = urllib3.PoolManager()
    url = f"{shop.api}/envelope/?sentry_key={shop.key}"

    def is_known() -> bool:
        return pool.request("POST", url, body=b"{}\n", headers={"Origin": origin}, retries=False).status == 200

    eventually(is_known, "the receiver to know the key")
