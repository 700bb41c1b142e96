"""Sizes in variables have units, as in options of the command line."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from ops.provisioning.streams import Budgets
from receiver.settings import ReceiverSettings
from workers.settings import WorkerSettings


@pytest.mark.parametrize(
    ("text", "size"), [("10GB", 10**10), ("10GiB", 10 * 1024**3), ("1.5 MiB", 1_572_864), ("4194304", 4_194_304)]
)
def test_a_size_may_have_a_unit(monkeypatch: pytest.MonkeyPatch, text: str, size: int) -> None:
    for name in ("RAW_MAX_BYTES", "IN_FLIGHT_BYTES", "WORKER_FLUSH_BYTES", "MAX_BODY_BYTES"):
        monkeypatch.setenv(f"AXONPUSH_{name}", text)
    assert Budgets().raw_max_bytes == size
    assert ReceiverSettings().in_flight_bytes == ReceiverSettings().max_body_bytes == size
    assert WorkerSettings().worker_flush_bytes == size


@pytest.mark.parametrize("text", ["10 apples", "10XB", "", "-1", "1e9"])
def test_what_is_no_size_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("AXONPUSH_RAW_MAX_BYTES", text)
    with pytest.raises(ValidationError):
        Budgets()
