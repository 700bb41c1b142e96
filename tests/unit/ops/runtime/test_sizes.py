"""Sizes in variables have units, as in options of the command line."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from console.settings import ConsoleSettings
from ops.janitor.trimming import JanitorSettings
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


@pytest.mark.parametrize("settings", [Budgets, ReceiverSettings, WorkerSettings, ConsoleSettings, JanitorSettings])
def test_every_size_may_have_a_unit(settings: type[BaseSettings], monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/settings.md promises; five of them refused one."""
    for name in (names := [name for name in settings.model_fields if name.endswith("_bytes")]):
        monkeypatch.setenv(f"AXONPUSH_{name.upper()}", "64MiB")
    made = settings()
    assert {name: getattr(made, name) for name in names} == dict.fromkeys(names, 64 * 1024**2)
