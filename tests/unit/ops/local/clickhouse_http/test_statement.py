"""The lexer that finds insert data, output formats and local files in a statement."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.local.clickhouse_http import statement


@pytest.mark.parametrize(
    ("text", "head", "format_name", "data"),
    [
        (b"INSERT INTO t FORMAT CSV\n1,2\n", b"INSERT INTO t", "CSV", b"1,2\n"),
        (b"insert into t(a, b) format JSONEachRow {}", b"insert into t(a, b)", "JSONEachRow", b"{}"),
        (b"INSERT INTO t VALUES (1)", b"INSERT INTO t ", "Values", b" (1)"),
        (b"INSERT INTO t FORMAT Native \t\r\n\x00\xff", b"INSERT INTO t", "Native", b"\x00\xff"),
        (b"INSERT INTO t FORMAT CSV\n\n1", b"INSERT INTO t", "CSV", b"\n1"),
        (b"INSERT INTO `format` FORMAT TSV\nx", b"INSERT INTO `format`", "TSV", b"x"),
        (b"INSERT INTO format FORMAT TSV\nx", b"INSERT INTO format", "TSV", b"x"),
        (b"INSERT INTO db.values VALUES (1)", b"INSERT INTO db.values ", "Values", b" (1)"),
        (
            b"INSERT INTO t /* FORMAT X */ -- VALUES\n FORMAT CSV\n1",
            b"INSERT INTO t /* FORMAT X */ -- VALUES",
            "CSV",
            b"1",
        ),
        (b"INSERT INTO t FORMAT CSV SETTINGS a = 1, b='x' \n1", b"INSERT INTO t SETTINGS a = 1, b='x'", "CSV", b"1"),
        (b"INSERT INTO t SETTINGS a=1 FORMAT CSV\n1", b"INSERT INTO t SETTINGS a=1", "CSV", b"1"),
    ],
)
def test_insert_data_begins_where_clickhouse_says(text: bytes, head: bytes, format_name: str, data: bytes) -> None:
    """The head, the format and the first byte of the data are found, whatever the spelling."""
    found = statement.insert_head(text)
    assert found is not None
    assert (found.sql, found.format) == (head, format_name)
    assert text[found.data_at :] == data


@pytest.mark.parametrize(
    "text",
    [b"INSERT INTO t SELECT 1", b"INSERT INTO t", b"INSERT INTO t SELECT ' FORMAT CSV '", b"INSERT INTO t (format"],
)
def test_an_insert_without_data_has_no_head(text: bytes) -> None:
    """INSERT … SELECT and unfinished statements go to the engine whole."""
    assert statement.insert_head(text) is None


@given(st.binary(max_size=300))
def test_any_bytes_lex_into_ordered_spans(text: bytes) -> None:
    """The lexer ends on any input and its tokens never overlap."""
    at = 0
    for token in statement.tokens(text):
        assert at <= token.start < token.end <= len(text)
        at = token.end
    statement.first_word(text)
    statement.insert_head(text)


@given(st.text(alphabet="'\"`$a/*-# \n\\", max_size=200))
def test_quotes_and_comments_in_any_order_lex(text: str) -> None:
    """Unfinished quotes, comments and heredocs end the lexer, not the server."""
    assert sum(token.end - token.start for token in statement.tokens(text.encode())) <= len(text)


@pytest.mark.parametrize("opening", [b"'", b"`", b'"', b"'\\'", b"`\\`", b"'''\\", b"'\\'\\\\\\"])
def test_what_is_never_closed_is_read_once(opening: bytes) -> None:
    """Else the rest of the text would be read again from each of its quotes."""
    count = sum(1 for _ in statement.tokens(b"INSERT INTO t " + opening * 1001 + b" x"))
    text = b"INSERT INTO t " + b"'" + b"\\'" * 1001
    assert count <= 3 + 2 * 1001
    assert [token.kind for token in statement.tokens(text)][3:] == ["string"]
    assert [token.kind for token in statement.tokens(text + b"\\")][3:] == ["string"]


def test_names_of_heredocs_are_looked_for_a_few_times_only() -> None:
    """A text of openings, each with a name of its own and none closed."""
    searched = CountingText(b"".join(b"$a%d$ " % number for number in range(5_000)))
    assert len(list(statement.tokens(searched))) == 5_000
    assert searched.searches <= statement.MAX_OPEN_HEREDOCS
    assert [token.kind for token in statement.tokens(b"$a$ ' $a$ x")] == ["string", "word"]


class CountingText(bytes):
    """Bytes that count how often they are searched."""

    searches = 0

    def find(self, *arguments: Any) -> int:
        self.searches += 1
        return super().find(*arguments)


def test_a_head_ends_within_the_largest_statement() -> None:
    long = b"INSERT INTO t (" + b"a," * statement.MAX_HEAD_BYTES + b"a) FORMAT TSV\n1"
    assert statement.insert_head(long) is None
    assert statement.insert_head(b"INSERT INTO t FORMAT TSV\n" + b"x" * (1 << 20)) is not None
