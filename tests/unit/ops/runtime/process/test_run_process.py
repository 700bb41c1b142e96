"""Receiver, console and alerts start and end alike: what is said, where, and with which exit code."""

from __future__ import annotations

import pytest
import structlog
from pydantic import Field

from ops.runtime.failures import Failed
from ops.runtime.process import run_process as module
from ops.runtime.process.run_process import run_process
from ops.runtime.process.start_errors import BAD_USAGE, FAILED
from ops.runtime.settings import Settings


class ExampleSettings(Settings):
    """Of a process that does not exist."""

    example_port: int = Field(8080, ge=0)


@pytest.fixture(autouse=True)
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is done before the process runs, in order, and not done to the process of the tests."""
    done: list[object] = []
    monkeypatch.setattr(module, "configure_logging", done.append)
    monkeypatch.setattr(module, "raise_file_limit", lambda: done.append("file limit"))
    return done


def test_it_runs_with_its_settings_and_returns(prepared: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Logs and file limit first: nothing of it is lost, and no connection is refused."""
    monkeypatch.setenv("AXONPUSH_EXAMPLE_PORT", "7")

    async def run(settings: ExampleSettings) -> None:
        prepared.append(settings.example_port)

    run_process("example", ExampleSettings, run)
    (settings, *rest) = prepared
    assert isinstance(settings, ExampleSettings)
    assert rest == ["file limit", 7]


def test_wrong_settings_are_bad_usage(
    prepared: list[object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said on stderr in a sentence, before anything is logged or opened."""
    monkeypatch.setenv("AXONPUSH_EXAMPLE_PORT", "-3")

    async def run(_settings: ExampleSettings) -> None:
        prepared.append("runs")

    with pytest.raises(SystemExit) as ended:
        run_process("example", ExampleSettings, run)
    assert ended.value.code == BAD_USAGE
    told = capsys.readouterr().err
    assert told.startswith(
        "axonpush example: settings are invalid: AXONPUSH_EXAMPLE_PORT: expected 0 or more, found -3"
    )
    assert told.endswith("\n")
    assert prepared == []


@pytest.mark.parametrize("error", [Failed("expected a free port"), OSError("no such address")])
def test_what_ends_it_is_logged_with_its_address(error: Exception) -> None:
    """In one line, without a traceback."""

    async def run(_settings: ExampleSettings) -> None:
        raise error

    with structlog.testing.capture_logs() as logged, pytest.raises(SystemExit) as ended:
        run_process("example", ExampleSettings, run, lambda settings: {"port": settings.example_port})
    assert ended.value.code == FAILED
    assert logged == [{"event": "example_failed", "log_level": "error", "error": str(error), "port": 8080}]


def test_a_fault_of_ours_is_not_hidden() -> None:
    """It keeps its traceback."""

    async def run(_settings: ExampleSettings) -> None:
        raise KeyError("no such thing")

    with pytest.raises(KeyError):
        run_process("example", ExampleSettings, run)
