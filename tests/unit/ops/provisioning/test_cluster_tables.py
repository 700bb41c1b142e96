"""The files of schemas/tables as a cluster gets them: replicated, distributed, every name with its database."""

from __future__ import annotations

import hashlib
import re

import pytest

from ops.provisioning import table_ttl, tables
from ops.provisioning.cluster_tables import PLACEMENTS, Cluster
from ops.provisioning.table_templates import render

CLUSTER = Cluster("events", "axon")
STATEMENTS = [statement for migration in tables.known() for statement in migration.statements()]
ON_CLUSTER = [statement for migration in tables.known() for statement in migration.statements(CLUSTER)]
ON = "ON CLUSTER `events`"


# SHA-256 of the statements that were released, before there were templates. They must be applied unchanged.
RELEASED = {
    "one server": {
        "0001": "67bbd5efe7e1de2e1bb0362048e7c118b3e8dbb9aa938666807fda99722f39d3",
        "0002": "fddd82255ab6199102a230dbeeba74a2765b00e861f46ab68df611d0e943ad22",
        "0003": "bea28812af49af68173ae462ddd010205b741d534088c269b1c9cdd2cec40365",
        "0004": "68f24dceb66b1ac04a76e28a0769bfa4b4955e8303f3872459f42b4b63b06078",
        "0005": "9516b650246a0da7a8fb60c57dad5a042321f984b28100ea42091b436eb4e310",
        "0006": "51d7366681c1f8c34b8047fbab92680cbb2296884a30c547d6855409cdedf79b",
    },
    "cluster": {
        "0001": "d2186369fbc783e66735273f7531fc77300d018e1a62be2fbaf0bb7147c9714d",
        "0002": "15851713bbde6b1b57656f71a175ddc8ba7408dfe45100c5e2bf4a3139aada35",
        "0003": "06e4aff980cab264b4cb5ce38e8b11c72831f3d0733ad09476f91a206bd71301",
        "0004": "08bd23f2167731bb5f5ad5ad164994881884bcdb861479aff0270d2323b60640",
        "0005": "c356bd9441a7870cc013ba5ca59f91877354f2bae44ba823605584e657403c19",
        "0006": "b6a27ac2f5207567a60f4677baa3b0bfc6c199e781c2511b69881f1a16666565",
    },
}

# How the keys of event_rows begin in new tables only: docs/decisions/0090-questions-by-id.md
DAY_OF_KEY = "intHash32(toDate(timestamp)), "


def hash_of_text(statements: list[str]) -> str:
    """Of every byte, without blank lines: a comment inside a statement leaves one."""
    texts = ("\n".join(line.rstrip() for line in text.splitlines() if line.strip()) for text in statements)
    return hashlib.sha256(";\n".join(texts).encode()).hexdigest()


@pytest.mark.parametrize(("shape", "cluster"), [("one server", None), ("cluster", CLUSTER)])
def test_released_statements_are_rendered_as_they_were(shape: str, cluster: Cluster | None) -> None:
    """The templates give the same bytes as the files and the rewriting they replaced, but for one key of new tables."""
    rendered = {
        f"{one.version:04d}": hash_of_text([text.replace(DAY_OF_KEY, "") for text in one.statements(cluster)])
        for one in tables.known()
    }
    assert "".join(tables.known()[0].templates).count(DAY_OF_KEY) == 2
    assert {number: rendered[number] for number in RELEASED[shape]} == RELEASED[shape]


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
        elif table == "error_rows":  # it stays beside its row of event_rows, whose key it does not have
            assert columns == {"shard_hash"}
        else:
            assert columns <= set(re.findall(r"[a-z_]\w*", order)), table


def test_a_trace_and_its_bounds_have_one_shard() -> None:
    """The view that fills trace_bounds writes on the shard of the events: both must agree on which that is."""
    assert PLACEMENTS["trace_bounds"].shard_by.removeprefix("cityHash64(").removesuffix(")") == "trace_id"
    assert PLACEMENTS["event_rows"].shard_by == "cityHash64(if(trace_id = '', toString(event_id), trace_id))"
    filling = [one for one in ON_CLUSTER if re.search(r"(INTO|VIEW IF NOT EXISTS) `axon`.error", one)]
    assert len(filling) == 2
    assert all(PLACEMENTS["event_rows"].shard_by in one for one in filling)


