"""ops/deploy/clickhouse: three users, each with what it needs of the tables there are, and no more."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ops.local.clickhouse_http.access.allowed import READER_DEFAULTS
from ops.local.clickhouse_http.config import ALERTS_TABLES, CONSOLE_TABLES
from ops.provisioning import tables
from ops.provisioning.cluster_tables import PLACEMENTS
from schemas.issues.day_counts import DAYS_NOW
from schemas.rows import LEDGER_TABLE, OUTCOMES_TABLE
from workers.normalise.registry import normalisers
from workers.settings import WorkerSettings

FOLDER = Path(__file__).parents[4] / "ops/deploy/clickhouse"
USERS = ElementTree.parse(FOLDER / "users.d/axonpush.xml")


def grants(user: str) -> list[str]:
    return [query.text or "" for query in USERS.findall(f"users/{user}/grants/query")]


def test_a_worker_inserts_into_what_workers_fill_and_nothing_else() -> None:
    """The tables of its normalisers and of the reconciliation; on a cluster also where the Distributed table puts the
    rows.
    """
    settings = WorkerSettings()
    filled = {
        normaliser.table for normaliser in normalisers(settings.retention_days, settings.max_body_bytes).values()
    } | {
        OUTCOMES_TABLE,
        LEDGER_TABLE,
    }
    expected = {f"GRANT INSERT, SHOW COLUMNS ON axonpush.{table}" for table in filled}
    expected |= {f"GRANT INSERT ON axonpush.{table}_local" for table in filled}
    assert set(grants("axonpush_worker")) == expected
    assert filled <= set(PLACEMENTS)


def test_a_reader_only_reads() -> None:
    """And cannot take the whole server: what a query may take has limits it cannot lift."""
    assert grants("axonpush_reader") == ["GRANT SELECT ON axonpush.*"]
    profile = USERS.find("profiles/axonpush_reader")
    assert profile is not None
    assert profile.findtext("readonly") == "2"
    for limit in ("max_execution_time", "max_memory_usage"):
        assert int(profile.findtext(limit) or 0) > 0
        assert profile.find(f"constraints/{limit}/max") is not None


@pytest.mark.parametrize("user", ["axonpush_reader", "axonpush_console", "axonpush_alerts"])
def test_a_server_looks_first_for_what_a_question_names_as_the_embedded_engine_does(user: str) -> None:
    """The settings of FINAL that both users have there by default."""
    profile = USERS.find(f"profiles/{user}")
    assert profile is not None
    expected = {name: value for name, value in READER_DEFAULTS.items() if name.endswith("_lazy_final")}
    assert len(expected) == 2
    assert {name: profile.findtext(name) for name in expected} == expected


@pytest.mark.parametrize(("user", "tables"), [("console", CONSOLE_TABLES), ("alerts", ALERTS_TABLES)])
def test_a_console_and_alerts_read_and_write_tables_of_their_own(user: str, tables: tuple[str, ...]) -> None:
    """What people said, and what rules found: no events, no outcomes. The embedded engine gives them the same."""
    of_parts = "database, table, active, partition, hash_of_all_files"
    expected = {"GRANT SELECT ON axonpush.*", f"GRANT SELECT({of_parts}) ON system.parts"}
    assert set(of_parts.split(", ")) == set(re.findall(r"\b(?:database|table|active|partition|hash\w+)\b", DAYS_NOW))
    for table in tables:
        expected |= {f"GRANT INSERT ON axonpush.{table}", f"GRANT INSERT ON axonpush.{table}_local"}
        assert not PLACEMENTS[table].expires_by
    assert set(grants(f"axonpush_{user}")) == expected
    profile = USERS.find(f"profiles/axonpush_{user}")
    assert profile is not None
    for limit in ("max_execution_time", "max_memory_usage"):
        assert int(profile.findtext(limit) or 0) > 0
        assert profile.find(f"constraints/{limit}/max") is not None


def test_an_operator_may_do_what_the_files_of_tables_ask_for() -> None:
    """Each kind of statement in schemas/tables, in our database only, but for running it on a cluster."""
    text = " ".join(grants("axonpush_operator"))
    kinds = {
        match[0] for one in tables.known() for s in one.statements() if (match := re.match(r"(CREATE|ALTER) \w+", s))
    }
    needs = {"CREATE TABLE": ["CREATE TABLE"], "CREATE MATERIALIZED": ["CREATE VIEW"], "ALTER TABLE": ["ALTER TABLE"]}
    needs["CREATE OR"] = ["CREATE VIEW", "DROP VIEW"]
    for kind in kinds:
        assert all(right in text for right in needs[kind]), kind
    for right in ("ALTER TABLE", "INSERT", "SELECT", "CREATE DATABASE"):
        assert re.search(rf"(?:GRANT |, ){right}(?:,| ON)", text), right
    everywhere = [grant for grant in grants("axonpush_operator") if " ON *.*" in grant]
    assert everywhere == ["GRANT CLUSTER ON *.*"]


def test_an_answered_insert_is_stored() -> None:
    """Nothing is batched behind a worker's back, and a Distributed table has handed the rows over."""
    profile = USERS.find("profiles/axonpush_worker")
    assert profile is not None
    assert {one.tag: one.text for one in profile if isinstance(one.tag, str)} == {
        "async_insert": "0",
        "distributed_foreground_insert": "1",
    }


def test_nobody_comes_in_without_a_password() -> None:
    """None stands in the file, and the user that every installation has is gone."""
    users = USERS.find("users")
    assert users is not None
    assert {one.tag for one in users if isinstance(one.tag, str)} == {
        "default", "axonpush_worker", "axonpush_reader", "axonpush_console", "axonpush_alerts", "axonpush_operator",
    }  # fmt: skip
    for user in users:
        if user.tag == "default":
            assert user.get("remove") == "remove"
        elif isinstance(user.tag, str):
            password = user.find("password")
            assert password is not None
            assert not password.text
            assert re.fullmatch(r"AXONPUSH_CLICKHOUSE_\w+_PASSWORD", password.get("from_env") or "")


@pytest.mark.parametrize("name", ["server.xml", "cluster.xml"])
def test_server_files_are_xml(name: str) -> None:
    """Well-formed, and under the root that ClickHouse merges."""
    assert ElementTree.parse(FOLDER / "config.d" / name).getroot().tag == "clickhouse"


def test_the_example_cluster_is_one_migrate_can_use() -> None:
    """One copy of a row is sent to a shard, servers trust each other by a secret, tables know shard and replica."""
    root = ElementTree.parse(FOLDER / "config.d/cluster.xml").getroot()
    shards = root.findall("remote_servers/axonpush/shard")
    assert len(shards) == 2
    assert all(
        shard.findtext("internal_replication") == "true" and shard.find("replica") is not None for shard in shards
    )
    secret = root.find("remote_servers/axonpush/secret")
    assert secret is not None
    assert secret.get("from_env")
    assert {one.tag for one in root.findall("macros/*")} == {"shard", "replica"}
    assert "{shard}" in (root.findtext("default_replica_path") or "")
