"""The files of schemas/tables as a cluster gets them: replicated, distributed, every name with its database."""

from __future__ import annotations

import re

import pytest

from ops.provisioning import table_ttl, tables
from ops.provisioning.cluster_tables import PLACEMENTS, Cluster, placement_of

CLUSTER = Cluster("events", "axon")
STATEMENTS = [statement for one in tables.known() for statement in one.statements]
REWRITTEN = [rewritten for statement in STATEMENTS for rewritten in CLUSTER.rewrite(statement)]
ON = "ON CLUSTER `events`"


def sort_keys() -> dict[str, tuple[str, str]]:
    """Engine and ORDER BY of every table in the files."""
    found = {}
    for statement in STATEMENTS:
        if match := re.match(r"CREATE TABLE IF NOT EXISTS (\w+)", statement):
            engine, order = re.search(r"^ENGINE = (\w+)", statement, re.M), re.search(r"ORDER BY \((.+)\)", statement)
            assert engine is not None
            assert order is not None
            found[match[1]] = (engine[1], order[1])
    return found


def test_every_table_has_its_place() -> None:
    """A new table needs a shard to go to and a time to go by, and no other is listed."""
    assert set(sort_keys()) == set(PLACEMENTS)


def test_rows_that_replace_each_other_meet_on_one_shard() -> None:
    """The sharding key is made of the sort key's columns; events go by their trace, and by their id without one."""
    for table, (_engine, order) in sort_keys().items():
        columns = set(re.findall(r"[a-z_]\w*", PLACEMENTS[table].shard_by)) - {"cityHash64", "if", "toString"}
        if table == "event_rows":
            assert columns == {"trace_id", "event_id"}
        else:
            assert columns <= set(re.findall(r"[a-z_]\w*", order)), table


def test_a_trace_and_its_bounds_have_one_shard() -> None:
    """The view that fills trace_bounds writes on the shard of the events: both must agree on which that is."""
    assert PLACEMENTS["trace_bounds"].shard_by.removeprefix("cityHash64(").removesuffix(")") == "trace_id"
    assert PLACEMENTS["event_rows"].shard_by == "cityHash64(if(trace_id = '', toString(event_id), trace_id))"


@pytest.mark.parametrize("statement", REWRITTEN, ids=lambda text: text.split("(")[0][:70])
def test_every_statement_runs_on_every_server(statement: str) -> None:
    """One ON CLUSTER each, behind a name with its database."""
    assert statement.count(ON) == 1
    assert re.match(rf"[A-Z ]+ `axon`\.\w+ {ON}", statement), statement[:100]


def test_a_table_becomes_a_replicated_and_a_distributed_one() -> None:
    """Workers and views keep its name; nothing of its columns is said twice."""
    columns = "\n(\n    units UInt64\n)\n"
    statement = f"CREATE TABLE IF NOT EXISTS taken_rows{columns}ENGINE = ReplacingMergeTree(generation)\nORDER BY a"
    assert CLUSTER.rewrite(statement) == [
        f"CREATE TABLE IF NOT EXISTS `axon`.taken_rows_local {ON}{columns}"
        "ENGINE = ReplicatedReplacingMergeTree(generation)\nORDER BY a\nSETTINGS replicated_deduplication_window = 0",
        f"CREATE TABLE IF NOT EXISTS `axon`.taken_rows {ON} AS `axon`.taken_rows_local\n"
        "ENGINE = Distributed('events', 'axon', 'taken_rows_local', cityHash64(stage, origin_seq, item_index))",
    ]


def test_no_table_stays_on_one_server() -> None:
    """Every engine of the rewritten text is replicated or distributed; repeats are known by rows, not by blocks."""
    engines = re.findall(r"^ENGINE = (\w+)", "\n".join(REWRITTEN), re.M)
    assert set(engines) == {"ReplicatedReplacingMergeTree", "ReplicatedAggregatingMergeTree", "Distributed"}
    replicated = [one for one in REWRITTEN if "ENGINE = Replicated" in one]
    assert all(one.count("replicated_deduplication_window = 0") == 1 for one in replicated)
    assert all(one.count("\nSETTINGS ") == 1 for one in replicated)


def test_a_filling_view_stays_on_its_shard() -> None:
    """It reads what is inserted there and writes there."""
    found = [one for one in REWRITTEN if one.startswith("CREATE MATERIALIZED VIEW")]
    assert len(found) == 2
    for statement in found:
        assert re.search(r" TO `axon`\.\w+_local AS", statement)
        assert "FROM `axon`.event_rows_local" in statement


def test_a_reading_view_reads_every_shard() -> None:
    """Distributed tables, each with its database; the right side of a join is made once, of all shards."""
    found = [one for one in REWRITTEN if one.startswith("CREATE OR REPLACE VIEW")]
    assert len(found) >= 5
    for statement in found:
        assert "_local" not in statement
        assert not re.search(r"\b(?:FROM|JOIN)\s+[a-z]\w*", statement), statement
        assert not re.search(
            r"(?<!GLOBAL )\b(?:LEFT|ANY|INNER)[ A-Z]* JOIN", re.sub(r"GLOBAL LEFT ANY JOIN", "", statement)
        )


