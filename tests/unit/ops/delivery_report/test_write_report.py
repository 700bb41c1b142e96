"""The janitor's report for the page: only while somebody looks, and never at the price of the janitor."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from nats.js.errors import NotFoundError

from ops.delivery_report import write_report
from ops.runtime.settings import Settings
from schemas.subjects import DELIVERY_LOOK_S

pytestmark = pytest.mark.asyncio


class Bucket:
    """The entry that a console writes."""

    def __init__(self, wanted: bytes | None) -> None:
        self.wanted = wanted

    async def get_last_msg(self, *_: Any, **__: Any) -> Any:
        if self.wanted is None:
            raise NotFoundError
        return SimpleNamespace(data=self.wanted)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, False),
        (b"", False),
        (b"x", False),
        (b"\xff", False),
        (b"1000", True),
        (str(int(1000 - DELIVERY_LOOK_S)).encode(), False),
        (b"-1", False),
    ],
)
async def test_a_report_is_made_while_somebody_looks(
    monkeypatch: pytest.MonkeyPatch, wanted: bytes | None, expected: bool
) -> None:
    """A minute after the last look it stops; what is no time is no look."""
    monkeypatch.setattr(write_report.time, "time", lambda: 1000.0)
    assert await write_report._is_wanted(Bucket(wanted)) is expected  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [ValueError("a bug"), TimeoutError(), NotFoundError(), OSError("gone")])
async def test_no_failure_ends_the_janitor(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """It goes on, after a pause."""
    tries: list[int] = []

    async def pause(_seconds: float) -> None:
        if len(tries) == 3:
            raise asyncio.CancelledError

    async def write(*_: Any) -> None:
        tries.append(1)
        raise error

    async def wanted(_js: Any) -> bool:
        return True

    monkeypatch.setattr(write_report.asyncio, "sleep", pause)
    monkeypatch.setattr(write_report, "_write", write)
    monkeypatch.setattr(write_report, "_is_wanted", wanted)
    monkeypatch.setattr(write_report, "pause_after", lambda _took_s: 0.0)
    with pytest.raises(asyncio.CancelledError):
        await write_report.write_delivery_reports(None, None, Settings())  # type: ignore[arg-type]
    assert len(tries) == 3
