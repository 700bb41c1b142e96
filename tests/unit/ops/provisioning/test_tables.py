"""The numbered SQL files: how a script is split, and when migrate refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.provisioning import tables
from ops.runtime.failures import Failed

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
    assert all(one.statements for one in migrations)


def test_only_missing_files_are_pending() -> None:
    """What was applied with the same text is done."""
    one, two = tables.migration("0001_a.sql", "SELECT 1"), tables.migration("0002_b.sql", "SELECT 2")
    assert tables.pending([one, two], {1: tables.Applied(one.name, one.sha256)}, "d") == [two]


def test_a_newer_database_is_refused() -> None:
    """Old code must not touch tables it does not know."""
    one = tables.migration("0001_a.sql", "SELECT 1")
    before = {1: tables.Applied(one.name, one.sha256), 7: tables.Applied("0007_later.sql", "f" * 64)}
    with pytest.raises(Failed, match=r"0007_later\.sql.*does not go backwards"):
        tables.pending([one], before, "d")


def test_a_changed_file_is_refused_by_name() -> None:
    """An applied file never changes."""
    one = tables.migration("0001_a.sql", "SELECT 1")
    with pytest.raises(Failed, match=r"0001_a\.sql differs.*new file"):
        tables.pending([one], {1: tables.Applied(one.name, "0" * 64)}, "d")


def test_a_misnamed_file_is_refused() -> None:
    """The number is the order, so every file needs one."""
    with pytest.raises(ValueError, match=r"0001_events\.sql"):
        tables.migration("events.sql", "SELECT 1")
