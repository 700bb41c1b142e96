"""Output that cannot be written never raises and never blocks; what was lost is counted and said afterwards."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from prometheus_client import REGISTRY

from ops.runtime import log_lines
from ops.runtime.log_lines import INTERVAL_S, LINES, Limiter
from ops.runtime.output import Output
from tests.servers import ROOT


def pipe() -> tuple[int, io.TextIOWrapper]:
    reader, writer = os.pipe()
    return reader, os.fdopen(writer, "w", encoding="utf-8")


def test_a_closed_pipe_loses_lines_and_nothing_else() -> None:
    """The reader is gone (EPIPE)."""
    reader, stream = pipe()
    os.close(reader)
    out = Output(stream)
    for _ in range(3):
        assert out.write("a line\n") == 7
    out.flush()
    assert out.lost == 3
    stream.close()


@pytest.mark.parametrize("is_blocking", [True, False])
def test_a_reader_that_does_not_read_blocks_nobody(is_blocking: bool) -> None:
    """Full pipe: EAGAIN on one, a write that would never return on the other. What was lost is said when it reads."""
    reader, stream = pipe()
    os.set_blocking(stream.fileno(), is_blocking)
    out = Output(stream)
    while not out.lost:
        out.write("x" * 9_999 + "\n")
    for _ in range(99):
        out.write("y\n")
    assert out.lost == 100
    os.set_blocking(reader, False)
    while True:
        try:
            os.read(reader, 1 << 20)
        except BlockingIOError:
            break
    out.write("after\n")
    assert out.lost == 0
    lines = os.read(reader, 1 << 20).decode().splitlines()
    assert lines[-2:] == ["100 log lines could not be written", "after"]
    os.close(reader)
    stream.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_that_has_room_again_gets_the_number_of_lost_lines(tmp_path: Path) -> None:
    """ENOSPC, then writing works: the same descriptor."""
    file = (tmp_path / "log").open("w", encoding="utf-8")
    out = Output(file)
    kept = os.dup(file.fileno())
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, file.fileno())
    out.write("one\n")
    out.write("two\n")
    assert out.lost == 2
    os.dup2(kept, file.fileno())
    out.write("three\n")
    assert (tmp_path / "log").read_text() == "2 log lines could not be written\nthree\n"
    os.close(kept)
    os.close(full)
    file.close()


@pytest.mark.parametrize("broken", [None, "closed", "raising"])
def test_a_stream_that_is_not_there(broken: str | None) -> None:
    """stderr may be None, closed, or somebody's object."""

    class Raising(io.StringIO):
        def write(self, _text: str) -> int:
            raise RuntimeError("no")

        def flush(self) -> None:
            raise ValueError("no")

    stream: Any = {None: None, "closed": io.StringIO(), "raising": Raising()}[broken]
    if broken == "closed":
        stream.close()
    out = Output(stream)
    out.write("a\n")
    out.flush()
    assert out.lost == 1
    assert not out.isatty()


def test_a_stream_that_cannot_be_flushed_is_written_to_its_descriptor(tmp_path: Path) -> None:
    """Its buffer was full when the disk was: the descriptor works again later."""

    class Unflushed(io.StringIO):
        def flush(self) -> None:
            raise OSError("no space left")

        def fileno(self) -> int:
            return file.fileno()

    with (tmp_path / "log").open("wb") as file:
        out = Output(Unflushed())
        out.write("a line\n")
    assert (tmp_path / "log").read_text() == "a line\n"
    assert out.lost == 0


class Unprintable:
    """What no renderer can write."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __repr__


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Logging as in a process, into memory; put back afterwards."""
    root = logging.getLogger()
    handlers, level, raises = root.handlers[:], root.level, logging.raiseExceptions
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configuration = structlog.get_config()
    log_lines.configure("info", "json")
    yield stream
    structlog.configure(**configuration)
    root.handlers[:], logging.raiseExceptions = handlers, raises
    root.setLevel(level)


