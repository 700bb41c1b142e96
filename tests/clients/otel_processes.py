"""Programs that OpenTelemetry tests start: told where to send as users tell them, and ended by their ids."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

PROGRAM_TIMEOUT_S = 300
STOP_TIMEOUT_S = 20

Command = Sequence[str | Path]
Facts = dict[str, Any]


def otel_environment(ready: Facts, service: str, **settings: str) -> dict[str, str]:
    """The OTEL_* variables that point an SDK at the system of `ready` (ready.json), and `settings`."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": ready["url"],
        "OTEL_EXPORTER_OTLP_HEADERS": f"X-API-Key={ready['api_key']},X-Axonpush-Channel={ready['channel']}",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_SERVICE_NAME": service,
    } | settings


def facts_of(command: Command, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Facts:
    """Runs a program to its end; returns the JSON object on the last line it prints. Fails the test when it fails."""
    return facts_and_log_of(command, env, cwd)[0]


def facts_and_log_of(
    command: Command, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> tuple[Facts, str]:
    """The same, and all it wrote to its standard error."""
    done = subprocess.run(
        command,
        env=_environment(env),
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=PROGRAM_TIMEOUT_S,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@contextlib.contextmanager
def running(command: Command, log: Path, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A program for as long as the block: its output goes to `log`, its input is a pipe; asked to stop, then ended."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env=_environment(env), stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            yield process
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _environment(settings: Mapping[str, str] | None) -> dict[str, str]:
    """This environment without a developer's own OTEL_* settings, plus `settings`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return inherited | dict(settings or {})
