"""ops/deploy/haproxy/haproxy.cfg in a real HAProxy before two small servers: what senders get, and what receivers
see.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from receiver.http.request import _FORWARDED, Request
from tests.polling import ANSWER_TIMEOUT_S, DEADLINE_S, eventually
from tests.servers import free_port

CONFIG = Path(__file__).parents[4] / "ops/deploy/haproxy/haproxy.cfg"
HAPROXY = os.environ.get("AXONPUSH_HAPROXY") or shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
pytestmark = [pytest.mark.live, pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")]

SHORT_S = 3


class Behind(ThreadingHTTPServer):
    """A server in a receiver's place: remembers what reaches it, and says whether it is ready."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        self.ready = True
        super().__init__(("127.0.0.1", port), _Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A health check hangs up as soon as it knows."""

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        status = 200
        if self.path == "/ready":
            status = 200 if server.ready else 503
        else:
            server.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        self.send_response(status)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_GET = do_POST = _answer

    def log_message(self, *_arguments: object) -> None:
        """Quiet."""


@dataclass
class Balanced:
    """A running HAProxy, where it listens, its log, and the servers behind it."""

    https: int
    http: int
    status: int
    log: Path
    ports: tuple[int, int]
    behind: list[Behind] = field(default_factory=list)

    def post(self, path: str, body: bytes = b"{}", **headers: str) -> http.client.HTTPResponse:
        """One request over TLS on a connection of its own."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.https, context=_trusting(), timeout=60)
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer

    def told(self, path: str) -> tuple[int, str]:
        """What it says about itself."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.status, timeout=60)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def healthy(self) -> bool:
        return self.told("/health")[0] == 200

    def servers_up(self) -> int:
        text = self.told("/metrics")[1]
        return len(re.findall(r'^haproxy_server_status\{proxy="receivers",server="\w+",state="UP"\} 1$', text, re.M))


def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _certificate(folder: Path) -> Path:
    key, pem = folder / "key", folder / "certificate"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subprocess.run(
        [*command, "-days", "1", "-subj", "/CN=localhost", "-keyout", key, "-out", pem], check=True, capture_output=True
    )
    certificates = folder / "certs"
    certificates.mkdir()
    (certificates / "a.pem").write_bytes(pem.read_bytes() + key.read_bytes())
    return certificates


def _config(folder: Path, found: Balanced) -> Path:
    """The file as it is, but for ports, the folder of certificates, where the servers are, and how patient it is."""
    text = CONFIG.read_text().replace("/etc/haproxy/certs/", f"{_certificate(folder)}/")
    for name, port in (("8443", found.https), ("8080", found.http), ("8405", found.status)):
        text, count = re.subn(rf"^(    bind ):{name}\b", rf"\g<1>127.0.0.1:{port}", text, flags=re.M)
        assert count == 1
    servers = "\n".join(f"    server r{i} 127.0.0.1:{port}" for i, port in enumerate(found.ports))
    for name, instead in (("receiver", servers), ("console", "")):  # without a console its requests get 503
        text, count = re.subn(rf"^    server-template {name} .*$", instead, text, flags=re.M)
        assert count == 1
    text = text.replace(" resolvers docker init-addr none", "").replace("http-request 10s", f"http-request {SHORT_S}s")
    text = text.replace("maxconn 20000", "maxconn 500")  # needs no more open files than a test may have
    path = folder / "haproxy.cfg"
    path.write_text(text)
    return path


@pytest.fixture
def balanced(tmp_path: Path) -> Iterator[Balanced]:
    """HAProxy before two servers, both ready."""
    ports = (free_port(), free_port())
    found = Balanced(free_port(), free_port(), free_port(), tmp_path / "log", ports)
    found.behind = [Behind(port) for port in ports]
    config = _config(tmp_path, found)
    with found.log.open("wb") as log:
        process = subprocess.Popen([str(HAPROXY), "-db", "-f", config], stdout=log, stderr=log)
    try:
        eventually(lambda: process.poll() is None and found.servers_up() == 2, "haproxy and both servers to be up")
        yield found
    finally:
        process.terminate()
        process.wait(DEADLINE_S)
        for server in found.behind:
            with contextlib.suppress(OSError):
                server.stop()


def test_the_file_is_valid_as_it_is(tmp_path: Path) -> None:
    """HAProxy's own check, without a warning; only the folder of certificates is another."""
    path = tmp_path / "haproxy.cfg"
    path.write_text(CONFIG.read_text().replace("/etc/haproxy/certs/", f"{_certificate(tmp_path)}/"))
    done = subprocess.run([str(HAPROXY), "-c", "-f", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr + done.stdout


def test_a_sender_cannot_choose_its_address(balanced: Balanced) -> None:
    """Whatever it writes into the headers a receiver looks at, the receiver sees where the connection came from."""
    forged = dict.fromkeys((*_FORWARDED, "forwarded"), "203.0.113.7")
    assert balanced.post("/v1/logs", **forged).status == 200
    (seen,) = [headers for server in balanced.behind for _, headers, _ in server.seen]
    assert "203.0.113.7" not in json.dumps(seen)
    pairs = [(name.encode(), value.encode()) for name, value in seen.items()]

    async def receive() -> dict[str, Any]:
        return {}

    scope = {"type": "http", "method": "POST", "path": "/v1/logs", "headers": pairs, "client": ("10.0.0.9", 1)}
    assert Request.from_scope(scope, receive).sender_ip(trust_forwarded=True) == "127.0.0.1"


def test_plain_http_is_sent_to_https_with_its_method(balanced: Balanced) -> None:
    """308, so that a POST stays one."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", balanced.http, timeout=60)) as connection:
        connection.request("POST", "/v1/logs", b"{}", {"Host": "in.example"})
        answer = connection.getresponse()
    assert (answer.status, answer.headers["location"]) == (308, "https://in.example/v1/logs")
    assert not [one for server in balanced.behind for one in server.seen]


@pytest.mark.parametrize(
    "path", ["/metrics", "//metrics", "/metrics/", "/%6detrics", "/METRICS", "/ready", "/metrics?a=1"]
)
def test_what_is_ours_is_not_the_worlds(balanced: Balanced, path: str) -> None:
    """However it is written."""
    assert balanced.post(path).status == 404
    assert not [one for server in balanced.behind for one in server.seen]


def test_a_receiver_that_is_gone_loses_no_request(balanced: Balanced) -> None:
    """Before any health check can tell: requests go to the other one."""
    balanced.behind[0].stop()
    assert {balanced.post("/v1/logs", b"x" * 5000).status for _ in range(20)} == {200}
    assert len(balanced.behind[1].seen) == 20


def test_a_receiver_that_is_not_ready_gets_nothing(balanced: Balanced) -> None:
    """And something again once it is; with none, the balancer's own health check fails."""
    balanced.behind[0].ready = False
    eventually(lambda: balanced.servers_up() == 1, "one server to be taken out")
    for _ in range(6):
        balanced.post("/v1/logs")
    assert (len(balanced.behind[0].seen), len(balanced.behind[1].seen)) == (0, 6)
    balanced.behind[1].ready = False
    eventually(lambda: not balanced.healthy(), "the balancer to be unhealthy")
    balanced.behind[0].ready = True
    eventually(balanced.healthy, "the balancer to be healthy again")


def test_a_slow_sender_is_cut_off(balanced: Balanced) -> None:
    """Headers have to come; what holds a connection without sending any does not hold it for long."""
    plain = socket.create_connection(("127.0.0.1", balanced.https), timeout=ANSWER_TIMEOUT_S)
    with plain, _trusting().wrap_socket(plain) as connection:
        connection.sendall(b"POST /v1/logs HTTP/1.1\r\nHost: a\r\nX-Slow: ")
        answer = connection.recv(1000)
    assert answer.startswith(b"HTTP/1.1 408")


def test_the_log_names_no_key(balanced: Balanced) -> None:
    """Keys stand in paths and queries."""
    balanced.post("/api/1/cron/nightly/pt_secret/?sentry_key=pt_secret", **{"X-API-Key": "ak_secret"})
    eventually(lambda: " receivers/" in balanced.log.read_text(), "the request to be logged")
    assert "secret" not in balanced.log.read_text()
