"""Runs `axonpush COMMAND` in a process of its own that need not import everything again.

A command imports for half a second and works for a tenth of one, and the live tests run hundreds. So a process that has
imported everything forks for each. The command has its own arguments, environment, output and exit code, as usual; what
`python -m ops.cli` adds to that is tested where processes are started as users start them.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

# What commands import when they are called.
IMPORTED = (
    *("clickhouse_connect", "nats", "pydantic_settings", "rich.console", "rich.table"),
    *("ops.cli.main", "ops.cli.servers", "ops.local.clickhouse_http.access.users", "ops.provisioning.migrate"),
    *("ops.registry.changes", "ops.replay.run", "ops.status.report"),
)
COMMAND = [sys.executable, "-m", "ops.cli"]


class CommandProcesses:
    """The process that forks, started with the first command. Commands beside a running one are usual processes."""

    def __init__(self) -> None:
        self._forking: subprocess.Popen[bytes] | None = None
        self._asking = threading.Lock()

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        """As subprocess.run does; a command that takes longer than `timeout_s` is ended by SIGALRM."""
        if not self._asking.acquire(blocking=False):
            return subprocess.run(
                [*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=timeout_s, env=environment
            )
        try:
            with tempfile.TemporaryDirectory() as folder:
                output, errors = Path(folder, "stdout"), Path(folder, "stderr")
                request = {"arguments": list(arguments), "environment": dict(environment), "timeout_s": timeout_s}
                code = self._ask({**request, "stdout": str(output), "stderr": str(errors)})
                return subprocess.CompletedProcess([*COMMAND, *arguments], code, output.read_text(), errors.read_text())
        finally:
            self._asking.release()

    def close(self) -> None:
        """Ends the process."""
        process, self._forking = self._forking, None
        if process is not None:
            process.communicate()  # closes its input

    def _ask(self, request: dict[str, Any]) -> int:
        if self._forking is None:
            self._forking = self._start(request["environment"])
        try:
            answer = _answer(self._forking, request)
        except BaseException:  # a test that hangs is ended here; the answer that comes later is not the next one's
            self._forking.kill()
            self.close()
            raise
        assert answer, f"expected the exit code of {request['arguments']}, found that the process of commands has ended"
        return int(answer)

    def _start(self, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """With the variables for Python of a command, so that it finds the same packages."""
        told = {name: value for name, value in environment.items() if not name.startswith("AXONPUSH_")}
        process = subprocess.Popen([sys.executable, __file__], env=told, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        atexit.register(self.close)
        return process


def _answer(process: subprocess.Popen[bytes], request: dict[str, Any]) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(request).encode() + b"\n")
    process.stdin.flush()
    return process.stdout.readline()


# One for each process of a test run.
commands = CommandProcesses()


def fork_for_each(main: Callable[[], object]) -> None:
    """Answers each line of the input, which names a command, with its exit code."""
    while line := os.read(0, 1 << 20):
        while not line.endswith(b"\n"):
            line += os.read(0, 1 << 20)
        request = json.loads(line)
        if (pid := os.fork()) == 0:
            _become(request)
            _run_and_exit(main)
        _, status = os.waitpid(pid, 0)
        os.write(1, b"%d\n" % os.waitstatus_to_exitcode(status))


def _run_and_exit(main: Callable[[], object]) -> NoReturn:
    """As an interpreter ends, but for taking every module apart, which takes longer than a command."""
    code: object = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as the end of an interpreter does
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def _become(request: dict[str, Any]) -> None:
    """Makes this process what `python -m ops.cli ARGUMENTS` is after its imports."""
    for descriptor, path in enumerate((os.devnull, request["stdout"], request["stderr"])):
        opened = os.open(path, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["axonpush", *request["arguments"]]
    signal.setitimer(signal.ITIMER_REAL, request["timeout_s"])


if __name__ == "__main__":
    import gc
    import importlib

    for module in IMPORTED:
        importlib.import_module(module)
    gc.freeze()
    fork_for_each(sys.modules["ops.cli.main"].main)
