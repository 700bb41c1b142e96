"""The message of `axonpush up` when everything is ready: addresses, keys, and how to use them."""

from __future__ import annotations

import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ops.cli.servers import DEFAULT_DATA_DIR
from ops.local.data_dir import DataDir
from ops.local.first_keys import CHANNEL, ENVIRONMENT, ORGANISATION, FirstKeys
from ops.registry.sender_settings import SenderSettings
from ops.runtime.secret_masking import without_secrets
from ops.runtime.settings import Settings
from schemas.web_tokens import login_url

if TYPE_CHECKING:
    from rich.console import Console

FIRST_QUERY: Final = "SELECT timestamp, event_type, name, body FROM events ORDER BY timestamp DESC LIMIT 10"


@dataclass(frozen=True, slots=True)
class StartMessage:
    """The values in the message."""

    settings: Settings
    url: str
    keys: FirstKeys
    folder: DataDir
    took_s: float
    # Variables with the addresses of servers that are not embedded.
    named_servers: frozenset[str] = frozenset()
    console_url: str = ""

    def blocks(self) -> dict[str, list[str]]:
        """Lines to copy, by title."""
        query = [*command_line(), "sql", FIRST_QUERY]
        if self.folder.root != DEFAULT_DATA_DIR.resolve():
            query += ["--data-dir", str(self.folder.root)]
        return {
            **self._page_block(),
            **self._keys_block(),
            "A first query": [shlex.join(query)],
            "ClickHouse, NATS": self._server_lines(),
            "Logs": [str(self.folder.logs)],
        }

    def _page_block(self) -> dict[str, list[str]]:
        if not self.keys.login_code:
            return {}
        return {"Page in the browser (the link signs in once)": [login_url(self.console_url, self.keys.login_code)]}

    def _keys_block(self) -> dict[str, list[str]]:
        if not self.keys.api_key:
            mint = [*command_line(), "keys", "mint", "--environment", ENVIRONMENT, "--data-dir", str(self.folder.root)]
            why = "none was made: the registry of AXONPUSH_NATS_URL has keys already. One more:"
            return {"Keys": [why, shlex.join(mint)]}
        of_servers = SenderSettings(self.url, self.keys.api_key, CHANNEL)
        dsn = self.keys.dsn(self.url)
        archived = f"none: channel {CHANNEL} is archived. `axonpush channels unarchive {CHANNEL}`, then start again"
        return {
            "Sentry SDKs": [f"export SENTRY_DSN={dsn}" if dsn else archived],
            "OpenTelemetry": of_servers.otlp_lines(),
            **self._pipeline_block(),
        }

    def _pipeline_block(self) -> dict[str, list[str]]:
        if not self.keys.auth_token:
            return {}
        return {
            "sentry-cli and bundler plugins": [
                f"export SENTRY_URL={self.console_url}",
                f"export SENTRY_AUTH_TOKEN={self.keys.auth_token}",
                f"export SENTRY_ORG={ORGANISATION} SENTRY_PROJECT={self.keys.project}",
            ]
        }

    def _server_lines(self) -> list[str]:
        """Only embedded servers listen on this machine alone, and only their users are in ready.json."""
        addresses = {
            "AXONPUSH_CLICKHOUSE_URL": self.settings.clickhouse_url,
            "AXONPUSH_NATS_URL": self.settings.nats_url,
        }
        if not self.named_servers:
            both = without_secrets("  ".join(addresses.values()))
            return [f"{both}  (this machine only; ClickHouse's users: ready.json)"]
        where = {name: f"of {name}" if name in self.named_servers else "this machine only" for name in addresses}
        return [f"{without_secrets(address)}  ({where[name]})" for name, address in addresses.items()]


def command_line() -> list[str]:
    """The command `axonpush` as a user of this shell can type it: its name if it is on the PATH, else its path."""
    beside = Path(sys.executable).with_name("axonpush")
    on_path = shutil.which("axonpush")
    if on_path and Path(on_path).resolve() == beside.resolve():
        return ["axonpush"]
    if not beside.exists():
        return [sys.executable, "-m", "ops.cli"]
    return [f"./{beside.relative_to(Path.cwd())}" if beside.is_relative_to(Path.cwd()) else str(beside)]


def print_start_message(console: Console, text: StartMessage) -> None:
    """Prints the message. Lines are never wrapped, because users copy them."""
    headline = f"axonpush is ready at {text.url} after {text.took_s:.1f} s. Ctrl-C stops it."
    console.print(f"\n{headline}\n", style="bold green", highlight=False, soft_wrap=True)
    for title, lines in text.blocks().items():
        console.print(title, style="bold")
        for line in lines:
            console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
    console.print()
