"""The Sentry SDKs that run one and the same shop: how each is started, and what is its own. No test lives here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.clients.toolchains import (
    PROGRAMS,
    go_program,
    java_project,
    npm_project,
    python_interpreter,
    require_java,
    require_node,
    rust_program,
)

PROGRAM_TIMEOUT_S = 300
ENVIRONMENT = "staging"

Facts = dict[str, Any]


def npm_pin(name: str, package: str) -> str:
    """The version of `package` in programs/`name`/package.json."""
    pinned: str = json.loads((PROGRAMS / name / "package.json").read_text())["dependencies"][package]
    return pinned


def cli_version(major: str) -> str:
    """The version of sentry-cli 2 or 3 in programs/source-maps."""
    return npm_pin("source-maps", f"sentry-cli-{major}").rpartition("@")[2]


def cli_program(project: Path, major: str) -> Path:
    """The program of sentry-cli 2 or 3 in the installed programs/source-maps."""
    [found] = (
        path
        for path in (project / "node_modules").rglob("cli-linux-x64/bin/sentry-cli")
        if json.loads((path.parents[1] / "package.json").read_text())["version"] == cli_version(major)
    )
    return found


def text_pin(path: str, pattern: str) -> str:
    """The version that `pattern` finds in programs/`path`."""
    found = re.search(pattern, (PROGRAMS / path).read_text())
    assert found, f"expected {pattern} in {path}"
    return found[1]


def run(command: Sequence[str | Path], folder: Path | None = None, *, exit_code: int = 0, **settings: str) -> str:
    """What a program prints; it has to end with `exit_code`."""
    done = subprocess.run(
        [*map(str, command)],
        cwd=folder,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=PROGRAM_TIMEOUT_S,
    )
    assert done.returncode == exit_code, f"{command[0]} {command[1:2]}: {done.stdout}{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Client:
    """One SDK and its program. `command` makes the command line, installing what it needs; the rest is its own."""

    name: str
    version: str
    command: Callable[[], list[str | Path]]
    sdk: str
    error: tuple[str, str]
    causes: tuple[str, ...] = ()

    def send(self, dsn: str, release: str) -> Facts:
        """Runs the program; what it says on its last line."""
        said: Facts = json.loads(run([*self.command(), dsn, release]).splitlines()[-1])
        assert said["version"] == self.version
        return said


def _python(name: str) -> list[str | Path]:
    return [python_interpreter(name), PROGRAMS / name / "main.py"]


def _node(name: str) -> list[str | Path]:
    return [require_node(), npm_project(name) / "main.js"]


def _java(name: str) -> list[str | Path]:
    project = java_project(name)
    return [require_java(), "-cp", f"{project / 'jars'}/*:{project / 'classes'}", "Shop"]


PYTHON = Client(
    name="sentry-sdk (Python)",
    version=version("sentry-sdk"),
    command=lambda: [sys.executable, PROGRAMS / "sentry-python" / "main.py"],
    sdk="sentry.python",
    error=("PaymentRefused", "no payment of 3"),
    causes=("ConnectionError", "ValueError"),
)
PYTHON_1 = Client(
    name="sentry-sdk (Python), 1.x",
    version=text_pin("sentry-python-1/requirements.txt", r"sentry-sdk==(\S+)"),
    command=lambda: _python("sentry-python-1"),
    sdk="sentry.python",
    error=("RuntimeError", "no payment of 3"),
    causes=("ValueError",),
)
RAVEN = Client(
    name="raven (Python)",
    version=text_pin("raven-python/requirements.txt", r"raven==(\S+)"),
    command=lambda: _python("raven-python"),
    sdk="raven-python",
    error=("RuntimeError", "no payment of 3"),
    causes=("ValueError",),
)
NODE = Client(
    name="@sentry/node",
    version=npm_pin("sentry-node", "@sentry/node"),
    command=lambda: _node("sentry-node"),
    sdk="sentry.javascript.node",
    error=("PaymentRefused", "no payment of 3"),
    causes=("Error",),
)
NODE_7 = Client(
    name="@sentry/node, 7.x",
    version=npm_pin("sentry-node-7", "@sentry/node"),
    command=lambda: _node("sentry-node-7"),
    sdk="sentry.javascript.node",
    error=("TypeError", "no payment of 3"),
)
GO = Client(
    name="sentry-go",
    version=text_pin("sentry-go/go.mod", r"sentry-go v(\S+)"),
    command=lambda: [go_program("sentry-go")],
    sdk="sentry.go",
    error=("*fmt.wrapError", "no payment of 3: card expired"),
)
JAVA = Client(
    name="io.sentry:sentry (Java)",
    version=text_pin("java-sentry/pom.xml", r">sentry</artifactId>\s*<version>([^<]+)"),
    command=lambda: _java("java-sentry"),
    sdk="sentry.java",
    error=("IllegalStateException", "no payment of 3"),
    causes=("IllegalArgumentException",),
)
RUST = Client(
    name="sentry (Rust)",
    version=text_pin("rust-shops/Cargo.toml", r'dependencies.sentry\]\s*version = "=([^"]+)'),
    command=lambda: [rust_program("rust-shops", "sentry-rust")],
    sdk="sentry.rust",
    error=("PaymentRefused", "no payment of 3"),
    causes=("CardExpired",),
)


class Sent:
    """What one run of one client sent, and its rows: all of them carry a release no other run has."""

    def __init__(self, client: Client, ready: Facts, sql: Any) -> None:
        self.client, self.ready, self.sql = client, ready, sql
        self.release = f"shop@1.0.0+{uuid4().hex}"
        dsn = ready["dsn"].replace(ready["public_token"], ready["api_key"])
        self.facts = client.send(dsn, self.release)

    def rows(self, item_type: str, count: int) -> list[Facts]:
        """The `count` rows of a type, in their order, after looking at what all rows of a client have in common."""
        where = f"release = '{self.release}' AND item_type = '{item_type}'"
        found: list[Facts] = self.sql.wait(f"SELECT * FROM events WHERE {where} ORDER BY timestamp, event_id", count)
        for row in found:
            assert row["channel_id"] == self.ready["channel"]
            assert row["environment"] == ENVIRONMENT
            assert (row["sdk_name"], row["sdk_version"]) == (self.client.sdk, self.client.version)
            assert row["payload"]
            assert not row["repairs"], row["repairs"]
        return found

    def row(self, event_id: str) -> Facts:
        """The row of an event, which has its own id."""
        query = f"SELECT * FROM events WHERE release = '{self.release}' AND event_id = toUUID('{_dashed(event_id)}')"
        (found,) = self.sql.wait(query, 1)
        row: Facts = found
        return row


def sends(feature: str, result: str, *clients: Client) -> pytest.MarkDecorator:
    """Runs a test with what each of `clients` sent, and claims the feature for each."""
    cases = [
        pytest.param(client, id=client.name, marks=pytest.mark.proves(client.name, client.version, feature, result))
        for client in clients
    ]
    return pytest.mark.parametrize("sent", cases, indirect=True)


def _dashed(event_id: str) -> str:
    hexadecimal = event_id.replace("-", "")
    return "-".join((hexadecimal[:8], hexadecimal[8:12], hexadecimal[12:16], hexadecimal[16:20], hexadecimal[20:]))
