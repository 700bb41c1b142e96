"""docs/releases.md: every line of its blocks is run, in order, as a pipeline would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import PROGRAM_TIMEOUT_S
from tests.clients.sentry_clients import cli_program, run
from tests.clients.test_source_maps import PROGRAM, READABLE, send, thrown, wait_until_readable
from tests.clients.toolchains import npm_project

pytestmark = pytest.mark.clients

PAGE = Path(__file__).parents[2] / "docs/releases.md"


def test_each_line_of_the_page_works_and_the_error_is_readable(
    system: Any, ready: Any, sql: Any, tmp_path: Path
) -> None:
    """`axonpush` is this system's; `sentry-cli` is the newest that the client tests have."""
    project = npm_project(PROGRAM)
    esbuild, output = project / "node_modules/.bin/esbuild", tmp_path / "dist/app.min.js"
    run([esbuild, project / "src/index.js", "--bundle", "--minify", "--sourcemap", f"--outfile={output}"])
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 4
    commands = tmp_path / "commands"
    commands.mkdir()
    for name, command in {
        "axonpush": f'{sys.executable} -m ops.cli "$@" --data-dir {system.data_dir}',
        "sentry-cli": f'{cli_program(project, "3")} "$@"',
    }.items():
        (commands / name).write_text(f"#!/bin/sh\nexec {command}\n")
        (commands / name).chmod(0o755)
    environment = os.environ | system.environment | {"PATH": f"{commands}:{os.environ['PATH']}"}
    script = "set -ex\n" + "\n".join(blocks)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PROGRAM_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "shop@1.0.0" in done.stdout
    row = wait_until_readable(sql, send(ready, thrown(output, "shop@1.0.0")))
    assert READABLE in row["exception_stacktrace"]
