"""Three brokers, users with few rights, a receiver and a worker: what each may do, and what a killed broker costs."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Awaitable, Callable, Iterator

import nats
import pytest
from nats.aio.client import Client
from nats.js.api import StreamInfo

from ops.provisioning import migrate
from ops.provisioning.streams import MIB
from ops.runtime.failures import Failed
from ops.runtime.nats_options import Role
from tests.cluster import PASSWORDS
from tests.cluster_site import BUDGETS, CHANNEL, ClusterSite, open_site, status_of
from tests.polling import ANSWER_TIMEOUT_S, eventually
from tests.servers import HOST, Server

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, clickhouse_server: Server) -> Iterator[ClusterSite]:
    """One cluster for this file; the last tests kill its members one after the other."""
    with open_site(tmp_path_factory.mktemp("cluster"), clickhouse_server.url) as running:
        yield running


def test_every_program_works_with_the_rights_it_has(site: ClusterSite) -> None:
    """Rows, a dead letter, counts that come back, a revocation, a quota, its outcome; the brokers refused nothing."""
    event_id = uuid.uuid4().hex
    assert site.send(event_id) == 200
    broken = f"http://{HOST}:{site.port}/api/{CHANNEL}/envelope/?sentry_key={site.key}"
    eventually(
        lambda: status_of(broken, b'{}\n{"type":"event","length":99}\n' + uuid.uuid4().bytes) == 400, "a verdict"
    )
    eventually(lambda: site.native("first-key") == 201, "the bucket, which was made a moment ago, to have its leader")
    assert [site.native("one-key") for _ in range(2)] == [201, 201], "an idempotency key, used and repeated"
    limited = site.mint(quota=1)
    eventually(lambda: site.send(uuid.uuid4().hex, limited) == 429, "the quota")
    rows = site.mint(rows=1)
    eventually(lambda: site.send(uuid.uuid4().hex, rows) == 429, "the quota of rows, as the workers count them")
    revoked = site.mint()
    eventually(lambda: site.send(uuid.uuid4().hex, revoked) == 200, "a new key")
    site.registry(lambda registry: registry.revoke(revoked))
    eventually(lambda: site.send(uuid.uuid4().hex, revoked) == 401, "the revocation")
    eventually(lambda: event_id in site.stored(), "the row")
    eventually(lambda: site.query("SELECT count() > 0 FROM dead_letters") == [(True,)], "the dead letter")
    refused = "SELECT sum(quantity) > 0 FROM outcomes WHERE outcome = 'rate_limited' AND reason = 'quota:key'"
    eventually(lambda: site.query(refused) == [(True,)], "the outcome")
    assert site.violations() == []


def as_user(site: ClusterSite, role: Role, work: Callable[[Client], Awaitable[None]], refusals: int = 0) -> list[str]:
    """Runs `work` as a user; returns what the broker refused, as soon as that are so many."""
    refused: list[str] = []
    enough = asyncio.Event()

    async def on_error(error: Exception) -> None:
        refused.append(str(error))
        enough.set()

    async def run() -> None:
        client = await nats.connect(
            site.cluster.url.split(","),
            user=role,
            password=PASSWORDS[role],
            inbox_prefix=f"_INBOX.{role}",
            error_cb=on_error,
        )
        try:
            await work(client)
            await client.flush()
            if refusals:
                await asyncio.wait_for(enough.wait(), ANSWER_TIMEOUT_S)
        finally:
            await client.close()

    asyncio.run(run())
    return refused


def states(site: ClusterSite) -> dict[str, StreamInfo]:
    """Every stream as it is."""
    found: dict[str, StreamInfo] = {}

    async def work(client: Client) -> None:
        found.update(
            {str(one.config.name): one for one in await client.jetstream(timeout=ANSWER_TIMEOUT_S).streams_info()}
        )

    as_user(site, "operator", work)
    return found


FORBIDDEN: list[tuple[Role, str, bytes]] = [
    ("receiver", "item.event.5", b"x"),
    ("receiver", "dead.event.event.5", b"x"),
    ("receiver", "$KV.registry.key.0", b"{}"),
    ("receiver", "$JS.API.STREAM.PURGE.RAW", b""),
    ("receiver", "$JS.API.STREAM.DELETE.RAW", b""),
    ("receiver", "$JS.API.STREAM.MSG.DELETE.RAW", b'{"seq":1}'),
    ("receiver", "$JS.API.DIRECT.GET.RAW", b'{"seq":1}'),
    ("receiver", "$JS.API.CONSUMER.CREATE.RAW", b"{}"),
    ("receiver", "$JS.API.CONSUMER.MSG.NEXT.RAW.unpack-v1", b"1"),
    ("receiver", "$JS.ACK.RAW.unpack-v1.1.1.1.1.0", b"+ACK"),
    ("worker", "raw.sentry.envelope.5", b"x"),
    ("receiver", "quota.rows", b"{}"),
    ("receiver", "quota.ask", b""),
    ("worker", "quota.use", b"{}"),
    ("worker", "quota.ask", b""),
    ("worker", "$KV.registry.key.0", b"{}"),
    ("worker", "$JS.API.DIRECT.GET.KV_registry.$KV.registry.key.0", b""),
    ("worker", "$JS.API.STREAM.PURGE.RAW", b""),
    ("worker", "$JS.API.STREAM.MSG.DELETE.DEAD", b'{"seq":1}'),
    ("worker", "$JS.API.CONSUMER.DELETE.RAW.unpack-v1", b""),
    ("worker", "$JS.API.CONSUMER.CREATE.RAW", b"{}"),
]


@pytest.mark.parametrize(("role", "subject", "body"), FORBIDDEN, ids=lambda value: str(value)[:60])
def test_nobody_may_do_what_is_not_his(site: ClusterSite, role: Role, subject: str, body: bytes) -> None:
    """The broker refuses it by name, and every stream is as it was."""
    before = states(site)

    async def work(client: Client) -> None:
        await client.publish(subject, body)

    refused = as_user(site, role, work, refusals=1)
    assert any("permissions violation for publish" in one and subject.lower() in one for one in refused), refused
    after = states(site)
    assert {name: one.config for name, one in after.items()} == {name: one.config for name, one in before.items()}
    assert {name: one.state.last_seq for name, one in after.items()} == {
        name: one.state.last_seq for name, one in before.items()
    }


@pytest.mark.parametrize(
    ("role", "subject"),
    [("receiver", "raw.>"), ("receiver", "_INBOX.worker.>"), ("worker", "_INBOX.receiver.>"), ("worker", "raw.>")],
)
def test_nobody_may_listen_to_what_is_not_his(site: ClusterSite, role: Role, subject: str) -> None:
    """Bodies and other programs' replies are nobody else's business."""

    async def work(client: Client) -> None:
        await client.subscribe(subject)

    assert any("permissions violation for subscription" in one for one in as_user(site, role, work, refusals=1))


def greeting(site: ClusterSite, **told: str) -> bytes:
    """What a server answers to CONNECT and PING, without a client that would try again."""
    with socket.create_connection((HOST, site.cluster.members[0].port), ANSWER_TIMEOUT_S) as connection:
        connection.sendall(b"CONNECT %s\r\nPING\r\n" % json.dumps(told | {"lang": "test", "version": "1"}).encode())
        found = b""
        while b"PONG" not in found and b"-ERR" not in found:
            found += connection.recv(4096) or b"-ERR (nothing)"
    return found


def test_a_wrong_password_is_refused(site: ClusterSite) -> None:
    """Also where the configuration holds a hash of it, and for whoever names nobody."""
    assert b"PONG" in greeting(site, user="worker", **{"pass": PASSWORDS["worker"]})
    assert b"Authorization Violation" in greeting(site, user="worker", **{"pass": "worker"})
    assert b"Authorization Violation" in greeting(site)


def test_streams_are_replicated_three_times(site: ClusterSite) -> None:
    """Buckets included: the registry must survive what the bodies survive."""
    for name, info in states(site).items():
        assert info.config.num_replicas == 3, name
        assert info.cluster is not None
        assert len(info.cluster.replicas or []) == 2, name


@pytest.mark.asyncio
async def test_a_second_migration_finds_nothing_to_do(site: ClusterSite) -> None:
    """What the cluster adds to a configuration of its own is no difference."""
    assert await migrate.migrate(site.operator, BUDGETS, dry_run=True) == []


class Load:
    """Sends events until told to stop; what is not answered with 200 is sent again, as an SDK with a queue would."""

    def __init__(self, site: ClusterSite) -> None:
        self._site = site
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(2)]
        self.acknowledged: list[str] = []
        self.others: list[int] = []

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def more(self, number: int) -> None:
        """Returns when so many further events were acknowledged."""
        wanted = len(self.acknowledged) + number
        eventually(lambda: len(self.acknowledged) >= wanted, f"{number} more acknowledged events")

    def _send(self) -> None:
        while not self._stop.is_set():
            event_id = uuid.uuid4().hex
            while (status := self._site.send(event_id)) != 200:
                self.others.append(status)
                if self._stop.is_set():
                    return
                time.sleep(0.05)  # a sender's pause, not a wait for anything
            self.acknowledged.append(event_id)
            time.sleep(0.01)


@pytest.mark.parametrize(
    "stream", ["RAW", *(pytest.param(name, marks=pytest.mark.long) for name in ("KV_registry", "ITEMS"))]
)
def test_a_killed_broker_loses_nothing(site: ClusterSite, stream: str) -> None:
    """kill -9 of a stream's leader under load: answers go on after at most 503s, and every 200 is found by SQL.

    The registry serves on: a key minted with one broker away works, and the broker comes back without hands.
    """
    victim = site.cluster.leader(stream)
    with Load(site) as load:
        load.more(20)
        victim.kill()
        load.more(40)
        minted = eventually(lambda: _mint(site), "a key minted with two brokers")
        eventually(lambda: site.send(uuid.uuid4().hex, minted) == 200, "the new key to work")
        site.cluster.start(victim)
        load.more(20)
    assert set(load.others) <= {503}, "nothing but 503 while leaders are elected"
    acknowledged = set(load.acknowledged)
    eventually(lambda: acknowledged <= site.stored(), "every acknowledged event in SQL")


def _mint(site: ClusterSite) -> str:
    try:
        return site.mint()
    except Failed:  # a command that meets an election says so; a person types it again
        return ""


def test_health_says_who_is_missing(site: ClusterSite) -> None:
    """The monitoring port of the configuration answers, and names the cluster."""
    with urllib.request.urlopen(f"http://{HOST}:{site.cluster.members[0].monitor}/varz", timeout=60) as answer:
        found = json.load(answer)
    assert found["cluster"]["name"] == "axonpush"
    assert found["max_payload"] == 8 * MIB
