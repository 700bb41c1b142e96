"""Requests to the Web API of a running system, for its tests."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from typing import Any

from tests.system import System
from tests.traffic import Sender


class Api:
    """Requests with a token of its own."""

    def __init__(self, system: System, token: str = "") -> None:
        self._url = system.ready["console_url"]
        self._token = token or system.ready["auth_token"]

    def __call__(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        status, document = self.answer(method, path, body, **query)
        assert status < 300, (status, document)
        return document

    def answer(self, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, Any]:
        """Status and document."""
        url = f"{self._url}/api/0{path}?{urllib.parse.urlencode(query, doseq=True)}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Authorization": f"Bearer {self._token}"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as found:
                return found.status, json.loads(found.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())


def send_error(sender: Sender, kind: str, *, user: str = "", release: str = "", **fields: Any) -> str:
    """Sends one error; returns its id once it is a row."""
    event_id = uuid.uuid4().hex
    frames = [{"filename": "pay.py", "function": kind, "lineno": 7, "in_app": True}]
    error = {"type": kind, "value": "no payment", "stacktrace": {"frames": frames}}
    named = {"user": {"id": user}} if user else {}
    sent = {"exception": {"values": [error]}, "timestamp": time.time(), "release": release, **named, **fields}
    assert sender.event("", event_id, **sent) == 200
    stored = "SELECT 1 FROM error_rows WHERE event_id = {id:UUID}"
    sender.system.rows(stored, id=str(uuid.UUID(event_id)))
    return event_id
