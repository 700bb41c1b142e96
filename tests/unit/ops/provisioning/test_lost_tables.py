"""Tables and views that someone dropped: which statements make them again, and when that is refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from ops.provisioning import lost_tables, tables
from ops.provisioning.cluster_tables import PLACEMENTS, Cluster
from ops.provisioning.system import made_again as made_again_file
from ops.runtime.failures import Failed

CLUSTER = Cluster("events", "axon")
EVERY = lost_tables.relations_of(tables.known())


class Server:
    """A ClickHouse with every table and view of ours but those that are `gone`; `hidden` ones may not be seen."""

    def __init__(self, *gone: str, hidden: tuple[str, ...] = (), cluster: Cluster | None = None) -> None:
        there = {name for one in EVERY.values() for name in one.names(cluster)}
        self.there = there - set(gone) - set(hidden)
        self.hidden, self.gone = hidden, gone
        self.commands: list[str] = []
        self.database = ""

    def query(self, sql: str, **_: object) -> Any:
        rows: list[tuple[object, ...]] = [(name,) for name in self.there]
        if sql.startswith("EXISTS TABLE"):
            name = sql.rsplit(maxsplit=1)[-1]
            if name in self.hidden:
                raise DatabaseError("Code: 497. Not enough privileges. (ACCESS_DENIED)")
            rows = [(int((name == "migrations" and name not in self.gone) or name in self.there),)]
        elif "system.databases" in sql:
            rows = [(1,)]
        elif "FROM migrations" in sql:
            rows = [(one.version, one.name, one.sha256) for one in tables.known()]
        elif sql.startswith("DESCRIBE"):
            rows = [("organisation",), ("trace_id",)]
        return SimpleNamespace(result_rows=rows)

    def insert(self, table: str, rows: list[tuple[object, ...]], **_: object) -> None:
        self.commands.append(f"{len(rows)} rows into {table}")

    def command(self, text: str, **_: object) -> None:
        self.commands.append(text)


def gone(server: Server, cluster: Cluster | None = None) -> list[lost_tables.Made]:
    client: Any = server
    return lost_tables.missing(client, "axon", cluster)


def made_again(server: Server, cluster: Cluster | None = None) -> list[str]:
    client: Any = server
    lost_tables.make_again(client, "axon", gone(server, cluster), cluster)
    return server.commands


def test_every_table_and_view_of_the_files_is_known() -> None:
    """A table that a later file makes in another way of writing must not be forgotten."""
    assert {name for name, one in EVERY.items() if one.kind == "table"} == set(PLACEMENTS)
    created = [text for one in tables.known() for text in one.templates if text.startswith("CREATE")]
    assert len(created) == sum(lost_tables._MADE.match(text) is not None for text in created)
    assert all(one.target in EVERY and one.select() for one in EVERY.values() if one.kind == "materialized view")


@pytest.mark.parametrize("name", sorted(EVERY))
def test_each_is_missed_and_made_again_alone(name: str) -> None:
    """One statement creates it; every later change of a table follows."""
    server = Server(name)
    assert [one.name for one in gone(server)] == [name]
    commands = made_again(server)
    created = [text for text in commands if text.startswith("CREATE")]
    assert len(created) == 1
    assert f" {name}" in created[0]
    assert gone(Server()) == []


def test_a_table_is_made_before_the_view_that_reads_it() -> None:
    """However many are gone, each comes after what it mentions."""
    names = [one.name for one in gone(Server(*EVERY))]
    assert set(names) == set(EVERY)
    for one in EVERY.values():
        for mentioned in lost_tables._MENTIONED.findall(one.templates[0]):
            assert names.index(mentioned) <= names.index(one.name), (one.name, mentioned)


def test_a_table_that_a_view_fills_is_filled_from_what_is_there() -> None:
    """Also if only the view was dropped: rows came in between."""
    for lost in ("trace_bounds", "trace_bounds_from_events"):
        fills = [text for text in made_again(Server(lost)) if text.startswith("INSERT")]
        assert len(fills) == 1
        assert fills[0].startswith("INSERT INTO trace_bounds (organisation, trace_id) SELECT organisation")
    assert any(text.startswith("INSERT INTO model_prices") for text in made_again(Server("model_prices")))


def test_a_table_of_bodies_says_since_when_it_counts() -> None:
    """Not what is filled from others, and not on a cluster, where the parts keep the rows."""
    for name, is_said in (("outcome_rows", True), ("event_rows", True), ("stored_rows", False), ("rules", False)):
        said = [text for text in made_again(Server(name)) if "made again, empty, at" in text]
        assert [text.split(" COMMENT")[0] for text in said] == ([f"ALTER TABLE {name}"] if is_said else []), name
    assert not any("made again" in text for text in made_again(Server("event_rows", cluster=CLUSTER), CLUSTER))
    (text,) = [text for text in made_again(Server("taken_rows")) if "made again" in text]
    comments = {"organisation": text.split("'")[1], "minute": ""}
    assert made_again_file._read(comments) is not None
    assert made_again_file._read({"organisation": "mine"}) is None


def test_what_a_user_may_not_see_is_not_taken_for_dropped() -> None:
    """The list of tables is shorter for such a user."""
    assert gone(Server(hidden=("issue_changes", "events"))) == []


def test_on_a_cluster_a_lost_part_is_refused_with_the_statements() -> None:
    """Another replica may have the rows; views and the table over all servers are made again."""
    with pytest.raises(Failed, match="event_rows_local is missing") as raised:
        made_again(Server("event_rows_local", cluster=CLUSTER), CLUSTER)
    assert "CREATE TABLE IF NOT EXISTS `axon`.event_rows_local ON CLUSTER `events`" in str(raised.value)
    (first, *_) = made_again(Server("events", cluster=CLUSTER), CLUSTER)
    assert first.startswith("CREATE OR REPLACE VIEW `axon`.events ON CLUSTER")
    assert any("Distributed" in text for text in made_again(Server("event_rows", cluster=CLUSTER), CLUSTER))


def test_the_words_say_how_rows_come_back() -> None:
    """A replay for what bodies have; a backup for what people did; nothing for a view."""
    one, people, view, prices = (EVERY[name] for name in ("event_rows", "issue_changes", "events", "model_prices"))
    assert "0001_events.sql made it: someone dropped it. It is made again, empty" in lost_tables.relation_text(
        one, dry_run=False
    )
    assert "would be made again" in lost_tables.relation_text(one, dry_run=True)
    assert "with its first rows" in lost_tables.relation_text(prices, dry_run=False)
    assert "axonpush replay --since '2026-11-27 04:00'" in lost_tables.lost_rows_text([one], "2026-11-27 04:00")
    assert "RAW holds no bodies" in lost_tables.lost_rows_text([one], "")
    assert "issue_changes come only from a backup" in lost_tables.lost_rows_text([people], "2026-11-27 04:00")
    assert lost_tables.lost_rows_text([view], "2026-11-27 04:00") == ""
    assert "table event_rows does not exist" in lost_tables.refusal([one, view])
    filling = lost_tables.refusal([EVERY["errors_from_events"], people])
    assert filling.startswith("materialized view errors_from_events, table issue_changes do not exist: someone dropped")
    assert "`axonpush migrate` makes them again and says how their rows come back" in filling
    assert lost_tables.refusal([view]) == ""


def test_a_lost_record_of_migrations_is_written_again() -> None:
    """All files would run again otherwise, and their first views name columns that later files drop."""
    server = Server("migrations", "events")
    assert [one.name for one in gone(server)] == ["migrations", "events"]
    first, second, *rest = made_again(server)
    assert first.strip().startswith("CREATE TABLE IF NOT EXISTS migrations")
    last = max(one.version for one in tables.known() if one.name in {made.file for made in EVERY.values()})
    assert second == f"{last} rows into migrations", "files after it only change what is there, and may run again"
    assert len(rest) == 1
    assert gone(Server("migrations", *EVERY)) == [], "a new database"
    assert gone(Server("migrations", *(set(EVERY) - {"event_rows"}))) == [], "a first migration that was interrupted"
