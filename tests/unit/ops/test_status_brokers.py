"""One broker that was killed is one problem, whatever follows from it, and is not taken for a wrong address."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest
from nats.js.errors import ServiceUnavailableError

from ops.janitor.storage import NO_ANSWER, REFUSES_CONNECTIONS, SAYS_NOTHING, StorageRefusal, missing
from ops.provisioning.cluster_changes import StateReport
from ops.provisioning.desired_state import checked
from ops.provisioning.streams import Budgets
from ops.status import servers
from ops.status.findings import Status, WorkerStatus
from ops.status.servers import REPLICA, BrokerServer, ReceiverHealth, RefusedWorker

RECEIVERS = [ReceiverHealth("r1", "host:8080", {"broker": True})]
ADDRESSES = [BrokerServer(f"nats-{number}", True, f"nats://10.0.0.{number}:4222") for number in (1, 2)]
KILLED = BrokerServer("nats://10.0.0.3:4222", False, "nats://10.0.0.3:4222", error=REFUSES_CONNECTIONS)
SILENT = [StorageRefusal(stream, "", NO_ANSWER, answered=False) for stream in ("DEAD", "KV_registry", "REPLAY")]


@dataclass
class Reply:
    data: bytes


class Broker:
    """Answers STREAM.INFO of RAW as its leader does."""

    def __init__(self, *replicas: dict[str, Any]) -> None:
        self._cluster = {"leader": "nats-1", "replicas": replicas}

    async def request(self, *_arguments: object, **_options: object) -> Reply:
        return Reply(json.dumps({"cluster": self._cluster}).encode())


async def replicas(*told: dict[str, Any]) -> list[BrokerServer]:
    return await servers.replicas(cast("Any", Broker(*told)))


@pytest.mark.asyncio
async def test_a_replica_that_is_not_heard_of_is_away_and_not_behind() -> None:
    """nats-server calls it offline much later; until then the others only have not heard of it."""
    found = await replicas(
        {"name": "nats-2", "current": True, "active": 400_000_000},
        {"name": "nats-3", "current": True, "active": 7_000_000_000},
        {"name": "nats-4", "current": False, "active": 400_000_000},
    )
    assert [one.answers for one in found] == [True, True, False, True]
    assert "not heard of it for 7 s" in found[2].error
    texts = Status(brokers=[*ADDRESSES, KILLED, *found[:3]], receivers=RECEIVERS).problems
    assert len(texts) == 1
    assert texts[0].startswith("broker nats-3 (nats://10.0.0.3:4222): does not accept connections. Start it again")
    assert "AXONPUSH_NATS_URL" not in texts[0]
    (behind,) = Status(brokers=[*ADDRESSES, found[0], found[3]], receivers=RECEIVERS).problems
    assert behind.startswith("broker nats-4 is behind")


def test_streams_that_elect_a_leader_are_one_line_after_the_broker() -> None:
    """One killed broker was eight problems, and the broker the last of them."""
    peers = [BrokerServer("nats-1", True, REPLICA), BrokerServer("nats-3", False, REPLICA, error="is offline")]
    texts = Status(brokers=[*ADDRESSES, KILLED, *peers], storage=SILENT, receivers=RECEIVERS).problems
    assert len(texts) == 2
    assert texts[0].startswith("broker nats-3")
    assert texts[1].startswith("streams without a leader now: DEAD, KV_registry, REPLAY.")
    full = StorageRefusal("RAW", "nats-1", "no space left on device")
    texts = Status(brokers=[*ADDRESSES, KILLED, *peers], storage=[*SILENT, full], receivers=RECEIVERS).problems
    assert any("stream RAW on server nats-1 refuses to store" in text for text in texts)
    alone = Status(brokers=ADDRESSES, storage=SILENT, receivers=RECEIVERS).problems
    assert len(alone) == len(SILENT)


def test_two_of_three_brokers_away_is_no_majority() -> None:
    """It said that senders would get 503 if one more stopped, while they got it."""
    other = BrokerServer("nats://10.0.0.2:4222", False, "nats://10.0.0.2:4222", error=REFUSES_CONNECTIONS)
    waits = RefusedWorker("host pid 7", ("event",), ("start",))
    brokers, silent = [ADDRESSES[0], other, KILLED], [WorkerStatus("event", unknown=True)]
    texts = Status(brokers=brokers, workers=silent, refused_workers=[waits], receivers=RECEIVERS).problems
    assert texts[0].startswith("2 of 3 brokers do not answer, so no majority runs, and senders get 503 now: nats://10")
    assert not any("if one more stops" in text for text in texts)
    assert not any("waits for ClickHouse" in text for text in texts)
    well = Status(brokers=ADDRESSES, workers=[WorkerStatus("event")], refused_workers=[waits], receivers=RECEIVERS)
    assert any("waits for ClickHouse" in text for text in well.problems)


def test_several_brokers_and_one_replica_are_noted() -> None:
    """What an `up` beside three brokers makes without AXONPUSH_NATS_REPLICAS."""
    three = [*ADDRESSES, BrokerServer("nats-3", True, "nats://10.0.0.3:4222")]

    def noted(replicas: int, brokers: list[BrokerServer]) -> list[str]:
        state = checked({**Budgets().model_dump(), "nats_replicas": replicas})
        return Status(brokers=brokers, desired=StateReport(state)).notes

    (text,) = noted(1, three)
    assert "3 brokers answer, and every stream has one replica" in text
    assert noted(3, three) == noted(1, ADDRESSES) == []


@pytest.mark.asyncio
async def test_a_new_leader_that_has_heard_of_nobody_is_alone() -> None:
    """Its replicas were "behind", their addresses "wrong in this shell only", and its disk was to be freed."""
    addresses = [ADDRESSES[0], *(replace(KILLED, name=f"nats://10.0.0.{n}:4222") for n in (2, 3))]
    alone = await replicas({"name": "nats-2", "current": False}, {"name": "nats-3", "current": False})
    refused = StorageRefusal("RAW", "", "JetStream system temporarily unavailable", is_starting=True)
    texts = Status(brokers=[*addresses, *alone], storage=[refused], receivers=RECEIVERS).problems
    assert len(texts) == 2
    assert texts[0].startswith("2 of 3 brokers do not answer, so no majority runs")
    assert texts[1].startswith("streams without a leader now: RAW")
    assert "free disk space" not in refused.remedy


class Lists:
    """Answers STREAM.NAMES and STREAM.INFO; `errors` by stream, the empty one of the list."""

    def __init__(self, names: list[str], **errors: int) -> None:
        self._names = names
        self._errors = errors

    async def request(self, subject: str, *_arguments: object, **_options: object) -> Reply:
        name = subject.rpartition(".")[2]
        if code := self._errors.get(name):
            return Reply(json.dumps({"error": {"code": 503, "err_code": code, "description": "d"}}).encode())
        return Reply(json.dumps({"streams": self._names}).encode())


async def absent(names: list[str], **errors: int) -> list[str]:
    return await missing(cast("Any", Lists(names, **errors)))


@pytest.mark.asyncio
async def test_streams_are_missing_only_if_a_broker_with_a_majority_says_so() -> None:
    """With two of three brokers dead, ten lines said `stream RAW is missing: run axonpush migrate`."""
    with pytest.raises(ServiceUnavailableError):
        await absent([], NAMES=10008)
    assert await absent([]) == [], "a broker that was just started has not heard of them"
    others = ["ITEMS", "DEAD", "REFUSED", "REPLAY"]
    assert await absent(others, RAW=10059) == ["RAW"]
    assert await absent(others, RAW=10008) == []
    brokers = [ADDRESSES[0], KILLED, replace(KILLED, name="nats://b:1")]
    texts = Status(brokers=brokers, unknown={"list of streams": "d"}, receivers=RECEIVERS).problems
    assert not any("not known" in text for text in texts)


def test_a_broker_that_answers_is_not_called_dead() -> None:
    """A leader without a majority had not heard of the one that runs: 3 of 3 did not answer, or the wrong one was to
    be started.
    """
    unheard = [BrokerServer(f"nats-{n}", False, REPLICA, error="is offline: the others") for n in (1, 2, 3)]
    dead = [replace(KILLED, name=f"nats://10.0.0.{n}:4222", source=f"nats://10.0.0.{n}:4222") for n in (2, 3)]
    text = Status(brokers=[ADDRESSES[0], *dead, *unheard], receivers=RECEIVERS).headline
    assert "2 of 3 brokers do not answer" in text
    assert "nats-1" not in text
    (text,) = Status(brokers=[*ADDRESSES, KILLED, unheard[0]], receivers=RECEIVERS).problems
    assert text.startswith("broker nats://10.0.0.3:4222: does not accept connections. Start it again")


def test_a_majority_that_is_away_is_said_although_the_connection_failed_too() -> None:
    """`this command reaches no broker … or correct AXONPUSH_NATS_URL` stood above a table in which one answers."""
    stopped = BrokerServer("nats://10.0.0.2:4222", False, "nats://10.0.0.2:4222", error=SAYS_NOTHING)
    unknown = {"NATS": "expected an answer of NATS at a, b, c, found no answer in time: it is stopped"}
    texts = Status(brokers=[ADDRESSES[0], stopped, KILLED], unknown=unknown).problems
    assert texts[0].startswith("2 of 3 brokers do not answer, so no majority runs, and senders get 503 now")
    assert not any("reaches no broker" in text or "nothing more" in text for text in texts)
    texts = Status(brokers=[*ADDRESSES, replace(stopped, name="nats-3")], unknown=unknown).problems
    assert texts[0].startswith("broker nats-3")
    assert "although nats-1, nats-2 answers" in texts[1]


@pytest.mark.asyncio
async def test_without_a_leader_nothing_is_said_of_replicas() -> None:
    """The only broker that was left was shown as offline, and the two that were dead as behind."""

    class Alone(Broker):
        async def request(self, *_arguments: object, **_options: object) -> Reply:
            peers = [
                {"name": "nats-1", "current": False, "offline": True, "active": 3_000_000_000},
                {"name": "nats-2", "current": False, "active": 0},
                {"name": "nats-3", "current": False, "active": 0},
            ]
            return Reply(json.dumps({"cluster": {"replicas": peers}}).encode())

    assert await servers.replicas(cast("Any", Alone())) == []
    dead = [replace(KILLED, name=f"nats://10.0.0.{n}:4222", source=f"nats://10.0.0.{n}:4222") for n in (2, 3)]
    unknown = {"stream RAW": "nats: ServiceUnavailableError: description='JetStream system temporarily unavailable'"}
    (text,) = Status(brokers=[ADDRESSES[0], *dead], receivers=RECEIVERS, unknown=unknown).problems
    assert text.startswith("2 of 3 brokers do not answer, so no majority runs")
