"""The addresses, users and passwords with which `axonpush up` starts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from ops.local import broker_users, ports
from ops.local.clickhouse_http.access import users
from ops.local.data_dir import DataDir
from ops.local.programs import CLICKHOUSE_USER, LOOPBACK
from ops.local.start.named_servers import named_servers
from ops.runtime.nats_options import Role
from ops.runtime.settings import Settings

OPERATOR_ROLE: Final[Role] = "operator"


EVERY_ADDRESS: Final = ("0.0.0.0", "::", "")


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the command line. Port 0 means any free port."""

    data_dir: Path
    host: str = LOOPBACK
    port: int = 8080
    clickhouse_port: int = 8123
    nats_port: int = 4222
    console_port: int = 8081
    workers: int = 1
    adopts_tables: bool = False
    takes_back: bool = False


class Addresses:
    """The addresses, users and passwords of one `axonpush up`: of its own servers, or of those that are named."""

    def __init__(self, options: Options, folder: DataDir) -> None:
        self._options = options
        self.named_servers = named_servers()
        self.has_external_nats = "NATS" in self.named_servers
        self.has_external_clickhouse = "ClickHouse" in self.named_servers
        self.ports = self._choose_ports()
        # Passwords of the embedded ClickHouse by user; empty with an external server.
        self.passwords = {} if self.has_external_clickhouse else users.passwords(folder.clickhouse)
        self.broker_passwords = {} if self.has_external_nats else folder.broker_passwords()
        self.settings = self._make_settings()

    @property
    def url(self) -> str:
        """The address of the receiver for senders on this machine."""
        return self._url("--port")

    @property
    def console_url(self) -> str:
        """The address of the Web API on this machine."""
        return self._url("--console-port")

    def _url(self, option: str) -> str:
        host = LOOPBACK if self._options.host in EVERY_ADDRESS else self._options.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.ports[option]}"

    def _choose_ports(self) -> dict[str, int]:
        addresses = {
            "--port": (self._options.host, self._options.port),
            "--console-port": (self._options.host, self._options.console_port),
        }
        if not self.has_external_clickhouse:
            addresses["--clickhouse-port"] = (LOOPBACK, self._options.clickhouse_port)
        if not self.has_external_nats:
            addresses["--nats-port"] = (LOOPBACK, self._options.nats_port)
        return ports.choose(addresses)

    def _make_settings(self) -> Settings:
        embedded: dict[str, Any] = {}
        if not self.has_external_nats:
            embedded |= {"nats_url": f"nats://{LOOPBACK}:{self.ports['--nats-port']}", "nats_token": ""}
            embedded |= {"nats_user": OPERATOR_ROLE, "nats_password": self.broker_passwords[OPERATOR_ROLE]}
        if not self.has_external_clickhouse:
            embedded["clickhouse_url"] = f"http://{LOOPBACK}:{self.ports['--clickhouse-port']}"
            embedded |= {"clickhouse_user": users.OPERATOR, "clickhouse_password": self.passwords[users.OPERATOR]}
        return Settings(**embedded)

    def operators_nats_url(self) -> str:
        """The address with user and password, or the token, for ready.json, which only its owner can read."""
        settings = self.settings
        user, password = settings.nats_user, settings.nats_password.get_secret_value()
        if token := settings.nats_token.get_secret_value():
            user, password = token, ""
        return broker_users.url_with(",".join(settings.nats_servers()), user, password) if user else settings.nats_url

    def public_console_url(self) -> str:
        """Where tools reach the Web API: AXONPUSH_CONSOLE_URL, else on this machine."""
        return os.environ.get("AXONPUSH_CONSOLE_URL", "").rstrip("/") or self.console_url

    def clickhouse_user(self, name: str) -> dict[str, str]:
        """A user of the embedded ClickHouse, else the one in the settings."""
        user = self.settings.clickhouse_user, self.settings.clickhouse_password.get_secret_value()
        if self.passwords:
            user = name, self.passwords[name]
        return dict(zip(CLICKHOUSE_USER, user, strict=True))

    def readers_url(self) -> str:
        """The address with user and password of the reader. ready.json is readable by its owner only."""
        user, password = self.settings.clickhouse_user, self.settings.clickhouse_password.get_secret_value()
        if self.passwords:
            user, password = users.READER, self.passwords[users.READER]
        elif not password:
            return self.settings.clickhouse_url
        return self.settings.clickhouse_url.replace("://", f"://{quote(user, safe='')}:{quote(password, safe='')}@", 1)
