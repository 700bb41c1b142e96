"""docs/operations.md as commands with what is shown below each, and a shell that runs them one after the other."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
import textwrap
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PAGE = Path(__file__).resolve().parents[3] / "docs" / "operations.md"
COMMAND_DEADLINE_S = 120.0
END_DEADLINE_S = 60.0

_BLOCK = re.compile(r"^ *```console\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
# Before the exit code of a command: no program prints it.
_MARK = "\x1e"


@dataclass(slots=True)
class Step:
    """One command of the page, with the heading it stands below and the lines shown under it."""

    section: str
    command: str
    shown: list[str] = field(default_factory=list)


def steps(text: str) -> list[Step]:
    """Every command of every console block, in order. Fails on a block that begins with something else."""
    found = []
    for block in _BLOCK.finditer(text):
        section = [heading[1] for heading in _HEADING.finditer(text, 0, block.start())][-1:]
        found += _steps_of(section[0] if section else "", textwrap.dedent(block[1]))
    return found


def _steps_of(section: str, block: str) -> list[Step]:
    found: list[Step] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append(Step(section, line[2:]))
        elif line.startswith("> "):
            found[-1].command += "\n" + line[2:]
        else:
            assert found, f"expected a console block of {section} to begin with `$ `, found {line!r}"
            found[-1].shown.append(line)
    return found


def missing(step: Step, output: str) -> list[str]:
    """Lines shown under a command that its output does not have; `…` is anything, runs of spaces are one."""
    lines = [" ".join(line.split()) for line in output.splitlines()]
    return [shown for shown in step.shown if not any(_pattern(shown).search(line) for line in lines)]


def _pattern(shown: str) -> re.Pattern[str]:
    parts = [re.escape(" ".join(part.split())) for part in shown.split("…")]
    return re.compile(r"\s*.*\s*".join(parts))


class Shell:
    """One bash for all commands, so that variables, jobs and the folder last. Its processes end with it."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=dict(environment),
            start_new_session=True,
        )
        self._selector = selectors.DefaultSelector()
        assert self._process.stdout is not None
        self._selector.register(self._process.stdout, selectors.EVENT_READ)

    def run(self, command: str) -> tuple[int, str]:
        """Its exit code and its output, stderr included. Fails the test when it does not end."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{{ {command}\n}} </dev/null\nprintf '\\n\\036%d\\n' $?\n".encode())
        self._process.stdin.flush()
        output, deadline_s = "", time.monotonic() + COMMAND_DEADLINE_S
        while (found := re.search(rf"\n{_MARK}(\d+)\n", output)) is None:
            assert self._selector.select(deadline_s - time.monotonic()), f"{command} does not end; so far: {output}"
            piece = os.read(self._fd(), 65_536)
            assert piece, f"the shell has ended at: {command}; {output}"
            output += piece.decode(errors="replace")
        return int(found[1]), output[: found.start()]

    def end(self) -> None:
        """Ends it and whatever it has started and not ended."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_DEADLINE_S)
        self._selector.close()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def _fd(self) -> int:
        assert self._process.stdout is not None
        return self._process.stdout.fileno()
