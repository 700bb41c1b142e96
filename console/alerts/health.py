"""HTTP endpoints of the process, in a thread: `/health`, `/ready` and `/metrics`."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from ops.runtime.process.start_errors import port_failure

# Parts of the process: those that have to work, and whether it evaluates, which only one process does.
Health = Callable[[], Mapping[str, bool]]
_EVALUATES: Final = "evaluates"


def serve(host: str, port: int, health: Health) -> ThreadingWSGIServer:
    """Serves for as long as the process lives. Raises Failed when the port cannot be had."""
    application = Application(health)
    try:
        server = make_server(host, port, application, ThreadingWSGIServer, handler_class=_SilentHandler)
    except OSError as error:
        raise port_failure(error, port, "AXONPUSH_ALERTS_PORT") from error
    threading.Thread(target=server.serve_forever, daemon=True, name="health").start()
    assert isinstance(server, ThreadingWSGIServer)
    return server


class Application:
    """The WSGI application."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._metrics = make_wsgi_app()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = str(environ.get("PATH_INFO", "")).rstrip("/")
        if path == "/metrics":
            answer: Iterable[bytes] = self._metrics(environ, start)
            return answer
        if path == "/health":
            return _json(start, "200 OK", {"status": "up"})
        if path != "/ready":
            return _json(start, "404 Not Found", {"detail": "expected /health, /ready or /metrics"})
        parts = dict(self._health())
        is_ready = all(works for name, works in parts.items() if name != _EVALUATES)
        status = "200 OK" if is_ready else "503 Service Unavailable"
        return _json(start, status, {"status": "ready" if is_ready else "not ready", **parts})


def _json(start: Callable[..., Any], status: str, document: Mapping[str, object]) -> Iterable[bytes]:
    start(status, [("Content-Type", "application/json")])
    return [json.dumps(document).encode()]


class _SilentHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Logs no line for each request."""