def test_right_sides_are_global() -> None:
    """JOIN and IN over other tables; an ARRAY JOIN and a query named by WITH are left alone."""
    text = (
        "CREATE OR REPLACE VIEW v AS WITH mine AS (SELECT 1) SELECT * FROM event_rows LEFT JOIN taken_rows USING (a) "
        "ARRAY JOIN repairs WHERE x NOT IN (SELECT x FROM mine) AND y IN (1, 2)"
    )
    assert CLUSTER.rewrite(text) == [
        f"CREATE OR REPLACE VIEW `axon`.v {ON} AS WITH mine AS (SELECT 1) SELECT * FROM `axon`.event_rows "
        "GLOBAL LEFT JOIN `axon`.taken_rows USING (a) "
        "ARRAY JOIN repairs WHERE x GLOBAL NOT IN (SELECT x FROM mine) AND y IN (1, 2)"
    ]


def test_a_later_column_reaches_both_tables() -> None:
    """First where it is stored, then where it is asked for; what concerns storage alone goes only there."""
    assert CLUSTER.rewrite("ALTER TABLE event_rows ADD COLUMN IF NOT EXISTS a UInt8") == [
        f"ALTER TABLE `axon`.event_rows_local {ON} ADD COLUMN IF NOT EXISTS a UInt8",
        f"ALTER TABLE `axon`.event_rows {ON} ADD COLUMN IF NOT EXISTS a UInt8",
    ]
    assert CLUSTER.rewrite("ALTER TABLE event_rows ADD INDEX i a TYPE minmax") == [
        f"ALTER TABLE `axon`.event_rows_local {ON} ADD INDEX i a TYPE minmax"
    ]


def test_a_setting_is_changed_where_parts_are_and_on_every_replica() -> None:
    """A Distributed table has none, and one replica does not tell another: the local table, ON CLUSTER."""
    assert CLUSTER.rewrite("ALTER TABLE event_rows MODIFY SETTING min_bytes_for_wide_part = 536870912") == [
        f"ALTER TABLE `axon`.event_rows_local {ON} MODIFY SETTING min_bytes_for_wide_part = 536870912"
    ]
    assert CLUSTER.rewrite("ALTER TABLE outcome_rows RESET SETTING a") == [
        f"ALTER TABLE `axon`.outcome_rows_local {ON} RESET SETTING a"
    ]
    ours = [one for one in STATEMENTS if re.match(r"ALTER TABLE \w+ MODIFY SETTING", one)]
    assert ours, "schemas/tables has such a statement"
    for statement in ours:
        (rewritten,) = CLUSTER.rewrite(statement)
        assert re.match(rf"ALTER TABLE `axon`\.\w+_local {ON} MODIFY SETTING", rewritten)


@pytest.mark.parametrize(
    "text", ["DROP TABLE event_rows", "INSERT INTO event_rows VALUES (1)", "OPTIMIZE TABLE event_rows"]
)
def test_what_nothing_is_known_about_is_refused(text: str) -> None:
    """Better no migration than one that ran on one server of many."""
    with pytest.raises(ValueError, match=r"add a rule for it to ops/provisioning/cluster_tables\.py"):
        CLUSTER.rewrite(text)


def test_a_table_without_a_place_is_refused() -> None:
    """By name."""
    with pytest.raises(ValueError, match="expected table new_rows in PLACEMENTS"):
        placement_of("new_rows")


def test_what_ran_is_known_to_every_server() -> None:
    """One set of replicas over all shards, so that whichever server is asked next time knows."""
    text = CLUSTER.record_of_migrations(tables.MIGRATIONS_DDL)
    assert f"EXISTS `axon`.migrations {ON}" in text
    assert (
        "ReplicatedReplacingMergeTree('/clickhouse/tables/{uuid}/every_shard', '{shard}-{replica}', applied_at)" in text
    )


def test_names_cannot_break_out() -> None:
    """A database may be named anything."""
    assert (
        Cluster("a`b", "x`; DROP").create_database() == r"CREATE DATABASE IF NOT EXISTS `x\`; DROP` ON CLUSTER `a\`b`"
    )


def test_a_ttl_is_set_and_taken_away() -> None:
    """Where rows are stored: on a cluster, on every server."""
    change = table_ttl.TtlChange("event_rows", "", table_ttl.wanted_ttl("event_rows", 30))
    assert table_ttl.statement(change, None) == (
        "ALTER TABLE event_rows MODIFY TTL toDateTime(timestamp) + toIntervalDay(30)"
    )
    gone = table_ttl.TtlChange("event_rows", change.wanted, table_ttl.wanted_ttl("event_rows", 0))
    assert table_ttl.statement(gone, CLUSTER) == f"ALTER TABLE `axon`.event_rows_local {ON} REMOVE TTL"
