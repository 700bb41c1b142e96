"""Private servers for live tests: from the wheels by default, from official images with AXONPUSH_TEST_DOCKER=1."""

from __future__ import annotations

import base64
import contextlib
import itertools
import os
import signal
import socket
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Protocol

from ops.local import clickhouse_http, nats_server, programs
from ops.local.clickhouse_http.access import users
from tests.polling import ANSWER_TIMEOUT_S, eventually

HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parent.parent
STOP_TIMEOUT_S = 60.0
NATS_IMAGE = "nats:2.12-alpine"
CLICKHOUSE_IMAGE = "clickhouse/clickhouse-server:26.8"
MAX_FILE_BYTES = 4 * 1024**3


def opened(url: str, body: bytes | None = None, timeout_s: float = ANSWER_TIMEOUT_S) -> Any:
    """urlopen for an address with user and password in front of its host, which urllib does not take."""
    parts = urllib.parse.urlsplit(url)
    userinfo, _, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(parts._replace(netloc=host).geturl(), body)
    if userinfo:
        encoded = base64.b64encode(urllib.parse.unquote(userinfo).encode()).decode()
        request.add_header("Authorization", f"Basic {encoded}")
    return urllib.request.urlopen(request, timeout=timeout_s)


def with_docker() -> bool:
    """Whether servers come from official images through testcontainers."""
    return os.environ.get("AXONPUSH_TEST_DOCKER") == "1"


def environment(**settings: str) -> dict[str, str]:
    """For processes of ours: this environment without the developer's own AXONPUSH_* settings, plus `settings`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AXONPUSH_")}
    return inherited | programs.python_environment() | settings


# Below what systems give to outgoing connections, and apart for each process of a run: what was free a moment ago is
# still free when its server takes it.
_PORTS_OF_A_PROCESS = 4_000
_FIRST_PORT = 12_000 + _PORTS_OF_A_PROCESS * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 4)
_ports = itertools.cycle(range(_FIRST_PORT, _FIRST_PORT + _PORTS_OF_A_PROCESS))
for _ in range(os.getpid() * 37 % _PORTS_OF_A_PROCESS):  # another run beside this one begins elsewhere
    next(_ports)


def free_port() -> int:
    """A port nobody listens on now, and nobody of this run was given before."""
    for port in itertools.islice(_ports, _PORTS_OF_A_PROCESS):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return port
    raise RuntimeError(f"expected a free port from {_FIRST_PORT} to {_FIRST_PORT + _PORTS_OF_A_PROCESS}, found none")


class Server(Protocol):
    """A server a test can take away and bring back. Its data and its url survive both."""

    url: str

    def start(self) -> None:
        """Runs it and returns when it serves."""

    def kill(self) -> None:
        """Ends it as a crash would: no chance to say goodbye."""

    def stop(self) -> None:
        """Ends it politely."""


class _Process:
    """A server from a wheel."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.log = folder / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def serves(self) -> bool:
        raise NotImplementedError

    def start(self) -> None:
        command = self.command()
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=environment()
            )
        eventually(self._serves_or_died, f"{command[0]} to serve (log: {self.log})")

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _serves_or_died(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text(errors="replace")[-4000:]
        return self.serves()

    def _end(self, number: signal.Signals) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(number)
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class NatsProcess(_Process):
    """nats-server with an own store, every acknowledged message on disk."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "nats")
        self.url = f"nats://{HOST}:{self.port}"
        self._config = folder / "nats.conf"
        self._config.write_text(
            nats_server.config(host=HOST, port=self.port, store_dir=folder / "store", max_file_bytes=MAX_FILE_BYTES)
        )

    def command(self) -> list[str]:
        return nats_server.command(self._config)

    def serves(self) -> bool:
        return _greets(self.port)


class ClickHouseProcess(_Process):
    """The embedded engine behind its HTTP interface, with an own directory."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "clickhouse")
        self.passwords = users.passwords(folder / "data")
        self.url = self.url_of(users.OPERATOR)

    def url_of(self, user: str) -> str:
        """The address with one of the users of ops/local/clickhouse_http/access/users.py."""
        return f"http://{user}:{self.passwords[user]}@{HOST}:{self.port}"

    def command(self) -> list[str]:
        return clickhouse_http.command(self.folder / "data", HOST, self.port)

    def serves(self) -> bool:
        return _pings(self.url)


class _Container:
    """A server from an image, on a fixed port of this machine so that a restart keeps the url."""

    def __init__(self, image: str, inner_port: int) -> None:
        from testcontainers.core.container import DockerContainer

        self.port = free_port()
        self.container: Any = DockerContainer(image).with_bind_ports(inner_port, self.port)
        self._made = False

    def serves(self) -> bool:
        raise NotImplementedError

    def start(self) -> None:
        if self._made:
            self.container.get_wrapped_container().start()
        else:
            self.container.start()
            self._made = True
        eventually(self.serves, "the container to serve")

    def kill(self) -> None:
        self.container.get_wrapped_container().kill()

    def stop(self) -> None:
        self.container.get_wrapped_container().stop()

    def remove(self) -> None:
        self.container.stop()


class NatsContainer(_Container):
    """The official nats image with our configuration."""

    def __init__(self, folder: Path) -> None:
        super().__init__(NATS_IMAGE, 4222)
        self.url = f"nats://{HOST}:{self.port}"
        config = folder / "nats.conf"
        config.write_text(
            nats_server.config(host="0.0.0.0", port=4222, store_dir=Path("/data"), max_file_bytes=MAX_FILE_BYTES)
        )
        self.container.with_volume_mapping(str(config), "/etc/axonpush.conf", "ro")
        self.container.with_command("nats-server --config /etc/axonpush.conf")

    def serves(self) -> bool:
        return _greets(self.port)


class ClickHouseContainer(_Container):
    """The official ClickHouse image, user `default` without a password."""

    def __init__(self, _folder: Path) -> None:
        super().__init__(CLICKHOUSE_IMAGE, 8123)
        self.url = f"http://{HOST}:{self.port}"
        self.container.with_env("CLICKHOUSE_SKIP_USER_SETUP", "1")

    def serves(self) -> bool:
        return _pings(self.url)


def _greets(port: int) -> bool:
    with socket.create_connection((HOST, port), timeout=10) as connection:
        return connection.recv(5) == b"INFO "


def _pings(url: str) -> bool:
    with opened(f"{url}/ping", timeout_s=10) as answer:
        return bool(answer.status == 200)
