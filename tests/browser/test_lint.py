"""The page's modules, read by Biome: names that nobody declares or exports, what nobody uses, long functions."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from console.page.files import STATIC
from tests.clients.toolchains import npm_project

pytestmark = pytest.mark.clients


def lint(folder: Path, fault: str = "") -> subprocess.CompletedProcess[str]:
    """Biome over a copy of the page, by the rules of `programs/page-lint/biome.json`."""
    project = npm_project("page-lint")
    shutil.copytree(STATIC, folder / "static")
    shutil.copy(project / "biome.json", folder)
    if fault:
        (folder / "static" / "fault.js").write_text(fault)
    biome = project / "node_modules" / ".bin" / "biome"
    return subprocess.run(
        [str(biome), "lint", "--error-on-warnings", "--max-diagnostics=100", "static"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=folder,
        env=os.environ | {"NO_COLOR": "1"},
    )


def test_the_page_keeps_the_rules(tmp_path: Path) -> None:
    """No bundler reads these modules: what is misspelt in one is seen by whoever opens its view."""
    done = lint(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ('import { nothing } from "./dom/text.js"; nothing();', "noUnresolvedImports"),
        ("export const twice = () => undeclared * 2;", "noUndeclaredVariables"),
        ('import { text } from "./dom/text.js";', "noUnusedImports"),
    ],
)
def test_a_fault_is_seen(tmp_path: Path, fault: str, rule: str) -> None:
    """Or the test above would promise nothing."""
    done = lint(tmp_path, fault)
    assert done.returncode != 0
    assert rule in done.stdout + done.stderr
