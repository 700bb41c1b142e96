"""Sessions and live logs through the real broker and engine."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any

import pytest

from tests.live.conftest import MakeSender
from tests.system import System

pytestmark = pytest.mark.live


def ask(
    system: System, method: str, path: str, body: Any = None, cookie: str = "", **headers: str
) -> tuple[int, dict[str, Any], str]:
    """Status, document, and the cookie that was set; as a browser on our page asks."""
    sent = {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/json", **headers}
    if cookie:
        sent["Cookie"] = cookie
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(system.ready["console_url"] + path, data, sent, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            stated = (answer.headers["Set-Cookie"] or "").partition(";")[0]
            return answer.status, json.loads(answer.read() or b"{}"), stated
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read() or b"{}"), ""


def test_the_link_of_up_signs_in_once_and_signing_out_ends_it(operated: System) -> None:
    """The console may write its own entries of the broker, and no others are needed."""
    code = operated.ready["console_login_url"].partition("#code=")[2]
    status, told, cookie = ask(operated, "POST", "/session", {"code": code})
    assert (status, told["organisation"]["slug"]) == (201, "default")
    assert ask(operated, "POST", "/session", {"code": code})[0] == 401
    issues = "/api/0/organizations/default/issues/"
    assert ask(operated, "GET", issues, cookie=cookie)[0] == 200
    assert ask(operated, "DELETE", "/session", cookie=cookie)[0] == 403
    assert ask(operated, "DELETE", "/session", cookie=cookie, **{"X-Axonpush-Page": told["pageToken"]})[0] == 204
    assert ask(operated, "GET", issues, cookie=cookie)[0] == 401


def test_a_log_arrives_in_a_stream(operated: System, new_sender: MakeSender) -> None:
    """Sent while the stream is open; the engine answers its questions."""
    sender = new_sender()
    token = operated.ready["auth_token"]
    url = f"{operated.ready['console_url']}/api/0/organizations/default/logs/live/?project={sender.channel}"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=60) as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        assert stream.readline() == b"retry: 2000\n"
        assert sender.event("hello to the stream", timestamp=time.time()) == 200
        found: list[str] = []
        while "hello to the stream" not in found:
            line = stream.readline()
            assert line, "the stream ended before the line"
            if line.startswith(b"data: "):
                found += [one["message"] for one in json.loads(line[6:])["lines"]]
