"""The desired state of a system with three brokers: no command in the wrong shell takes anything from it."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from nats.aio.client import Client

from ops.cli.servers import open_clickhouse
from ops.provisioning.streams import MIB
from ops.runtime.settings import Settings
from tests.brokers import on_broker
from tests.cluster import PASSWORDS, Cluster
from tests.commands import commands
from tests.servers import Server, environment

pytestmark = pytest.mark.live

SIZES = {
    "AXONPUSH_RAW_MAX_BYTES": str(256 * MIB),
    "AXONPUSH_ITEMS_MAX_BYTES": str(64 * MIB),
    "AXONPUSH_DEAD_MAX_BYTES": str(64 * MIB),
    "AXONPUSH_REPLAY_MAX_BYTES": str(64 * MIB),
    "AXONPUSH_IDEMPOTENCY_MAX_BYTES": str(64 * MIB),
    # A cluster knows of space that became free only some seconds later, so replicas must fit beside those that left.
    "AXONPUSH_ARTIFACTS_MAX_BYTES": str(64 * MIB),
}
FIRST = SIZES | {"AXONPUSH_NATS_REPLICAS": "3", "AXONPUSH_CLICKHOUSE_TTL_DAYS": "90"}
STREAMS = 9


class Site:
    """Three brokers, a database of its own, and commands from a shell that knows only the addresses."""

    def __init__(self, cluster: Cluster, clickhouse_url: str) -> None:
        self.cluster = cluster
        self.database = f"test_{uuid.uuid4().hex}"
        self.addresses = {
            name: value for name, value in cluster.settings("operator").items() if name != "AXONPUSH_NATS_REPLICAS"
        } | {"AXONPUSH_CLICKHOUSE_URL": clickhouse_url, "AXONPUSH_CLICKHOUSE_DATABASE": self.database}
        self.clickhouse_url = clickhouse_url

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return commands.run(arguments, environment(**self.addresses, **settings), 120)

    def ok(self, *arguments: str, **settings: str) -> str:
        done = self.run(*arguments, **settings)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def on_broker(self, work: Any) -> Any:
        return on_broker(self.cluster.members[0].url, work, user="operator", password=PASSWORDS["operator"])

    def shape(self) -> dict[str, tuple[int, int]]:
        """Replicas and size of every stream and bucket, as the broker has them."""

        async def read(client: Client) -> dict[str, tuple[int, int]]:
            configs = [info.config for info in await client.jetstream(timeout=30).streams_info()]
            return {str(one.name): (one.num_replicas or 0, one.max_bytes or 0) for one in configs}

        found: dict[str, tuple[int, int]] = self.on_broker(read)
        return found

    def drift(self, stream: str, **fields: Any) -> None:
        """Somebody changes a stream with another program."""

        async def change(client: Client) -> None:
            js = client.jetstream(timeout=30)
            await js.update_stream((await js.stream_info(stream)).config.evolve(**fields))

        self.on_broker(change)

    def forget(self) -> None:
        """As a system of an older version is: without the entry."""

        async def purge(client: Client) -> None:
            await client.jetstream(timeout=30).purge_stream("KV_registry", subject="$KV.registry.cluster.>")

        self.on_broker(purge)

    def query(self, sql: str) -> list[Any]:
        client = open_clickhouse(Settings(clickhouse_url=self.clickhouse_url))
        client.database = self.database
        try:
            return list(client.query(sql).result_rows)
        finally:
            client.close()

    def expiring_tables(self) -> int:
        ttl = "database = currentDatabase() AND engine_full LIKE '%toIntervalDay(90)%'"
        return int(self.query(f"SELECT count() FROM system.tables WHERE {ttl}")[0][0])

    def show(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.run("cluster", "show", "--json").stdout)
        return document


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, clickhouse_server: Server) -> Iterator[Site]:
    cluster = Cluster(tmp_path_factory.mktemp("desired"))
    cluster.start()
    try:
        made = Site(cluster, clickhouse_server.url)
        made.ok("migrate", **FIRST)
        yield made
    finally:
        cluster.end()


def test_migrate_in_a_shell_without_settings_changes_nothing(site: Site) -> None:
    """It took every stream to one replica, its default sizes and no TTL, with exit code 0."""
    before, expiring = site.shape(), site.expiring_tables()
    assert {replicas for replicas, _ in before.values()} == {3}
    assert expiring > 0
    assert "nothing to change" in site.ok("migrate")
    assert (site.shape(), site.expiring_tables()) == (before, expiring)


def test_a_variable_that_disagrees_is_said_and_not_applied(site: Site) -> None:
    """With both values, and the command that changes it."""
    before = site.shape()
    output = site.ok("migrate", AXONPUSH_NATS_REPLICAS="1", AXONPUSH_RAW_MAX_BYTES=str(64 * MIB))
    assert "AXONPUSH_NATS_REPLICAS is 1" in output
    assert "keeps 3" in output
    assert "axonpush cluster set --replicas 1" in output
    assert "AXONPUSH_RAW_MAX_BYTES is 64 MiB" in output
    assert site.shape() == before


def test_a_flag_that_disagrees_is_an_error(site: Site) -> None:
    """`migrate --replicas 1` is for a new system."""
    before = site.shape()
    done = site.run("migrate", "--replicas", "1")
    assert done.returncode == 1
    assert "axonpush cluster set --replicas 1" in done.stderr
    assert site.shape() == before


def test_lowering_needs_a_flag_and_says_what_it_costs(site: Site) -> None:
    """Without the flag and in a dry run nothing changes."""
    before = site.shape()
    for options, code in ((("--replicas", "1"), 1), (("--replicas", "1", "--dry-run", "--allow-lowering"), 0)):
        done = site.run("cluster", "set", *options)
        assert done.returncode == code, done.stdout + done.stderr
        assert "no broker may fail" in done.stdout + done.stderr
        assert site.shape() == before
    assert "--allow-lowering" in site.run("cluster", "set", "--replicas", "1").stderr


def test_replicas_are_lowered_and_raised_again(site: Site) -> None:
    """All streams and buckets; the entry counts its versions."""
    version = site.show()["version"]
    site.ok("cluster", "set", "--replicas", "1", "--allow-lowering")
    assert {replicas for replicas, _ in site.shape().values()} == {1}
    site.ok("cluster", "set", "--replicas", "3")
    assert {replicas for replicas, _ in site.shape().values()} == {3}
    assert site.show()["version"] == version + 2


def test_the_cost_of_a_smaller_stream_and_a_shorter_ttl_is_counted(site: Site) -> None:
    """Messages and bytes that would go, or what is refused then."""

    async def fill(client: Client) -> None:
        js = client.jetstream(timeout=30)
        for number in range(3):
            await js.publish(f"refused.unpack.envelope.{number}", bytes(600_000))

    site.on_broker(fill)
    done = site.run("cluster", "set", "--refused-max-bytes", "1MiB")
    assert done.returncode == 1
    assert "about 2 of 3 messages" in done.stderr
    site.ok("cluster", "set", "--refused-max-bytes", "1MiB", "--allow-lowering")
    assert site.shape()["REFUSED"][1] == MIB
    done = site.run("cluster", "set", "--clickhouse-ttl-days", "30")
    assert done.returncode == 1
    assert "older than 30 days" in done.stderr
    assert site.expiring_tables() > 0


@pytest.mark.parametrize("change", [("--replicas", "5"), ("--raw-max-bytes", "900TiB")])
def test_what_the_broker_refuses_is_undone(site: Site, change: tuple[str, str]) -> None:
    """Five replicas need five servers, and no disk is that large: neither the entry nor a stream is left half changed.

    The first is known before; the second is not where no monitoring port answers, so the broker itself refuses it.
    """
    before, shown = site.shape(), site.show()
    done = site.run("cluster", "set", *change)
    assert done.returncode == 1
    assert "refused" in done.stderr
    assert site.shape() == before
    after = site.show()
    assert after["desired"] == shown["desired"]
    said = f"its version is now {after['version']} (before: {shown['version']})" in done.stderr
    assert said == (after["version"] != shown["version"])


def test_streams_below_the_desired_state_are_shown_and_repaired(site: Site) -> None:
    """Somebody lowered a stream with another program: `cluster show` fails, `migrate` repairs it."""
    site.drift("DEAD", num_replicas=1)
    done = site.run("cluster", "show")
    assert done.returncode == 1
    assert "DEAD has 1 of 3 wanted replicas" in done.stdout
    assert "DEAD" in site.ok("migrate")
    assert site.shape()["DEAD"][0] == 3
    assert site.run("cluster", "show").returncode == 0


def test_migrate_does_not_lower_what_somebody_has_raised(site: Site) -> None:
    """It says so, and how to keep or lower it."""
    site.drift("ITEMS", max_bytes=128 * MIB)
    output = site.ok("migrate")
    assert "ITEMS" in output
    assert "--allow-lowering" in output
    assert site.shape()["ITEMS"][1] == 128 * MIB
    site.ok("migrate", "--allow-lowering")
    assert site.shape()["ITEMS"][1] == 64 * MIB


def test_a_system_of_an_older_version_keeps_what_it_has(site: Site) -> None:
    """The entry is made from the streams and tables as they are, whatever the shell says."""
    before, expiring = site.shape(), site.expiring_tables()
    site.forget()
    output = site.ok("migrate", AXONPUSH_NATS_REPLICAS="1")
    assert "keeps 3" in output
    assert (site.shape(), site.expiring_tables()) == (before, expiring)
    desired = site.show()["desired"]
    assert desired["nats_replicas"] == 3
    assert desired["raw_max_bytes"] == 256 * MIB
    assert desired["clickhouse_ttl_days"] == 90
