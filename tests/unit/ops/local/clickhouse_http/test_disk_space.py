"""Room on the disk for answers that are held back."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.local.clickhouse_http import disk_space
from ops.local.clickhouse_http.disk_space import SPARED_BYTES, SPOOL_BYTES, spool_bytes


@pytest.mark.parametrize(
    ("free_bytes", "expected_bytes"),
    [(0, 0), (SPARED_BYTES, 0), (SPARED_BYTES + 64 * 1000, 1000), (1 << 50, SPOOL_BYTES)],
)
def test_all_answers_together_leave_room(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free_bytes: int, expected_bytes: int
) -> None:
    monkeypatch.setattr(disk_space, "free_bytes", lambda _folder: free_bytes)
    assert spool_bytes(tmp_path) == expected_bytes
