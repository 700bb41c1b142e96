"""Receivers of alerts for tests: a webhook and a mail server on this machine, each in a thread."""

from __future__ import annotations

import http.server
import json
import socketserver
import threading
from email import message_from_bytes
from email.message import Message
from typing import Any, Self

from tests.servers import HOST


class _Threaded:
    """A server that runs between `with` and its end."""

    server: socketserver.BaseServer

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


class Webhook(_Threaded):
    """Keeps what is posted: path, headers, body. `status` is answered."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, dict[str, str], bytes]] = []
        self.status = 200
        webhook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                webhook.posts.append((self.path, dict(self.headers), body))
                self.send_response(webhook.status)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing on the screen."""

        self.server = http.server.ThreadingHTTPServer((HOST, 0), Handler)
        self.url = f"http://{HOST}:{self.server.server_address[1]}"

    def bodies(self, path: str) -> list[dict[str, Any]]:
        """The documents that were posted to a path."""
        return [json.loads(body) for one, _, body in list(self.posts) if one == path]

    def headers(self, path: str) -> list[dict[str, str]]:
        """The headers of these."""
        return [headers for one, headers, _ in list(self.posts) if one == path]


class MailServer(_Threaded):
    """Takes every mail: (receivers, message). It speaks as much of SMTP as a client needs."""

    def __init__(self, port: int = 0) -> None:
        self.mails: list[tuple[list[str], Message]] = []
        server = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                server._talk(self)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self.server = Server((HOST, port), Handler)
        self.port = int(self.server.server_address[1])

    def _talk(self, handler: socketserver.StreamRequestHandler) -> None:
        def say(line: str) -> None:
            handler.wfile.write(f"{line}\r\n".encode())

        receivers: list[str] = []
        say("220 test")
        while line := handler.rfile.readline().decode():
            word = line[:4].upper()
            if word == "DATA":
                say("354 go on")
                self.mails.append((receivers, message_from_bytes(_data(handler))))
                receivers = []
            elif word == "RCPT":
                receivers.append(line.partition("<")[2].partition(">")[0])
            say("221 bye" if word == "QUIT" else "250 ok")
            if word == "QUIT":
                return

    def to(self, receiver: str) -> list[Message]:
        """The mails to an address."""
        return [mail for receivers, mail in list(self.mails) if receiver in receivers]


def _data(handler: socketserver.StreamRequestHandler) -> bytes:
    lines = []
    while (line := handler.rfile.readline()) not in (b".\r\n", b""):
        lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
    return b"".join(lines)
