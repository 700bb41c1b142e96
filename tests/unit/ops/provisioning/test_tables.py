"""The numbered SQL files: how a script is split, and when migrate refuses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.provisioning import tables
from ops.provisioning.cluster_tables import Cluster
from ops.runtime.failures import Failed

CREATE = "CREATE TABLE {{stored.taken_rows}}{{on_cluster}} (a String DEFAULT 'a b') ENGINE = Memory"
ALTER = "ALTER TABLE {{each.taken_rows}}{{on_cluster}} ADD COLUMN b UInt8"
QUOTED = [
    "SELECT 'a;b'",
    "SELECT 'it''s; one'",
    r"SELECT 'a\';b'",
    'SELECT "a;b"',
    "SELECT `a;b`",
    "SELECT $tag$ a;b $tag$",
    "SELECT $$;$$",
    "SELECT 1 - -1, 4 / 2, {x:UInt8}",
]


@pytest.mark.parametrize("statement", QUOTED)
def test_a_quoted_semicolon_does_not_end_a_statement(statement: str) -> None:
    """Strings, identifiers and heredocs pass through as they are."""
    assert tables.statements(f"{statement};\n{statement}") == [statement, statement]


def test_semicolons_and_quotes_in_comments_are_ignored() -> None:
    """A comment is no statement, and nothing in it counts."""
    sql = "-- it's; one\n/* two; ' */ SELECT 1 -- three;\n; # four ';\n;;\n#! five\n"
    assert tables.statements(sql) == ["SELECT 1"]


@given(st.text())
def test_any_text_is_split_without_error(sql: str) -> None:
    """Half a string or a stray quote is the server's to refuse, not ours to fall over."""
    assert all(statement.strip() for statement in tables.statements(sql))


@given(st.lists(st.sampled_from(QUOTED), max_size=6))
def test_joined_statements_come_back(found: list[str]) -> None:
    """Splitting undoes joining."""
    assert tables.statements(";\n".join(found)) == found


def test_our_own_files_are_numbered_without_gaps() -> None:
    """0001, 0002, …: a gap is a file somebody forgot to add."""
    migrations = tables.known()
    assert [one.version for one in migrations] == list(range(1, len(migrations) + 1))
    assert all(one.statements() for one in migrations)


