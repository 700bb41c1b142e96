"""The servers of the `up` of a folder, for programs that read only variables: workers, consoles and others."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ops.cli.servers import found_servers, read_json
from ops.local.clickhouse_http.access.users import ALERTS, CONSOLE, OPERATOR, WORKER
from ops.local.data_dir import BROKER_PASSWORDS_FILE
from ops.runtime.nats_options import Role

# The user of ClickHouse of each program; a receiver asks none.
CLICKHOUSE_USER: Final[dict[Role, str]] = {
    "worker": WORKER, "console": CONSOLE, "alerts": ALERTS, "receiver": OPERATOR,
}  # fmt: skip


def program_variables(data_dir: Path, role: Role) -> dict[str, str]:
    """Variables for a program beside the `up` of this folder, with the rights of its kind; empty without one.

    Where the shell names a server, that is used. Raises Failed like `found_servers`.
    """
    servers = found_servers(data_dir, CLICKHOUSE_USER[role])
    variables: dict[str, str] = {}
    if nats_url := servers.get("nats_url"):
        password = read_json(data_dir / BROKER_PASSWORDS_FILE).get(role)
        is_embedded = isinstance(password, str) and "," not in nats_url
        variables["AXONPUSH_NATS_URL"] = _without_user(nats_url) if is_embedded else nats_url
        if is_embedded and not os.environ.get("AXONPUSH_NATS_USER"):
            variables |= {"AXONPUSH_NATS_USER": role, "AXONPUSH_NATS_PASSWORD": str(password)}
    if (clickhouse_url := servers.get("clickhouse_url")) and role != "receiver":
        is_ours = "clickhouse_password" in servers
        variables["AXONPUSH_CLICKHOUSE_URL"] = _without_user(clickhouse_url) if is_ours else clickhouse_url
        if is_ours:
            variables["AXONPUSH_CLICKHOUSE_USER"] = servers["clickhouse_user"]
            variables["AXONPUSH_CLICKHOUSE_PASSWORD"] = servers["clickhouse_password"]
    return variables


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
