"""The dependency audit of `make check`: findings fail, an index that cannot answer is said and does not."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


def load() -> Any:
    """.ci/audit.py, which is no module of ours."""
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


verdict: Callable[[str, str], tuple[int, str]] = load().verdict
GOOD = {"name": "good", "version": "1", "vulns": []}
BAD = {"name": "bad", "version": "2", "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["3"]}]}
SKIPPED = {"name": "unknown", "skip_reason": "Dependency not found on PyPI and could not be audited: unknown (1)"}


@pytest.mark.parametrize(
    ("dependencies", "code", "told"),
    [
        ([GOOD], 0, "no known vulnerability in 1 packages"),
        ([GOOD, BAD], 1, "bad 2: PYSEC-1 CVE-1, fixed in 3"),
        ([BAD, SKIPPED], 1, "PYSEC-1"),
        ([GOOD, SKIPPED], 0, "NOT AUDITED: unknown"),
        ([SKIPPED], 0, "NOT AUDITED"),
        ([], 0, "NOT AUDITED"),
    ],
)
def test_a_finding_fails_and_a_gap_is_said(dependencies: list[dict[str, Any]], code: int, told: str) -> None:
    """A mirror without advisories answers as if there were none: that must not read like a clean bill."""
    found = verdict(json.dumps({"dependencies": dependencies, "fixes": []}), "")
    assert found[0] == code
    assert told in found[1]


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ("requests.exceptions.ConnectionError: HTTPSConnectionPool(host='pypi.org'): Max retries exceeded", 0),
        ("requests.exceptions.ProxyError: Unable to connect to proxy", 0),
        ("requests.exceptions.ReadTimeout: timed out", 0),
        ("pip_audit: error: unrecognized arguments", 1),
        ("No module named pip_audit", 1),
        ("", 1),
    ],
)
def test_only_an_index_out_of_reach_is_forgiven(errors: str, code: int) -> None:
    """A broken audit is no passed audit."""
    found = verdict("", errors)
    assert found[0] == code
    assert ("NOT AUDITED" in found[1]) is (code == 0)


def test_make_check_audits() -> None:
    """And so does the merge, which runs it."""
    assert ".ci/audit.py" in (ROOT / "Makefile").read_text()
    assert "make check" in (ROOT / ".ci" / "run").read_text()
