"""Logs: one JSON object a line, whoever writes it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from ops.runtime.logs import configure_logging
from ops.runtime.settings import Settings


@pytest.fixture(autouse=True)
def _logging_of_others() -> Iterator[None]:
    """It stays as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configuration = structlog.get_config()
    try:
        yield
    finally:
        structlog.configure(**configuration)
        root.handlers[:] = handlers
        root.setLevel(level)


def test_every_line_is_an_object_with_a_time_and_a_level(capsys: pytest.CaptureFixture[str]) -> None:
    """Ours, a library's, and a library's exception, which has many lines elsewhere."""
    configure_logging(Settings())
    structlog.get_logger().info("started", port=8080)
    logging.getLogger("some.library").warning("slow: %d ms\nand more", 7)
    try:
        raise ValueError("no number")
    except ValueError:
        logging.getLogger("some.library").exception("failed")
    ours, library, failed = map(json.loads, capsys.readouterr().err.splitlines())
    assert (ours["event"], ours["port"], ours["level"]) == ("started", 8080, "info")
    assert (library["event"], library["logger"]) == ("slow: 7 ms\nand more", "some.library")
    assert failed["level"] == "error"
    assert "ValueError: no number" in failed["exception"]
    assert all(line["timestamp"].endswith("Z") for line in (ours, library, failed))


def test_a_level_is_for_everybody(capsys: pytest.CaptureFixture[str]) -> None:
    """Below it nothing is written, by libraries either."""
    configure_logging(Settings(log_level="warning"))
    structlog.get_logger().info("started")
    logging.getLogger("some.library").info("chatter")
    assert capsys.readouterr().err == ""
