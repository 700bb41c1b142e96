"""A real Chromium that a test drives, on the console's page. No test lives here."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from typing import Any

from tests.clients.toolchains import npm_project, require_chromium, require_node

DESKTOP = (1280, 800)
PHONE = (390, 800)
STOP_TIMEOUT_S = 15.0


class Browser:
    """One browser; `open` gives it a new window with an empty profile."""

    def __init__(self, process: subprocess.Popen[str], origin: str) -> None:
        self._process = process
        self.origin = origin

    def __getattr__(self, method: str) -> Any:
        def call(**given: Any) -> Any:
            return self.do(method, **given)

        return call

    def do(self, method: str, **given: Any) -> Any:
        """Does it and returns what it gives; fails the test when the browser could not."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"method": method, **given}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"error": "the browser has ended"}
        assert "error" not in answer, f"{method} {given}: {answer['error']}"
        return answer["result"]

    def window(self, size: tuple[int, int] = DESKTOP, *, dark: bool = False, bypass: bool = False) -> None:
        """A new window. `bypass`: without the page's policy, so that axe can be put into it."""
        self.do("open", width=size[0], height=size[1], dark=dark, bypass=bypass, origin=self.origin)

    def visit(self, path: str) -> None:
        """Goes to a path of the page."""
        self.do("goto", url=self.origin + path)

    def sign_in(self, token: str, then: str = "/") -> None:
        """By the form, and on to a path."""
        self.visit("/sign-in")
        self.do("fill", selector="#token", text=token)
        self.do("press", key="Enter")
        self.do("wait", selector="header.top")
        if then != "/":
            self.visit(then)
            self.do("wait", selector="header.top")


@contextlib.contextmanager
def open_browser(origin: str) -> Iterator[Browser]:
    """Runs until the block ends. Skips where Chromium or node is missing."""
    chromium, node = require_chromium(), require_node()
    folder = npm_project("console-page")
    with subprocess.Popen(
        [node, "browser.js", chromium], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Browser(process, origin)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
