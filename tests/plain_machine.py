"""A folder in place of a machine for ops/deploy/machines: its paths, free ports, one address for all machines."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

from ops.local import nats_server
from tests import systemd_units
from tests.servers import HOST, ROOT, free_port

# Folders of a machine that the units, the configuration and the page name.
FOLDERS = (
    "etc/axonpush", "etc/systemd/system", "etc/haproxy", "etc/nginx", "etc/prometheus", "usr/lib/sysusers.d",
    "var/lib/axonpush", "var/log/nginx", "opt/axonpush",
)  # fmt: skip
# First ports: three brokers on one machine use the next ones too.
IN_ROWS = (4222, 6222, 8222)
SINGLE = (80, 443, 8080, 8081, 8123, 8405, 9100, 9101, 9102, 9103, 9109)
PUBLIC = "https://in.example.com"
VERSIONS = ("0.1.0", "0.2.0")


class PlainMachine:
    """A folder that is a machine. `placed` says what a text about machines means here."""

    def __init__(self, root: Path, ports: dict[int, int] | None = None) -> None:
        self.root = root
        self.ports = {port: free_port() for port in SINGLE} | {port: _row_of_ports(3) for port in IN_ROWS}
        self.ports |= ports or {}
        for name in FOLDERS:
            (root / name).mkdir(parents=True, exist_ok=True)
        self.bin = root / "bin"
        self.bin.mkdir()
        for name, line in (*systemd_units.programs(root), *_own_programs()):
            self._write_program(self.bin / name, line)
        for version in VERSIONS:
            self._check_out(root / "opt/axonpush" / version)

    @property
    def checkout(self) -> Path:
        """The tree of files in which the page's commands begin."""
        return self.root / "opt/axonpush" / VERSIONS[0]

    def placed(self, text: str) -> str:
        """`text` with the paths, ports and addresses of this folder."""
        text = re.sub(rf"(?<![\w.~-])/({'|'.join(FOLDERS)})(?![\w.])", lambda found: str(self.root / found[1]), text)
        text = text.replace(PUBLIC, f"http://{HOST}:8080")
        text = re.sub(r"\b(?:10\.0\.0\.\d|0\.0\.0\.0)\b", HOST, text)
        text = re.sub(
            r"(bind :|listen )(\d+)", lambda found: f"{found[1].strip(': ')} {HOST}:{self._port(found[2])}", text
        )
        return re.sub(r"\b\d{4}\b", lambda found: self._port(found[0]), text)

    def _port(self, number: str) -> str:
        return str(self.ports.get(int(number), number))

    def add_program(self, name: str, line: str) -> None:
        """A program before those of the machine on the PATH."""
        self._write_program(self.bin / name, line)

    def add_unit(self, name: str, line: str) -> None:
        """A unit of a Debian package, such as haproxy, with its command line."""
        (self.root / systemd_units.SYSTEMD / f"{name}.service").write_text(f"[Service]\nExecStart={line}\n")

    def _check_out(self, folder: Path) -> None:
        shutil.copytree(ROOT / "ops/deploy", folder / "ops/deploy", ignore=shutil.ignore_patterns("k8s", "grafana"))
        for path in (folder / "ops/deploy").rglob("*"):
            if path.is_file():
                path.write_text(self.placed(path.read_text()))
        (folder / "venv/bin").mkdir(parents=True)
        for name, line in _own_programs():
            self._write_program(folder / "venv/bin" / name, line)

    @staticmethod
    def _write_program(path: Path, line: str) -> None:
        path.write_text(f'#!/bin/sh\nexec {line} "$@"\n')
        path.chmod(0o755)


def _own_programs() -> tuple[tuple[str, str], ...]:
    """-P: the folder in which a command runs has an `ops` of its own, without code."""
    python = f"{shlex.quote(sys.executable)} -P"
    server = shlex.quote(str(nats_server.binary()))
    return (("axonpush", f"{python} -m ops.cli"), ("python", python), ("nats-server", server))


def _row_of_ports(count: int) -> int:
    """The first of `count` free ports beside each other."""
    row = [free_port()]
    while len(row) < count:
        port = free_port()
        row = [*row, port] if port == row[-1] + 1 else [port]
    return row[0]
