"""What migrate makes on a ClickHouse cluster, as far as one engine without a Keeper can try it; and how long rows stay.

The engine parses every statement as it is. Without replicas it makes Distributed tables over shards that are away; to
read and write through them, `remote` over this engine takes their place: the same storage, its addresses in the text.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import nats
import pytest
from clickhouse_connect.driver.client import Client

from ops.cli.servers import open_clickhouse
from ops.provisioning import lowering_cost, migrate, tables
from ops.provisioning.cluster_tables import PLACEMENTS, Cluster
from ops.provisioning.desired_state import checked
from ops.provisioning.streams import Budgets
from ops.provisioning.table_templates import render
from ops.runtime.failures import Failed
from ops.runtime.settings import Settings
from tests.servers import Server

pytestmark = pytest.mark.live

VIEWS = (
    *("events", "outcomes", "dead_letters", "stored_messages", "check_ins"),
    *("otel_traces", "otel_logs", "otel_traces_trace_id_ts"),
    *("monitors", "traces", "services", "operations", "model_costs"),
)
ROW = (
    "INSERT INTO event_rows (organisation, channel_id, event_id, version, item_type, timestamp, received_at, trace_id)"
)

HISTORY_OF_ALERTS = ("alert_firing_rows", "alert_delivery_rows")


@pytest.fixture
def settings(clickhouse_server: Server) -> Settings:
    """A database of this test's own."""
    return Settings(clickhouse_url=clickhouse_server.url, clickhouse_database=f"test_{uuid.uuid4().hex}")


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    """A connection in no database."""
    found = open_clickhouse(settings)
    yield found
    found.command(f"DROP DATABASE IF EXISTS {settings.clickhouse_database}")
    found.close()


def on_a_cluster(cluster: Cluster) -> list[str]:
    """All that migrate runs there, in its order."""
    made_first = [cluster.create_database(), *render(tables.MIGRATIONS_DDL, cluster)]
    statements = [statement for migration in tables.known() for statement in migration.statements(cluster)]
    dropped = tables.DroppedColumns(statements)
    return made_first + [rest for statement in statements if (rest := dropped.without(statement))]


def without_keeper(text: str, cluster: Cluster) -> str:
    """The same without replicas and without ON CLUSTER, which ask for a Keeper."""
    text = text.replace(f" {cluster.on}", "").replace("ENGINE = Replicated", "ENGINE = ")
    text = re.sub(r"'/clickhouse/[^']*', '[^']*', ", "", text)
    return text.replace("replicated_deduplication_window", "non_replicated_deduplication_window")


def on_this_engine(text: str, cluster: Cluster) -> str:
    """The same with tables over this engine itself in place of Distributed ones."""
    text = without_keeper(text, cluster)
    found = re.search(r"EXISTS (\S+)  ?AS \S+\nENGINE = Distributed\('[^']*', '(\w+)', '(\w+)', (.+)\)$", text)
    if found is None:
        return text
    return f"CREATE TABLE {found[1]} AS remote('127.0.0.1', '{found[2]}', '{found[3]}', {found[4]})"


def inserting(*, event: int, version: int, trace: str) -> str:
    values = f"('o', 1, '{uuid.UUID(int=event)}', {version}, 'span', '2026-01-01', '2026-01-01', '{trace}')"
    return f"{ROW} SETTINGS distributed_foreground_insert = 1 VALUES {values}"


def test_the_engine_parses_every_statement(client: Client) -> None:
    """ON CLUSTER, Replicated engines and Distributed tables, word for word."""
    for text in on_a_cluster(Cluster("events", "axon")):
        assert client.query("SELECT formatQuery({q:String})", parameters={"q": text}).result_rows, text


# Two shards that nobody serves: what ClickHouse refuses by itself it refuses before it connects.
TWO_SHARDS = """<clickhouse><remote_servers><events>
<shard><replica><host>127.0.0.1</host><port>1</port></replica></shard>
<shard><replica><host>127.0.0.1</host><port>2</port></replica></shard>
</events></remote_servers></clickhouse>"""
RUN = """
import json, sys
from chdb import session
engine = session.Session(sys.argv[1])
answers = []
for text in json.load(sys.stdin):
    try:
        engine.query(text, "Null")
        answers.append("")
    except Exception as error:
        answers.append(str(error))
json.dump(answers, sys.stdout)
"""