@pytest.mark.parametrize("statement", ON_CLUSTER, ids=lambda text: text.split("(")[0][:70])
def test_every_statement_runs_on_every_server(statement: str) -> None:
    """One ON CLUSTER each, behind a name with its database. Rows go through Distributed tables, from any server."""
    if statement.startswith("INSERT INTO"):
        assert re.match(r"INSERT INTO `axon`\.\w+ \(", statement)
        assert "_local" not in statement
        return
    assert statement.count(ON) == 1
    assert re.match(rf"[A-Z ]+ `axon`\.\w+ {ON}", statement), statement[:100]


def test_a_table_becomes_a_replicated_and_a_distributed_one() -> None:
    """Workers and views keep its name; its columns are written once."""
    columns = "\n(\n    units UInt64\n)\n"
    template = (
        f"CREATE TABLE IF NOT EXISTS {{{{stored.taken_rows}}}}{{{{on_cluster}}}}{columns}"
        "ENGINE = {{replicated}}ReplacingMergeTree(generation)\nORDER BY a{{settings}}"
    )
    assert render(template, CLUSTER) == [
        f"CREATE TABLE IF NOT EXISTS `axon`.taken_rows_local {ON}{columns}"
        "ENGINE = ReplicatedReplacingMergeTree(generation)\nORDER BY a\nSETTINGS replicated_deduplication_window = 0",
    ]
    assert render(template, None) == [
        f"CREATE TABLE IF NOT EXISTS taken_rows{columns}ENGINE = ReplacingMergeTree(generation)\nORDER BY a"
    ]
    assert render("{{distributed.taken_rows}}", CLUSTER) == [
        f"CREATE TABLE IF NOT EXISTS `axon`.taken_rows {ON} AS `axon`.taken_rows_local\n"
        "ENGINE = Distributed('events', 'axon', 'taken_rows_local', cityHash64(stage, origin_seq, item_index))",
    ]
    assert render("{{distributed.taken_rows}}", None) == []


def test_every_table_has_a_distributed_one() -> None:
    """A table without it would hide the rows of the other servers."""
    over = {match[1] for text in ON_CLUSTER if (match := re.search(r"ENGINE = Distributed\(.*'(\w+)_local'", text))}
    assert over == set(PLACEMENTS)


def test_no_table_stays_on_one_server() -> None:
    """Every engine is replicated or distributed; repeats are known by rows, not by blocks."""
    engines = re.findall(r"^ENGINE = (\w+)", "\n".join(ON_CLUSTER), re.M)
    assert set(engines) == {"ReplicatedReplacingMergeTree", "ReplicatedAggregatingMergeTree", "Distributed"}
    replicated = [one for one in ON_CLUSTER if "ENGINE = Replicated" in one]
    assert all(one.count("replicated_deduplication_window = 0") == 1 for one in replicated)
    assert all(one.count("\nSETTINGS ") == 1 for one in replicated)


def test_a_filling_view_stays_on_its_shard() -> None:
    """It reads what is inserted there and writes there."""
    found = [one for one in ON_CLUSTER if one.startswith("CREATE MATERIALIZED VIEW")]
    assert len(found) == 3
    for statement in found:
        assert re.search(r" TO `axon`\.\w+_local AS", statement)
        assert "FROM `axon`.event_rows_local" in statement


def test_a_reading_view_reads_every_shard() -> None:
    """Distributed tables, each with its database; the right side of a join is made once, of all shards."""
    found = [one for one in ON_CLUSTER if one.startswith("CREATE OR REPLACE VIEW")]
    assert len(found) >= 5
    for statement in found:
        assert "_local" not in statement
        assert not re.search(r"\b(?:FROM|JOIN)\s+[a-z]\w*", statement), statement
        assert not re.search(
            r"(?<!GLOBAL )\b(?:LEFT|ANY|INNER)[ A-Z]* JOIN", re.sub(r"GLOBAL LEFT ANY JOIN", "", statement)
        )


