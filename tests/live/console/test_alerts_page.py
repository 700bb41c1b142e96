"""docs/alerts.md: every block does what the page says, in order, in the shell of a reader."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import environment, free_port
from tests.system import System

pytestmark = [pytest.mark.live, pytest.mark.long]

PAGE = (Path(__file__).parents[3] / "docs/alerts.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
TIMEOUT_S = 300


def test_every_block_runs(tmp_path: Path) -> None:
    """On a fresh `axonpush up`: the receiver of the page checks the signature of a real message."""
    if shutil.which("curl") is None or shutil.which("bash") is None:
        pytest.skip("curl and bash are needed to run the page")
    system = System(tmp_path)
    try:
        system.start()
        (tmp_path / ".axonpush").symlink_to(system.data_dir)
        text = "set -euo pipefail\ntrap 'kill $(jobs -p) 2> /dev/null || true' EXIT\n" + "\n".join(BLOCKS)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", text],
            cwd=tmp_path,
            env=environment() | {"PATH": path, "PORT": str(free_port())},
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        assert len(BLOCKS) >= 5
        received = [json.loads(line) for line in (tmp_path / "received.txt").read_text().splitlines()]
        assert [one["test"] for one in received] == [True, False]
        assert received[1]["issue"]["title"] == "CardRefused: no money"
        assert "delivered (1)" in done.stdout
        assert [row["name"] for row in system.query("SELECT name FROM alert_rules ORDER BY name")] == [
            "Many errors", "New issues",
        ]  # fmt: skip
    finally:
        system.end()
