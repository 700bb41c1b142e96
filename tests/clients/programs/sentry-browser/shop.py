"""A shop's own web server: pages with a Content-Security-Policy, and a checkout which goes on with the page's trace.

Arguments: DSN, release, the folder of the pages, and a file with key and certificate. Prints its http and its https
port, then serves until it is ended. By https it is also the proxy in front of the receiver: `/api/` is handed on.
"""

from __future__ import annotations

import json
import ssl
import sys
import threading
import urllib.error
import urllib.request
from email.message import Message
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import sentry_sdk

dsn, release, folder, certificate = sys.argv[1:]
RECEIVER = "http://" + urlsplit(dsn).netloc.rpartition("@")[2]
POLICIES = {"policy": "Content-Security-Policy", "endpoints": "Reporting-Endpoints"}
# What concerns one connection only.
HOP = {"connection", "content-length", "date", "host", "server", "transfer-encoding"}


class Shop(SimpleHTTPRequestHandler):
    """`/checkout` reports within the caller's trace; everything else is a file."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments, directory=folder)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """A page, with the policies that its query asks for."""
        if urlsplit(self.path).path == "/checkout":
            self.checkout()
        else:
            super().do_GET()

    def checkout(self) -> None:
        """A transaction which continues what the browser began."""
        with sentry_sdk.start_transaction(
            sentry_sdk.continue_trace(dict(self.headers), op="http.server", name="GET /checkout")
        ):
            sentry_sdk.capture_message("checkout is slow", level="warning")
        sentry_sdk.flush(timeout=20)
        self.send_response(204)
        self.end_headers()

    def do_POST(self) -> None:
        """Handed on to the receiver, and its answer back."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = urllib.request.Request(
            RECEIVER + self.path,
            body if self.command == "POST" else None,
            _end_to_end(self.headers),
            method=self.command,
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                self.answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as refusal:
            self.answer(refusal.code, refusal.headers, refusal.read())

    do_OPTIONS = do_POST

    def answer(self, status: int, headers: Message[str, str], body: bytes) -> None:
        """What the receiver said."""
        self.send_response(status)
        for name, value in _end_to_end(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        super().end_headers()
        self.wfile.write(body)

    def end_headers(self) -> None:
        """The headers that make the browser itself send reports."""
        query = parse_qs(urlsplit(self.path).query)
        for name, header in POLICIES.items():
            if name in query:
                self.send_header(header, query[name][0])
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Quiet."""


def _end_to_end(headers: Message[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in HOP}


sentry_sdk.init(
    dsn=dsn, release=release, environment="staging", traces_sample_rate=1.0, auto_enabling_integrations=False
)
plain, secure = (ThreadingHTTPServer(("127.0.0.1", 0), Shop) for _ in range(2))
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate)
secure.socket = context.wrap_socket(secure.socket, server_side=True)
threading.Thread(target=secure.serve_forever, daemon=True).start()
print(json.dumps({"http": plain.server_port, "https": secure.server_port}), flush=True)
plain.serve_forever()