@pytest.mark.parametrize(
    "log",
    [
        lambda: structlog.get_logger().error("bad", value=Unprintable()),
        lambda: structlog.get_logger().error(Unprintable()),
        lambda: structlog.get_logger().exception("bad", key={Unprintable(): 1}),
        lambda: logging.getLogger("library").error("%d", "no number"),
        lambda: logging.getLogger("library").error("%s", Unprintable()),
        lambda: logging.getLogger("library").error(Unprintable()),
    ],
)
def test_a_line_that_cannot_be_made_is_counted(lines: io.StringIO, log: Callable[[], None]) -> None:
    """Ours and a library's; the next line says so."""
    before = REGISTRY.get_sample_value("axonpush_log_lines_lost_total") or 0
    log()
    assert REGISTRY.get_sample_value("axonpush_log_lines_lost_total") == before + 1
    structlog.get_logger().info("next")
    told, following = map(json.loads, lines.getvalue().splitlines())
    assert (told["event"], told["lines"], following["event"]) == ("log_lines_lost", 1, "next")


@pytest.mark.asyncio
async def test_an_exception_nobody_awaits_is_a_line(lines: io.StringIO) -> None:
    """What asyncio's own handler says goes the same way."""
    asyncio.get_running_loop().call_exception_handler({"message": "lost", "exception": ValueError("x")})
    assert "ValueError: x" in json.loads(lines.getvalue())["exception"]


def test_one_kind_writes_a_few_lines_in_an_interval(lines: io.StringIO) -> None:
    """However many messages it happens to; other kinds and info lines are not touched."""
    log = structlog.get_logger()
    for number in range(1000):
        log.warning("odd", worker="event", error=f"of message {number}")
        logging.getLogger("library").warning("odd %d", number)
    log.warning("odd", worker="log")
    log.info("fine")
    found = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert len([one for one in found if one.get("worker") == "event"]) == LINES
    assert len([one for one in found if one.get("logger") == "library"]) == LINES
    assert [one["event"] for one in found[-2:]] == ["odd", "fine"]


def test_the_next_interval_says_how_many_were_left_out() -> None:
    """And forgets kinds that are old, so that their number is bounded."""
    now = [0.0]
    limiter = Limiter(lambda: now[0])
    told = [limiter.left_out_before(("odd",)) for _ in range(LINES + 7)]
    assert told == [0] * LINES + [None] * 7
    now[0] = INTERVAL_S
    assert [limiter.left_out_before(("odd",)), limiter.left_out_before(("odd",))] == [7, 0]
    for _ in range(LINES):
        limiter.left_out_before(("odd",))
    for others, expected in ((log_lines.MAX_KINDS - 1, None), (log_lines.MAX_KINDS, 0)):
        for number in range(others):
            limiter.left_out_before((str(number),))
        assert limiter.left_out_before(("odd",)) == expected


PROGRAM = """
import logging, os, sys
import structlog
from ops.runtime.logs import configure_logging
from ops.runtime.settings import Settings
configure_logging(Settings())
for number in range(2000):
    structlog.get_logger().info("line", text="x" * 100)
    logging.getLogger("library").info("line")
    print("out", flush=True)
    sys.stderr.write("err")
assert os.fstat(2)
os.write(int(sys.argv[1]), b"done")
"""


@pytest.mark.parametrize("how", ["closed pipe", "closed", "full", "file size"])
def test_a_process_with_an_unwritable_log_runs_on(tmp_path: Path, how: str) -> None:
    """And ends with exit code 0; nothing that it opens gets the place of a closed stderr."""
    reader, writer = os.pipe()
    command = [sys.executable, "-c", PROGRAM, str(writer)]
    options: dict[str, Any] = {"cwd": ROOT, "pass_fds": (writer,)}
    broken, closing = os.pipe()
    os.close(broken)
    if how == "closed pipe":
        options |= {"stdout": closing, "stderr": closing}
    elif how == "closed":
        command = ["sh", "-c", 'exec "$0" "$@" >&- 2>&-', *command]
    elif how == "full":
        full = os.open("/dev/full", os.O_WRONLY)
        options |= {"stdout": full, "stderr": full}
    else:
        file = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
        limit = (10_000, 10_000)
        options |= {"stdout": file, "stderr": file}
        options["preexec_fn"] = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    done = subprocess.run(command, check=False, timeout=60, restore_signals=True, **options)
    os.close(writer)
    os.close(closing)
    assert os.read(reader, 10) == b"done"
    os.close(reader)
    assert done.returncode == 0
