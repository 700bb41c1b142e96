"""Three nats-servers of one cluster, from ops/deploy/nats/cluster.conf, with its users. Tests kill them one by one."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

from ops.local import nats_server
from ops.runtime.nats_options import Role
from tests.polling import eventually
from tests.servers import HOST, ROOT, environment, free_port

CONFIG = ROOT / "ops" / "deploy" / "nats" / "cluster.conf"
START_DEADLINE_S = 120.0
PASSWORDS = {
    "receiver": "receiver-secret",
    "worker": "worker secret",
    "console": "console-secret",
    "alerts": "alerts-secret",
    "operator": "operator-secret",
    "sys": "s",
}
# bcrypt of the worker's: a hash in place of a password works as well.
WORKER_HASH = "$2b$04$xl.c6obBQC/6ybbljOd.uOwkFj0JjC1JH2.P1kaa6s5EIm7tdZ31C"


class Member:
    """One server. Its ports, name and disk survive a kill."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.folder = folder / name
        self.folder.mkdir()
        self.log = self.folder / "nats.log"
        self.port, self.monitor, self.cluster_port = free_port(), free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://{HOST}:{self.port}"

    def settings(self, routes: list[str]) -> dict[str, str]:
        """What ops/deploy/nats/cluster.conf takes from the environment."""
        return {
            "AXONPUSH_NATS_SERVER_NAME": self.name,
            "AXONPUSH_NATS_LISTEN": json.dumps(f"{HOST}:{self.port}"),
            "AXONPUSH_NATS_MONITOR": json.dumps(f"{HOST}:{self.monitor}"),
            "AXONPUSH_NATS_STORE_DIR": json.dumps(str(self.folder / "store")),
            "AXONPUSH_NATS_MAX_FILE_STORE": "2GB",
            "AXONPUSH_NATS_CLUSTER_LISTEN": json.dumps(f"{HOST}:{self.cluster_port}"),
            "AXONPUSH_NATS_ROUTES": json.dumps(routes),
            "AXONPUSH_NATS_ROUTES_PASSWORD": "between-us",
            "AXONPUSH_NATS_RECEIVER_PASSWORD": json.dumps(PASSWORDS["receiver"]),
            "AXONPUSH_NATS_WORKER_PASSWORD": json.dumps(WORKER_HASH),
            "AXONPUSH_NATS_CONSOLE_PASSWORD": json.dumps(PASSWORDS["console"]),
            "AXONPUSH_NATS_ALERTS_PASSWORD": json.dumps(PASSWORDS["alerts"]),
            "AXONPUSH_NATS_OPERATOR_PASSWORD": json.dumps(PASSWORDS["operator"]),
            "AXONPUSH_NATS_SYS_PASSWORD": json.dumps(PASSWORDS["sys"]),
        }

    def start(self, routes: list[str]) -> None:
        """Runs it and returns at once: alone it cannot serve."""
        told = environment(**self.settings(routes))
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                nats_server.command(CONFIG), env=told, stdout=output, stderr=output, stdin=subprocess.DEVNULL
            )

    def kill(self) -> None:
        """As kill -9 does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def healthy(self) -> bool:
        """Whether it and its replicas are up to date, by its own word."""
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text(errors="replace")[-4000:]
        with urllib.request.urlopen(f"http://{HOST}:{self.monitor}/healthz", timeout=60) as answer:
            return bool(answer.status == 200)

    def leads(self, stream: str) -> bool:
        """Whether it is the leader of a stream's replicas."""
        url = f"http://{HOST}:{self.monitor}/jsz?streams=true&accounts=true"
        with urllib.request.urlopen(url, timeout=60) as answer:
            accounts: list[dict[str, Any]] = json.load(answer).get("account_details") or []
        found = [one for account in accounts for one in account.get("stream_detail") or []]
        return any(one["name"] == stream and one.get("cluster", {}).get("leader") == self.name for one in found)


class Cluster:
    """Three members and how programs reach them."""

    def __init__(self, folder: Path) -> None:
        self.members = [Member(folder, f"nats-{number}") for number in (1, 2, 3)]
        self.routes = [f"nats://routes:between-us@{HOST}:{member.cluster_port}" for member in self.members]

    @property
    def url(self) -> str:
        return ",".join(member.url for member in self.members)

    def start(self, *members: Member) -> None:
        """Starts these, or all, and returns when every server is healthy."""
        for member in members or self.members:
            member.start(self.routes)
        for member in self.members:
            eventually(member.healthy, f"{member.name} to be healthy (log: {member.log})", START_DEADLINE_S)

    def leader(self, stream: str) -> Member:
        """The server that leads this stream now."""
        leaders = eventually(lambda: [one for one in self.members if _leads(one, stream)], f"a leader of {stream}")
        return leaders[0]

    def settings(self, role: Role) -> dict[str, str]:
        """AXONPUSH_* of a program that runs as this user."""
        return {
            "AXONPUSH_NATS_URL": self.url,
            "AXONPUSH_NATS_USER": role,
            "AXONPUSH_NATS_PASSWORD": PASSWORDS[role],
            "AXONPUSH_NATS_REPLICAS": "3",
        }

    def end(self) -> None:
        for member in self.members:
            member.kill()


def _leads(member: Member, stream: str) -> bool:
    try:
        return member.leads(stream)
    except OSError:  # it is the one that was killed
        return False