def on_two_shards(folder: Path, statements: list[str]) -> list[str]:
    """The engine's error for each statement, empty where it had none."""
    config = folder / "engine.xml"
    config.write_text(TWO_SHARDS)
    done = subprocess.run(
        [sys.executable, "-c", RUN, f"{folder / 'data'}?config-file={config}"],
        input=json.dumps(statements),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    answers: list[str] = json.loads(done.stdout)
    return answers


def test_distributed_tables_are_read_as_the_tables_were(tmp_path: Path) -> None:
    """One shard: doubles are one row, the filling views have filled, every view answers.

    In an engine of this test's own, without our server: that one lets nobody call another host.
    """
    cluster = Cluster("events", "axon")
    statements = [on_this_engine(text, cluster) for text in on_a_cluster(cluster)] + ["USE axon"]
    statements += [inserting(event=1, version=version, trace="t") for version in (1, 2)]
    statements.append(inserting(event=2, version=1, trace=""))
    statements += [f"SELECT * FROM {view} FORMAT Null" for view in VIEWS]
    pairs = f"[('{uuid.UUID(int=2)}', 1), ('{uuid.UUID(int=1)}', 2)]"
    checks = {
        f"(SELECT groupArray((toString(event_id), version)) FROM (SELECT * FROM events ORDER BY version)) = {pairs}",
        "(SELECT count() FROM trace_bounds FINAL WHERE trace_id = 't') = 1",
        "(SELECT sum(quantity) FROM outcomes WHERE outcome = 'accepted') = 2",
    }
    statements += [f"SELECT throwIf(NOT ({check}))" for check in sorted(checks)]
    answers = on_two_shards(tmp_path, statements)
    assert answers == [""] * len(statements)


def test_no_view_is_refused_on_two_shards(tmp_path: Path) -> None:
    """ClickHouse denies joins of Distributed tables that are not GLOBAL; ours get as far as asking the shards."""
    cluster = Cluster("events", "axon")
    made = [without_keeper(text, cluster) for text in on_a_cluster(cluster)]
    plain = next(text for text in made if ".dead_letters " in text).partition(" AS\n")[2].replace("GLOBAL ", "")
    reads = [f"SELECT * FROM axon.{view}" for view in VIEWS]
    answers = on_two_shards(tmp_path, [*made, plain, *reads])
    # What sends values only is queued for the shards.
    filling = {index for index, text in enumerate(made) if text.startswith("INSERT") and "FROM values(" not in text}
    assert [answer for index, answer in enumerate(answers[: len(made)]) if answer and index not in filling] == []
    denied, *found = answers[len(made) :]
    found += [answers[index] for index in filling]
    assert "DISTRIBUTED_IN_JOIN_SUBQUERY_DENIED" in denied or "distributed_product_mode" in denied
    assert all("All connection tries failed" in answer for answer in found), found


def test_a_trace_and_a_double_have_one_shard(client: Client) -> None:
    """By the sharding expression itself: equal for equal traces, spread over shards for different ones."""
    by_trace = PLACEMENTS["event_rows"].shard_by
    rows = client.query(
        f"SELECT uniqExact({by_trace}), uniqExact({by_trace} % 3) FROM "
        "(SELECT generateUUIDv4() AS event_id, if(number < 50, 'one', '') AS trace_id FROM numbers(100))"
    ).result_rows
    assert rows == [(51, 3)]
    same = f"SELECT toUUID('{uuid.UUID(int=7)}') AS event_id, '' AS trace_id FROM numbers(9)"
    assert client.query(f"SELECT uniqExact({by_trace}) FROM ({same})").result_rows == [(1,)]


def ttls(client: Client, settings: Settings) -> dict[str, str]:
    rows = client.query(
        "SELECT name, extract(engine_full, ' TTL (.+?)(?: SETTINGS|$)') FROM system.tables WHERE database = {d:String} "
        "AND name IN {names:Array(String)}",
        parameters={"d": settings.clickhouse_database, "names": list(PLACEMENTS)},
    ).result_rows
    return dict(rows)


def test_a_ttl_is_set_changed_and_taken_away(client: Client, settings: Settings) -> None:
    """By the setting of the latest migrate; the same setting again finds nothing to do. What people said has none.

    The history of alerts has one of its own, which no setting changes.
    """
    expiring = {table for table, place in PLACEMENTS.items() if place.expires_by}
    for days in (30, 90, 0):
        wanted = settings.model_copy(update={"clickhouse_ttl_days": days})
        changes = migrate.migrate_tables(wanted, dry_run=False)
        assert {change.name for change in changes if change.field == "ttl"} == expiring
        assert migrate.migrate_tables(wanted, dry_run=False) == []
        found = ttls(client, settings)
        assert set(found) == set(PLACEMENTS)
        for table, ttl in found.items():
            of_setting = f"toIntervalDay({days})" if days and table in expiring else ""
            expected = "toIntervalDay(90)" if table in HISTORY_OF_ALERTS else of_setting
            assert expected in ttl if expected else not ttl, table


def test_rows_older_than_the_ttl_go(client: Client, settings: Settings) -> None:
    """And younger ones stay; a shorter TTL says first how many would go."""
    migrate.migrate_tables(settings.model_copy(update={"clickhouse_ttl_days": 30}), dry_run=False)
    client.database = settings.clickhouse_database
    for event, days in ((1, 100), (2, 20)):
        client.command(
            f"{ROW} SELECT 'o', 1, toUUID('{uuid.UUID(int=event)}'), 1, 'log', now() - INTERVAL {days} DAY, now(), ''"
        )
    client.command("OPTIMIZE TABLE event_rows FINAL")
    assert client.query("SELECT event_id FROM events").result_rows == [(uuid.UUID(int=2),)]
    assert "ClickHouse deletes rows older than 10 days: 1 of event_rows" in _cost_of_days(settings, 10)


def _cost_of_days(settings: Settings, days: int) -> str:
    """What `axonpush cluster set --clickhouse-ttl-days` says before it acts; it asks no broker."""
    before, after = (
        checked({**Budgets().model_dump(), "nats_replicas": 1, "clickhouse_ttl_days": number}) for number in (0, days)
    )
    (text,) = asyncio.run(lowering_cost.costs(cast("nats.NATS", None), settings, before, after))
    return text


def test_a_database_of_one_server_is_not_taken_for_a_clusters(client: Client, settings: Settings) -> None:
    """Its tables exist, so nothing would be made, and every server would be alone: refused before anything is done."""
    migrate.migrate_tables(settings, dry_run=False)
    with pytest.raises(Failed, match=r"made for a cluster \(events\).*ReplacingMergeTree"):
        migrate.migrate_tables(settings.model_copy(update={"clickhouse_cluster": "events"}), dry_run=False)
