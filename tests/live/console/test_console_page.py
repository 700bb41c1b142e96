"""docs/console.md: every block does what the page says, in order, in the shell of a reader."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.servers import environment
from tests.system import System
from tests.traffic import Sender

pytestmark = [pytest.mark.live, pytest.mark.long]

PAGE = (Path(__file__).parents[3] / "docs/console.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
TIMEOUT_S = 300


def test_every_block_runs(tmp_path: Path) -> None:
    """On a fresh `axonpush up`, with one error in it. A command that fails stops the test."""
    if shutil.which("curl") is None or shutil.which("bash") is None:
        pytest.skip("curl and bash are needed to run the page")
    system = System(tmp_path)
    try:
        system.start()
        event_id = uuid.uuid4().hex
        assert Sender(system, 1).event("", event_id, exception={"values": [{"type": "KeyError", "value": "x"}]}) == 200
        system.rows("SELECT 1 FROM error_rows")
        (tmp_path / ".axonpush").symlink_to(system.data_dir)
        text = "set -euo pipefail\n" + "\n".join(BLOCKS)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", text],
            cwd=tmp_path,
            env=environment() | {"PATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        assert len(BLOCKS) >= 5
        for expected in ('"slug":"shop"', '"shortId":"FIRST-', '"environment":"production"'):
            assert expected in done.stdout
        assert (tmp_path / "token.txt").read_text().startswith("sntrys_")
        (row,) = system.query("SELECT status, times FROM issues")
        assert row == {"status": "resolved", "times": 1}
        assert system.query("SELECT version FROM releases") == []
    finally:
        system.end()
