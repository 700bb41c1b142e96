"""Files for separate processes, tried as far as this machine can: the NATS configuration on a real server."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.cli.servers import open_nats
from ops.local.nats_server import binary
from ops.provisioning.migrate import migrate_broker
from ops.provisioning.streams import Budgets
from ops.runtime.settings import Settings
from receiver.settings import ReceiverSettings

pytestmark = pytest.mark.live

CONFIG = Path(__file__).parents[4] / "ops" / "deploy" / "nats" / "nats.conf"
START_TIMEOUT_S = 120.0
POLL_S = 0.02


@pytest.fixture
def nats_url(tmp_path: Path) -> Iterator[str]:
    """A server with the configuration as it is, but for its folder and its ports."""
    text = CONFIG.read_text().replace("store_dir: /data", f"store_dir: {json.dumps(str(tmp_path / 'data'))}")
    text = re.sub(r"^(port|http): \d+$", r"\1: -1", text, flags=re.MULTILINE)
    config = tmp_path / "nats.conf"
    config.write_text(f"{text}\nports_file_dir: {json.dumps(str(tmp_path))}\n")
    process = subprocess.Popen([binary(), "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield asyncio.run(_address(tmp_path))
    finally:
        process.terminate()
        process.wait(START_TIMEOUT_S)


async def _address(folder: Path) -> str:
    async with asyncio.timeout(START_TIMEOUT_S):
        while True:
            for found in folder.glob("*.ports"):
                if text := found.read_text():
                    return str(json.loads(text)["nats"][0])
            await asyncio.sleep(POLL_S)


@pytest.mark.asyncio
async def test_the_nats_of_compose_holds_our_streams_and_bodies(nats_url: str) -> None:
    """Streams with their default budgets fit, and the largest body we accept fits into one message."""
    await _holds_streams_and_bodies(nats_url)


async def _holds_streams_and_bodies(nats_url: str) -> None:
    settings = Settings(nats_url=nats_url)
    assert await migrate_broker(settings, Budgets(), dry_run=False)
    assert not await migrate_broker(settings, Budgets(), dry_run=True)
    async with open_nats(settings, "test") as client:
        assert client.max_payload > ReceiverSettings().max_body_bytes