def test_right_sides_are_global() -> None:
    """The right side of a JOIN or IN is computed once over all shards; on one server nothing is added."""
    template = (
        "CREATE OR REPLACE VIEW {{name.v}}{{on_cluster}} AS SELECT * FROM {{name.event_rows}} "
        "{{global}}LEFT JOIN {{name.taken_rows}} USING (a) WHERE x {{global}}NOT IN (SELECT x FROM {{name.outcomes}})"
    )
    assert render(template, CLUSTER) == [
        f"CREATE OR REPLACE VIEW `axon`.v {ON} AS SELECT * FROM `axon`.event_rows "
        "GLOBAL LEFT JOIN `axon`.taken_rows USING (a) WHERE x GLOBAL NOT IN (SELECT x FROM `axon`.outcomes)"
    ]
    assert render(template, None) == [
        "CREATE OR REPLACE VIEW v AS SELECT * FROM event_rows "
        "LEFT JOIN taken_rows USING (a) WHERE x NOT IN (SELECT x FROM outcomes)"
    ]


def test_a_later_column_reaches_both_tables() -> None:
    """First the table that stores it, then the one that queries name; an index concerns only the first."""
    column = "ALTER TABLE {{each.event_rows}}{{on_cluster}} ADD COLUMN IF NOT EXISTS a UInt8"
    assert render(column, CLUSTER) == [
        f"ALTER TABLE `axon`.event_rows_local {ON} ADD COLUMN IF NOT EXISTS a UInt8",
        f"ALTER TABLE `axon`.event_rows {ON} ADD COLUMN IF NOT EXISTS a UInt8",
    ]
    assert render(column, None) == ["ALTER TABLE event_rows ADD COLUMN IF NOT EXISTS a UInt8"]
    assert render("ALTER TABLE {{stored.event_rows}}{{on_cluster}} ADD INDEX i a TYPE minmax", CLUSTER) == [
        f"ALTER TABLE `axon`.event_rows_local {ON} ADD INDEX i a TYPE minmax"
    ]


def test_columns_change_on_both_tables_and_settings_on_the_stored_one() -> None:
    """A Distributed table has its own columns and no settings of parts; a view's query has one place."""
    changed = [
        match for text in ON_CLUSTER if (match := re.match(rf"ALTER TABLE `axon`\.(\w+) {ON} (\w+ \w+)(.*)", text))
    ]
    assert any(match[2] == "MODIFY SETTING" for match in changed)
    views = [match for match in changed if match[2] == "MODIFY QUERY"]
    assert {match[1] for match in views} == {"stored_from_events"}, "a view has no local table"
    for match in changed:
        if match in views:
            continue
        stored = match[1].removesuffix("_local")
        tables_of_change = {other[1] for other in changed if other.groups()[1:] == match.groups()[1:]}
        expected = {stored, f"{stored}_local"} if match[2].endswith("COLUMN") else {f"{stored}_local"}
        assert tables_of_change == expected, match[0]


@pytest.mark.parametrize("text", ["DROP TABLE event_rows", "ALTER TABLE {{each.event_rows}} DROP COLUMN a"])
@pytest.mark.parametrize("cluster", [None, CLUSTER])
def test_a_statement_that_would_run_on_one_server_is_refused(text: str, cluster: Cluster | None) -> None:
    """Also on one server, so that the author of a new file sees it."""
    with pytest.raises(ValueError, match=r"expected \{\{on_cluster\}\}.*ops/provisioning/table_templates\.py"):
        render(text, cluster)


@pytest.mark.parametrize("parameter", ["stored", "tables.x", "on_cluster.x", "", "stored.", "replicated "])
@pytest.mark.parametrize("cluster", [None, CLUSTER])
def test_an_unknown_parameter_is_refused(parameter: str, cluster: Cluster | None) -> None:
    """By name, with the names that exist."""
    with pytest.raises(
        ValueError, match=r"expected a parameter of stored\.TABLE, name\.TABLE, each\.TABLE, on_cluster"
    ):
        render(f"ALTER TABLE a{{{{on_cluster}}}} {{{{{parameter}}}}}", cluster)


def test_a_table_without_a_place_is_refused() -> None:
    """By name."""
    for template in ("{{distributed.new_rows}}", "CREATE TABLE {{stored.new_rows}}{{on_cluster}}"):
        with pytest.raises(ValueError, match="expected table new_rows in PLACEMENTS"):
            render(template, CLUSTER)


def test_what_ran_is_known_to_every_server() -> None:
    """One set of replicas over all shards, so that whichever server is asked next time knows."""
    (text,) = render(tables.MIGRATIONS_DDL, CLUSTER)
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
