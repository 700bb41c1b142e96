"""HTTP endpoints of a worker process: `/metrics`, and `/ready`: whether its durables exist and ClickHouse answers."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from workers import metrics

StartResponse = Callable[..., Any]


def serve(port: int, host: str = "0.0.0.0") -> ThreadingWSGIServer:
    """Serves in a thread of its own for as long as the process lives. Raises OSError when the port is taken."""
    server = make_server(host, port, _app, ThreadingWSGIServer, handler_class=_Silent)
    threading.Thread(target=server.serve_forever, daemon=True, name="metrics").start()
    assert isinstance(server, ThreadingWSGIServer)
    return server


def missing() -> list[str] | None:
    """Workers of this process whose durable is missing; None before the broker was asked."""
    unbound = {
        sample.labels["worker"]: sample.value for metric in metrics.UNBOUND.collect() for sample in metric.samples
    }
    return sorted(worker for worker, value in unbound.items() if value) if unbound else None


def refused_tables() -> list[str]:
    """What ClickHouse refuses: tables, or `start` while it has not answered yet."""
    samples = (sample for metric in metrics.CLICKHOUSE_REFUSES.collect() for sample in metric.samples)
    return sorted(sample.labels["table"] for sample in samples if sample.value)


def health(workers: Sequence[str]) -> dict[str, object]:
    """For `axonpush status`: which process this is, and what ClickHouse refuses."""
    return {
        "process": f"{socket.gethostname()} pid {os.getpid()}",
        "workers": list(workers),
        "refused": refused_tables(),
    }


def _app(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
    if environ.get("PATH_INFO", "").rstrip("/") == "/ready":
        return _ready(start)
    answer: Iterable[bytes] = _metrics(environ, start)
    return answer


def _ready(start: StartResponse) -> Iterable[bytes]:
    missing_workers, refused = missing(), refused_tables()
    if missing_workers == [] and not refused:
        start("200 OK", _headers())
        return [json.dumps({"status": "ready"}).encode()]
    answer: dict[str, object] = {"status": "not ready", "connected": missing_workers is not None}
    if missing_workers:
        answer |= {
            "missing_durables": missing_workers,
            "remedy": "run `axonpush migrate`; a janitor creates them again by itself",
        }
    if refused:
        answer |= {"clickhouse": "not ready", "refused": refused, "log": "waiting_for_clickhouse or insert_held"}
    start("503 Service Unavailable", _headers())
    return [json.dumps(answer).encode()]


def _headers() -> list[tuple[str, str]]:
    """A new list each time: wsgiref adds the length of this answer to it."""
    return [("Content-Type", "application/json")]


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Logs no line for each request."""


_metrics: Final = make_wsgi_app()
