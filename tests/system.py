"""A whole running system for tests: the real `axonpush up` in a folder of its own, and questions to ask it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import urllib.error
import urllib.parse
from pathlib import Path
from typing import Any

from ops.cli.servers import CLICKHOUSE_USERS
from ops.local.clickhouse_http.access import users
from ops.local.data_dir import MARKER
from tests.commands import COMMAND, commands
from tests.polling import DEADLINE_S, eventually
from tests.servers import environment, opened

START_DEADLINE_S = 120.0
STOP_DEADLINE_S = 120.0


class System:
    """`axonpush up` on free ports. Settings are environment variables for it and its children."""

    def __init__(self, folder: Path, *arguments: str, **settings: str) -> None:
        self.data_dir = folder / "data"
        self.output = folder / "up.log"
        self.arguments = arguments
        self.environment = environment(**settings)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> System:
        """Runs it and returns when ready.json is there; one that a killed run left behind does not count."""
        (self.data_dir / "ready.json").unlink(missing_ok=True)
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                self.up_command(), stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=self.environment
            )
        eventually(self._ready_or_ended, "ready.json", START_DEADLINE_S)
        return self

    def up_command(self) -> list[str]:
        """The command line of `start`."""
        ports = ["--port", "0", "--clickhouse-port", "0", "--nats-port", "0", "--console-port", "0"]
        return [*COMMAND, "up", "--data-dir", str(self.data_dir), *ports, *self.arguments]

    @property
    def ready(self) -> dict[str, Any]:
        """ready.json as it is now; empty while there is none."""
        try:
            found: dict[str, Any] = json.loads((self.data_dir / "ready.json").read_bytes())
        except FileNotFoundError:
            return {}
        return found

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Asks it to stop, waits, and returns its exit code; whatever is left is ended."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        try:
            return self.process.wait(STOP_DEADLINE_S)
        finally:
            self.end()

    def end(self) -> None:
        """Ends what still runs, by its process id, without asking."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def processes(self) -> list[int]:
        """Processes which this system's `up` has started and which still run."""
        mark = f"{MARKER}={self.data_dir.resolve()}".encode()
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _has(entry, mark)]

    def cli(self, *arguments: str, check: bool = True, **settings: str) -> subprocess.CompletedProcess[str]:
        """Runs `axonpush` with --data-dir of this system; fails the test when it fails and `check` is set.

        With the address of another server among `settings`, the rest of this system is named by address too.
        """
        own: tuple[str, ...] = ("--data-dir", str(self.data_dir))
        if settings.keys() & {"AXONPUSH_NATS_URL", "AXONPUSH_CLICKHOUSE_URL"}:  # refused beside --data-dir
            own = ()
            if "AXONPUSH_NATS_URL" not in settings:
                settings["AXONPUSH_NATS_URL"] = self.ready["nats_url"]
            if "AXONPUSH_CLICKHOUSE_URL" not in settings:
                settings["AXONPUSH_CLICKHOUSE_URL"] = self.operator_url()
        done = commands.run([*arguments, *own], self.environment | settings, STOP_DEADLINE_S)
        assert not check or done.returncode == 0, f"axonpush {arguments}: {done.stdout}{done.stderr}"
        return done

    def mint(self, *arguments: str, environment: str = "development") -> str:
        """A new key, in clear text."""
        done = self.cli("keys", "mint", "--environment", environment, "--json", *arguments)
        return str(json.loads(done.stdout)["key"])

    def query(self, sql: str, **parameters: object) -> list[dict[str, Any]]:
        """Rows of a query in database axonpush; `parameters` fill {name:Type}."""
        rows: list[dict[str, Any]] = json.loads(self._ask(self.ready["clickhouse_url"], sql, parameters))["data"]
        return rows

    def query_only(self, sql: str, **parameters: object) -> bytes:
        """The answer as it came, which is empty for a statement without rows; with the operator's rights."""
        return self._ask(self.operator_url(), sql, parameters)

    def _ask(self, address: str, sql: str, parameters: dict[str, object]) -> bytes:
        given = {f"param_{name}": str(value) for name, value in parameters.items()}
        options = {"database": "axonpush", "default_format": "JSON", "output_format_json_quote_64bit_integers": "0"}
        url = f"{address}/?{urllib.parse.urlencode(options | given)}"
        try:
            with opened(url, sql.encode()) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{sql}: {error.read().decode(errors='replace')}") from None

    def broker_user(self) -> dict[str, str]:
        """User and password for a broker that was named by settings; the address of an embedded one has them."""
        named = {"user": "AXONPUSH_NATS_USER", "password": "AXONPUSH_NATS_PASSWORD"}
        return {name: self.environment[setting] for name, setting in named.items() if setting in self.environment}

    def operator_url(self) -> str:
        """The address of ClickHouse with the user that may change tables."""
        return operator_url(self.ready)

    def rows(
        self, sql: str, at_least: int = 1, deadline_s: float = DEADLINE_S, **parameters: object
    ) -> list[dict[str, Any]]:
        """Rows of a query, as soon as there are `at_least` that many."""

        def enough() -> list[dict[str, Any]]:
            found = self.query(sql, **parameters)
            return found if len(found) >= at_least else []

        return eventually(enough, f"{at_least} rows of: {sql}", deadline_s)

    def _ready_or_ended(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"up ended: {self.output.read_text(errors='replace')[-4000:]}"
        return bool(self.ready)


def operator_url(ready: dict[str, Any]) -> str:
    """The address of ready.json's ClickHouse with the operator in place of the reader."""
    password = ready[CLICKHOUSE_USERS].get(users.OPERATOR)
    parts = urllib.parse.urlsplit(ready["clickhouse_url"])
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{users.OPERATOR}:{password}@{host}").geturl() if password else parts.geturl()


def _has(entry: Path, mark: bytes) -> bool:
    try:
        return mark in (entry / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
