"""What the brokers would refuse is said before anything is changed; what is not known is no obstacle."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from nats.js.errors import APIError

from ops.janitor import broker_limits
from ops.janitor.broker_limits import BrokerLimits, limits_in
from ops.local import nats_server
from ops.provisioning import feasibility
from ops.provisioning.desired_state import checked
from ops.provisioning.feasibility import obstacles, servers_known
from ops.provisioning.stream_changes import _remedy
from ops.provisioning.streams import Budgets
from ops.runtime.settings import Settings
from ops.status.findings import Status
from schemas.registry import DesiredState
from tests.servers import HOST

GIB = 1024**3
ALONE: dict[str, object] = {"server_name": "a", "server_id": "A"}
OF_THREE: dict[str, object] = {**ALONE, "cluster": "c", "connect_urls": ["a:1", "b:1", "c:1"]}


def state(replicas: int) -> DesiredState:
    return checked({**Budgets().model_dump(), "nats_replicas": replicas})


def test_greetings_tell_how_many_brokers_there_are() -> None:
    assert servers_known([]) is None
    assert servers_known([ALONE]) == 1
    assert servers_known([OF_THREE]) == 3
    assert servers_known([{**OF_THREE, "connect_urls": []}]) is None, "brokers that do not advertise their peers"


@pytest.mark.parametrize(
    ("greeting", "replicas", "storage_limit", "words"),
    [
        (ALONE, 3, 0, "3 replicas need 3 brokers in one cluster, found one broker that is in no cluster"),
        (OF_THREE, 5, 0, "5 replicas need 5 brokers in one cluster, found 3 brokers"),
        (ALONE, 1, GIB, "broker a may store 1 GiB (max_file_store"),
        (OF_THREE, 3, GIB, "broker a may store 1 GiB"),
        (OF_THREE, 1, GIB, ""),
        (ALONE, 1, 100 * GIB, ""),
        (OF_THREE, 3, 0, ""),
        ({}, 3, 0, ""),
    ],
)
@pytest.mark.asyncio
async def test_obstacles_are_said_where_they_are_certain(
    monkeypatch: pytest.MonkeyPatch, greeting: dict[str, object], replicas: int, storage_limit: int, words: str
) -> None:
    async def told(_address: str) -> dict[str, object]:
        return greeting

    async def limits(_settings: Settings) -> list[BrokerLimits]:
        return [BrokerLimits("a", 0, storage_limit, 0, 0)]

    monkeypatch.setattr(feasibility, "greeting", told)
    monkeypatch.setattr(feasibility, "broker_limits", limits)
    found = (await obstacles(Settings(), state(replicas))).obstacles
    assert len(found) == bool(words)
    assert words in "".join(found)


@pytest.mark.asyncio
async def test_the_limit_of_up_is_asked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dry run said nothing of a size that the broker of `up`, which has no monitoring port, would refuse."""

    async def told(_address: str) -> dict[str, object]:
        return ALONE

    async def no_limits(_settings: Settings) -> list[BrokerLimits]:
        return []

    monkeypatch.setattr(feasibility, "greeting", told)
    monkeypatch.setattr(feasibility, "broker_limits", no_limits)
    unknown = await obstacles(Settings(), state(1))
    assert (unknown.obstacles, unknown.knows_disk) == ([], False)
    known = await obstacles(Settings(), state(1), [BrokerLimits("axonpush", 0, GIB, 0, 0)])
    assert known.knows_disk
    assert "broker axonpush may store 1 GiB" in known.obstacles[0]


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ("replicas > 1 not supported in non-clustered mode", "As many brokers are needed as replicas"),
        ("no suitable peers for placement", "As many brokers are needed as replicas"),
        ("insufficient storage resources available", "max_file_store"),
        ("stream configuration update can not change storage", "moved by hand"),
    ],
)
def test_a_refusal_of_the_broker_comes_with_what_to_do(description: str, words: str) -> None:
    assert words in _remedy(APIError(code=400, err_code=1, description=description))


@pytest.mark.asyncio
async def test_limits_come_from_the_server_that_was_greeted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something else may listen on the port; nothing at all is no error."""
    answer = {"server_id": "A", "storage": 5, "memory": 1, "config": {"max_storage": 10, "max_memory": 2}}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + json.dumps(answer).encode())
        await writer.drain()
        writer.close()

    async def told(_address: str) -> dict[str, object]:
        return ALONE

    monkeypatch.setattr(broker_limits, "greeting", told)
    server = await asyncio.start_server(serve, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    settings = Settings(nats_url=f"nats://{HOST}:4222")
    assert await broker_limits.broker_limits(settings, port) == [BrokerLimits("a", 5, 10, 1, 2)]
    server.close()
    await server.wait_closed()
    assert await broker_limits.broker_limits(settings, port) == []
    assert limits_in({**answer, "server_id": "B"}, ALONE) is None
    assert limits_in({"server_id": "A"}, ALONE) is None


def test_the_limits_of_up_stand_in_its_folder(tmp_path: Path) -> None:
    """It has no monitoring port."""
    assert broker_limits.limits_of_up(tmp_path, 5, 1) is None
    text = nats_server.config(host=HOST, port=1, store_dir=tmp_path, max_file_bytes=GIB)
    (tmp_path / "nats.conf").write_text(text)
    found = broker_limits.limits_of_up(tmp_path, 5, 1)
    assert found is not None
    assert (found.storage_bytes, found.memory_limit_bytes) == (5, nats_server.MAX_MEMORY_BYTES)
    assert found.storage_limit_bytes == GIB + nats_server.FILE_STORE_MARGIN_BYTES


def test_a_folder_tells_the_limits_of_its_own_broker_only(tmp_path: Path) -> None:
    (tmp_path / "nats.conf").write_text(nats_server.config(host=HOST, port=1, store_dir=tmp_path, max_file_bytes=GIB))
    assert broker_limits.limits_of_folder(tmp_path, Settings(nats_url="nats://127.0.0.1:1")) == ()
    (tmp_path / "ready.json").write_text(json.dumps({"nats_url": "nats://me:hush@127.0.0.1:1"}))
    (found,) = broker_limits.limits_of_folder(tmp_path, Settings(nats_url="nats://127.0.0.1:1"))
    assert found.storage_limit_bytes == GIB + nats_server.FILE_STORE_MARGIN_BYTES
    assert broker_limits.limits_of_folder(tmp_path, Settings(nats_url="nats://127.0.0.1:2")) == ()


def test_a_broker_at_its_own_limit_is_a_problem() -> None:
    """The account may have no limit at all."""
    full = BrokerLimits("nats-1", 97 * GIB, 100 * GIB, 0, 0)
    assert any("broker nats-1 uses" in one for one in Status(broker_limits=[full]).problems)
    half = BrokerLimits("nats-1", 50 * GIB, 100 * GIB, 0, 0)
    assert not any("broker nats-1" in one for one in Status(broker_limits=[half]).problems)


def test_a_lack_of_room_on_enough_brokers_is_not_called_a_lack_of_brokers() -> None:
    """Three ran, and the advice was to start more."""
    both = APIError(description="no suitable peers for placement, insufficient storage")
    assert "choose smaller streams, such as `axonpush cluster set --raw-max-bytes`" in _remedy(both)
    assert "start more" in _remedy(APIError(description="no suitable peers for placement"))
