"""What each broker itself may store, from its monitoring port: the account's numbers do not show it."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from ops.cli.servers import READY_FILE, read_json, same_servers
from ops.janitor.storage import greeting

if TYPE_CHECKING:
    from ops.runtime.settings import Settings

# The usual port; our Compose file and Kubernetes manifests have it.
MONITORING_PORT: Final = 8222
TIMEOUT_S: Final = 2.0
_IN_CONFIG: Final = re.compile(r"^\s*(max_file_store|max_memory_store): (\d+)$", re.MULTILINE)
MAX_ANSWER_BYTES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class BrokerLimits:
    """What one broker uses of its own limits of disk and memory; a limit of 0 means that it has none."""

    server: str
    storage_bytes: int
    storage_limit_bytes: int
    memory_bytes: int
    memory_limit_bytes: int


async def broker_limits(settings: Settings, port: int = MONITORING_PORT) -> list[BrokerLimits]:
    """Those of the brokers whose monitoring port answers. Never raises: unknown is no error."""
    answers = await asyncio.gather(*(_limits(address, port) for address in settings.nats_servers()))
    return [limits for limits in answers if limits is not None]


def limits_of_up(data_dir: Path, storage_bytes: int, memory_bytes: int) -> BrokerLimits | None:
    """Those of the broker that `axonpush up` runs in this folder, which alone uses its disk; None without one."""
    try:
        text = (data_dir / "nats.conf").read_text()
    except OSError:
        return None
    limits = {name: int(number) for name, number in _IN_CONFIG.findall(text)}
    if len(limits) < 2:
        return None
    return BrokerLimits("axonpush", storage_bytes, limits["max_file_store"], memory_bytes, limits["max_memory_store"])


def limits_of_folder(data_dir: Path, settings: Settings) -> tuple[BrokerLimits, ...]:
    """Those of the `up` of this folder, if these settings name its broker."""
    own = read_json(data_dir / READY_FILE).get("nats_url")
    if not isinstance(own, str) or not same_servers(own, settings.nats_url):
        return ()
    limits = limits_of_up(data_dir, 0, 0)
    return (limits,) if limits else ()


async def _limits(address: str, port: int) -> BrokerLimits | None:
    greeting_fields = await greeting(address)
    host = urlsplit(address).hostname
    if not greeting_fields or not host:
        return None
    try:
        async with asyncio.timeout(TIMEOUT_S):
            answer = await asyncio.to_thread(_ask, host, port)
    except (OSError, ValueError, TimeoutError):
        return None
    return limits_in(answer, greeting_fields)


def limits_in(answer: dict[str, Any], greeting_fields: dict[str, object]) -> BrokerLimits | None:
    """The limits in an answer of /jsz, if it comes from the server that has sent this greeting."""
    config = answer.get("config")
    if (
        not greeting_fields.get("server_id")
        or answer.get("server_id") != greeting_fields["server_id"]
        or not isinstance(config, dict)
    ):
        return None
    return BrokerLimits(
        str(greeting_fields.get("server_name") or greeting_fields["server_id"]),
        int(answer.get("storage", 0)),
        int(config.get("max_storage", 0)),
        int(answer.get("memory", 0)),
        int(config.get("max_memory", 0)),
    )


def _ask(host: str, port: int) -> dict[str, Any]:
    """Raises OSError, ValueError."""
    name = f"[{host}]" if ":" in host else host
    with urllib.request.urlopen(f"http://{name}:{port}/jsz", timeout=TIMEOUT_S) as answer:
        document = json.loads(answer.read(MAX_ANSWER_BYTES))
    return document if isinstance(document, dict) else {}
