"""Unit files as systemd reads them, and a small `systemctl` that runs them where no systemd does.

It knows what our units use: drop-ins by the prefix of a name, templates, env files, the signal and the
time of a stop. It knows no users and no sandbox: `systemd-analyze verify` reads those.
"""

from __future__ import annotations

import contextlib
import fnmatch
import getpass
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

POLL_S = 0.05
# A busy machine gets more than TimeoutStopSec: that is a promise about a machine of its own.
PATIENCE = 3
SYSTEMD = Path("etc/systemd/system")


@dataclass(slots=True)
class Unit:
    """One unit with its drop-ins, `%i` put in. Values in the order in which systemd reads them."""

    name: str
    settings: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def last(self, key: str, default: str = "") -> str:
        """The value that counts for settings which are no lists."""
        return self.settings[key][-1] if self.settings[key] else default

    def environment(self) -> dict[str, str]:
        """Of `Environment=`, then of the files, which win. A file with `-` in front may be missing."""
        found = dict(_assignment(line) for line in self.settings["Environment"])
        for name in self.settings["EnvironmentFile"]:
            path = Path(name.removeprefix("-"))
            if path.exists() or not name.startswith("-"):
                found |= env_file(path)
        return found

    def command(self, key: str, environment: dict[str, str]) -> list[str]:
        """`ExecStart=` and its like: `${NAME}` inside a word, `$NAME` as a word that becomes several."""
        words: list[str] = []
        for word in shlex.split(self.last(key).removeprefix("+")):
            if re.fullmatch(r"\$\w+", word):
                words += environment.get(word[1:], "").split()
            else:
                words.append(re.sub(r"\$\{(\w+)\}", lambda found: environment.get(found[1], ""), word))
        return words


def read_unit(folder: Path, name: str) -> Unit:
    """The unit `name` of a folder of unit files. Raises FileNotFoundError."""
    stem, _, kind = name.rpartition(".")
    template, at, instance = stem.partition("@")
    file = folder / (f"{template}@.{kind}" if at else name)
    dashes = [index for index, letter in enumerate(template) if letter == "-"]
    folders = [folder / f"{template[: index + 1]}.{kind}.d" for index in dashes] + [folder / f"{file.name}.d"]
    unit = Unit(name)
    for path in (file, *(drop_in for one in folders for drop_in in sorted(one.glob("*.conf")))):
        for line in path.read_text().splitlines():
            if line and line[0] not in "#;[":
                key, _, value = line.partition("=")
                unit.settings[key].append(value.replace("%i", instance))
    return unit


def env_file(path: Path) -> dict[str, str]:
    """The variables of an env file, quotes removed."""
    lines = [line for line in path.read_text().splitlines() if line and line[0] not in "#;"]
    return dict(_assignment(line) for line in lines)


def _assignment(line: str) -> tuple[str, str]:
    (word,) = shlex.split(line)
    name, _, value = word.partition("=")
    return name, value


class Machine:
    """Units of the folder `root`, started as processes, with process id and log beside each other in `root`/run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.run = root / "run"
        self.run.mkdir(exist_ok=True)

    def started(self, pattern: str) -> list[str]:
        """Units that were started and match."""
        names = sorted(path.stem for path in self.run.glob("*.pid"))
        return [name for name in names if fnmatch.fnmatchcase(name, _full(pattern))]

    def start(self, name: str) -> None:
        """Runs ExecStartPre and ExecStart; the output goes to the unit's log."""
        unit = read_unit(self.root / SYSTEMD, _full(name))
        shell = {name: value for name, value in os.environ.items() if not name.startswith("AXONPUSH_")}
        told = shell | {"USER": getpass.getuser()} | unit.environment()
        for folder in unit.settings["StateDirectory"]:
            (self.root / "var/lib" / folder).mkdir(parents=True, exist_ok=True)
        with (self.run / f"{unit.name}.log").open("ab") as log:
            if unit.settings["ExecStartPre"]:
                subprocess.run(unit.command("ExecStartPre", told), env=told, stdout=log, stderr=log, check=True)
            process = subprocess.Popen(
                unit.command("ExecStart", told),
                cwd=self.root / "run",
                env=told,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        (self.run / f"{unit.name}.pid").write_text(str(process.pid))

    def stop(self, names: list[str]) -> None:
        """Asks the main process of each to stop, and waits as long as its unit says. Fails if one goes on."""
        waiting = []
        for name in names:
            unit, file = read_unit(self.root / SYSTEMD, _full(name)), self.run / f"{_full(name)}.pid"
            pid = int(file.read_text())
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.Signals[unit.last("KillSignal", "SIGTERM")])
            waiting.append((unit, file, pid))
        for unit, file, pid in waiting:
            limit_s = float(unit.last("TimeoutStopSec", "90"))
            _wait_for_end(pid, limit_s, unit.name)
            file.unlink()


def _wait_for_end(pid: int, limit_s: float, name: str) -> None:
    end_s = time.monotonic() + limit_s * PATIENCE
    while _runs(pid):
        if time.monotonic() > end_s:
            raise SystemExit(f"{name}: expected it to end within {limit_s:.0f} s, it goes on")
        time.sleep(POLL_S)


def _runs(pid: int) -> bool:
    """Whether it runs; nobody may have waited for one that has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _full(name: str) -> str:
    return name if name.endswith(".service") else f"{name}.service"


def systemctl(machine: Machine, arguments: list[str]) -> None:
    """The commands of docs/plain-machines.md."""
    command, names = arguments[0], [name for name in arguments[1:] if name != "--now"]
    if command == "daemon-reload":
        return
    if command == "stop":
        machine.stop([name for pattern in names for name in machine.started(pattern)])
    elif command in {"enable", "restart"}:
        assert command == "restart" or "--now" in arguments, "a unit that is not started is not tried"
        machine.stop([name for one in names for name in machine.started(one) if command == "restart"])
        for name in names:
            machine.start(name)
    else:
        raise SystemExit(f"expected a command of systemctl that the page uses, found {command}")


def journalctl(machine: Machine, arguments: list[str]) -> None:
    """`--unit NAME --output cat`."""
    assert arguments[0] == "--unit"
    assert arguments[2:] == ["--output", "cat"]
    sys.stdout.write((machine.run / f"{_full(arguments[1])}.log").read_text(errors="replace"))


def programs(root: Path) -> Iterator[tuple[str, str]]:
    """Names and lines of shell for a PATH on which `systemctl` and the like are these."""
    for name in ("systemctl", "journalctl", "systemd-sysusers"):
        yield name, f"{shlex.quote(sys.executable)} {shlex.quote(__file__)} {shlex.quote(str(root))} {name}"


if __name__ == "__main__":
    program = {"systemctl": systemctl, "journalctl": journalctl, "systemd-sysusers": lambda *_: None}[sys.argv[2]]
    program(Machine(Path(sys.argv[1])), sys.argv[3:])
