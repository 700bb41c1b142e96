"""A broker that speaks TLS and wants a token: commands, receiver and workers reach it, others do not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.local import nats_server
from tests.commands import commands
from tests.polling import eventually
from tests.servers import HOST, ROOT, Server, environment, free_port

pytestmark = pytest.mark.live

TOKEN = "a-token"
STOP_DEADLINE_S = 120.0


class Broker:
    """nats-server with a certificate of its own making; `settings` are what programs need to reach it."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.certificate, key = folder / "cert.pem", folder / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=axonpush-test",
             "-addext", f"subjectAltName=IP:{HOST}", "-addext", "basicConstraints=critical,CA:TRUE",
             "-keyout", str(key), "-out", str(self.certificate)],
            check=True, capture_output=True,
        )  # fmt: skip
        config = folder / "nats.conf"
        config.write_text(
            nats_server.config(host=HOST, port=self.port, store_dir=folder / "store", max_file_bytes=2**32)
            + f"authorization {{ token: {json.dumps(TOKEN)} }}\n"
            + f"tls {{ cert_file: {json.dumps(str(self.certificate))}, key_file: {json.dumps(str(key))} }}\n"
        )
        with (folder / "nats.log").open("wb") as output:
            self.process = subprocess.Popen(nats_server.command(config), stdout=output, stderr=output)

    def settings(self, clickhouse: Server) -> dict[str, str]:
        return {
            "AXONPUSH_NATS_URL": f"nats://{HOST}:{self.port}",
            "AXONPUSH_NATS_TOKEN": TOKEN,
            "AXONPUSH_NATS_TLS_CA": str(self.certificate),
            "AXONPUSH_CLICKHOUSE_URL": clickhouse.url,
            "AXONPUSH_CLICKHOUSE_DATABASE": "test_tls",
            "AXONPUSH_RAW_MAX_BYTES": str(2**26),
            "AXONPUSH_ITEMS_MAX_BYTES": str(2**26),
            "AXONPUSH_DEAD_MAX_BYTES": str(2**26),
        }


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """The broker, running."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl not found: it makes the certificate of this test")
    made = Broker(tmp_path)
    try:
        yield made
    finally:
        made.process.terminate()
        made.process.wait(STOP_DEADLINE_S)


def migrated(**settings: str) -> subprocess.CompletedProcess[str]:
    return commands.run(["migrate"], environment(**settings), 120)


def test_programs_reach_a_broker_with_tls_and_a_token(
    broker: Broker, clickhouse_server: Server, tmp_path: Path
) -> None:
    """Migrate, a receiver and a worker; without the authority or with another token nobody does."""
    settings = broker.settings(clickhouse_server)
    eventually(lambda: migrated(**settings).returncode == 0, "the migration")
    assert migrated(**(settings | {"AXONPUSH_NATS_TOKEN": "another"})).returncode == 1
    assert "certificate" in migrated(**(settings | {"AXONPUSH_NATS_TLS_CA": ""})).stderr.lower()
    programs = {
        "receiver_ready": ["-m", "receiver"],
        "worker_started": ["-m", "workers", "event"],
    }
    for mark, arguments in programs.items():
        log = tmp_path / f"{mark}.log"
        with log.open("wb") as output:
            told = environment(**settings, AXONPUSH_PORT="0")
            process = subprocess.Popen([sys.executable, *arguments], env=told, cwd=ROOT, stdout=output, stderr=output)
        try:
            eventually(lambda: mark.encode() in log.read_bytes(), f"{mark} (log: {log})")  # noqa: B023 (called here)
            assert TOKEN.encode() not in log.read_bytes()
        finally:
            process.terminate()
            process.wait(STOP_DEADLINE_S)