class Told:
    """A client that keeps what it is told."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.database = ""

    def command(self, text: str, **_: object) -> None:
        self.commands.append(text)


def test_a_computed_column_that_is_dropped_later_is_not_changed_first() -> None:
    """A new database needs less time; one that has the change already runs what is left. Nothing else is left out."""
    change = "ALTER TABLE {{stored.taken_rows}}{{on_cluster}} MODIFY COLUMN a String ALIAS upper(b)"
    stays = [
        "ALTER TABLE taken_rows MODIFY COLUMN b String DEFAULT ''",
        "ALTER TABLE taken_rows MODIFY COLUMN c String ALIAS 'x'",
    ]
    stays.append("ALTER TABLE other MODIFY COLUMN a String ALIAS 'x'")
    drop = "ALTER TABLE {{stored.taken_rows}}{{on_cluster}} DROP COLUMN IF EXISTS a"
    templates = [text.replace(" MODIFY", "{{on_cluster}} MODIFY") for text in stays]
    first = tables.migration("0001_a.sql", ";\n".join([change, *templates]))
    second = tables.migration("0002_b.sql", drop)
    for cluster, table in ((None, "taken_rows"), (Cluster("events", "axon"), "`axon`.taken_rows_local")):
        told: Any = Told()
        tables.apply(told, "d", [first, second], cluster)
        assert not any(f"{table} " in text and "upper" in text for text in told.commands)
        assert sum("MODIFY" in text for text in told.commands) == len(stays)
        assert any("DROP COLUMN" in text for text in told.commands)
        told = Told()
        tables.apply(told, "d", [first], cluster)
        assert any("upper" in text for text in told.commands)


def test_a_computed_column_that_is_dropped_later_is_not_made_first() -> None:
    """Nor a view that reads it and is replaced; other tables, stored columns and the last view stay as they are."""
    first = """
    CREATE TABLE IF NOT EXISTS {{stored.taken_rows}}{{on_cluster}} (
        a String ALIAS upper(b),
        ab String ALIAS lower(b),
        b String
    ) ENGINE = Null;
    CREATE TABLE IF NOT EXISTS other{{on_cluster}} (
        a String ALIAS 'x',
        b String
    ) ENGINE = Null;
    CREATE OR REPLACE VIEW {{name.taken}}{{on_cluster}} AS SELECT a, b FROM taken_rows;
    CREATE OR REPLACE VIEW {{name.kept}}{{on_cluster}} AS SELECT b FROM taken_rows
    """
    second = """
    CREATE OR REPLACE VIEW {{name.taken}}{{on_cluster}} AS SELECT upper(b) AS a, b FROM taken_rows;
    CREATE OR REPLACE VIEW {{name.kept}}{{on_cluster}} AS SELECT b, 1 FROM taken_rows;
    ALTER TABLE {{stored.taken_rows}}{{on_cluster}} DROP COLUMN IF EXISTS a
    """
    files = [tables.migration("0001_a.sql", first), tables.migration("0002_b.sql", second)]
    for cluster in (None, Cluster("events", "axon")):
        told: Any = Told()
        tables.apply(told, "d", files, cluster)
        created = [text for text in told.commands if text.startswith("CREATE")]
        assert not any("upper(b)," in text for text in created)
        for there in (
            "ab String ALIAS lower(b)",
            "a String ALIAS 'x'",
            "SELECT upper(b) AS a, b FROM",
            "SELECT b, 1 FROM",
        ):
            assert sum(there in text for text in created) == 1, there
        assert not any("SELECT a, b FROM" in text for text in created)
        assert sum("SELECT b FROM" in text for text in created) == 1
        assert any("DROP COLUMN" in text for text in told.commands)
        told = Told()
        tables.apply(told, "d", files[:1], cluster)
        assert any("upper(b)," in text for text in told.commands)
        assert any("SELECT a, b FROM" in text for text in told.commands)


def test_only_missing_files_are_pending() -> None:
    """What was applied with the same text is done."""
    one, two = tables.migration("0001_a.sql", CREATE), tables.migration("0002_b.sql", ALTER)
    assert tables.pending([one, two], {1: tables.Applied(one.name, one.sha256)}, "d") == [two]


def test_a_newer_database_is_refused() -> None:
    """Old code must not touch tables it does not know."""
    one = tables.migration("0001_a.sql", CREATE)
    before = {1: tables.Applied(one.name, one.sha256), 7: tables.Applied("0007_later.sql", "f" * 64)}
    with pytest.raises(Failed, match=r"0007_later\.sql.*does not go backwards"):
        tables.pending([one], before, "d")


def test_a_changed_file_is_refused_by_name() -> None:
    """An applied file never changes."""
    one = tables.migration("0001_a.sql", CREATE)
    with pytest.raises(Failed, match=r"0001_a\.sql differs.*new file"):
        tables.pending([one], {1: tables.Applied(one.name, "0" * 64)}, "d")


@pytest.mark.parametrize(
    "text",
    [
        f"-- What it is for.\n{CREATE};\n",
        CREATE.replace(" (a", "\n(\n    -- first\n    a /* text */").replace(")", " )"),
        CREATE.replace("{{stored.taken_rows}}{{on_cluster}}", "taken_rows{{on_cluster}}"),
    ],
)
def test_comments_blank_space_and_parameters_do_not_change_the_hash(text: str) -> None:
    """Comments can be corrected, and lines wrapped, in files that were applied."""
    assert tables.migration("0001_a.sql", text).sha256 == tables.migration("0001_a.sql", CREATE).sha256


@pytest.mark.parametrize(
    "text",
    [
        CREATE.replace("'a b'", "'a  b'"),
        CREATE.replace("'a b'", "'a b -- c'"),
        CREATE.replace("a String", "aString"),
        CREATE.replace("Memory", "Log"),
        CREATE.replace(" (a", "; (a"),
        f"{CREATE};{ALTER}",
        "",
    ],
)
def test_a_changed_statement_changes_the_hash(text: str) -> None:
    """Also inside quotes, where blank space and dashes are text."""
    text = text.replace("; (a", ";{{on_cluster}} (a")
    assert tables.migration("0001_a.sql", text).sha256 != tables.migration("0001_a.sql", CREATE).sha256


# What earlier code recorded: the SHA-256 of each whole file, with its comments.
RECORDED_BEFORE = {
    "0001_events.sql": "fc7b2780ee49bbc1830c592b85b03afa7a9894eb2df2c60b1a9575fb0b72c47f",
    "0002_outcomes.sql": "fe2cb19986864f1f442b26c8737cf055572f2dfb48b566f3ef16bb4575bcde7e",
    "0003_stored.sql": "65fe9fa1c71d25b15f98d8f9fd9619c3b0f85a1fbefa19eb0c753179bf015f70",
    "0004_check_ins.sql": "6f474707afee2716b35328bab9e70bde96365c018d6b753db7f52a0f7145ab5a",
    "0005_parts.sql": "2af203aecedeaa6f40289a2ae774ea7d56005066a58adf031b3856f8211eb817",
    "0006_conventions.sql": "cef815c1835139e14627167325440e915294efa47b7728f6c9aeab89b0c3e664",
}


def recorded_before() -> dict[int, tables.Applied]:
    """Table `migrations` of a database that earlier code made."""
    return {int(name[:4]): tables.Applied(name, sha256) for name, sha256 in RECORDED_BEFORE.items()}


def test_a_database_of_earlier_code_needs_nothing_again() -> None:
    """Its hashes are those of whole files, whose comments have changed since."""
    released = [one for one in tables.known() if one.name in RECORDED_BEFORE]
    assert len(released) == len(RECORDED_BEFORE)
    assert tables.pending(released, recorded_before(), "d") == []


def test_a_table_with_the_key_of_before_needs_nothing_again() -> None:
    """Whether its file or its statements were recorded: a new table has a better key, an old one stays as it is.

    It is no other file.
    """
    released = [one for one in tables.known() if one.name in RECORDED_BEFORE]
    of_statements = "c2b1b3e7069217886c395c8a859c1309bfe3c650620f825261ea26b57dabe078"
    before = recorded_before() | {1: tables.Applied("0001_events.sql", of_statements)}
    assert released[0].sha256 != of_statements
    assert tables.pending(released, before, "d") == []
    with pytest.raises(Failed, match=r"0002_outcomes\.sql differs"):
        tables.pending(released, before | {2: tables.Applied("0002_outcomes.sql", of_statements)}, "d")


def test_a_changed_statement_is_refused_in_a_database_of_earlier_code_too() -> None:
    """An old hash stands for the statements that the file had, not for any file of that name."""
    (first, *_) = tables.known()
    changed = tables.Migration(first.version, first.name, tables.hash_of(["SELECT 2"]), ("SELECT 2",))
    with pytest.raises(Failed, match=r"0001_events\.sql differs"):
        tables.pending([changed, *tables.known()[1:6]], recorded_before(), "d")
    swapped = {1: tables.Applied("0001_events.sql", RECORDED_BEFORE["0002_outcomes.sql"])}
    with pytest.raises(Failed, match=r"0001_events\.sql differs"):
        tables.pending([first], swapped, "d")


def test_a_misnamed_file_is_refused() -> None:
    """The number is the order, so every file needs one."""
    with pytest.raises(ValueError, match=r"0001_events\.sql"):
        tables.migration("events.sql", "SELECT 1")
