"""Plans of statements: each user has a parser and a memory of its own."""

from __future__ import annotations

from typing import Any

import pytest

from ops.local.clickhouse_http.access.functions import Functions
from ops.local.clickhouse_http.access.guard import MAX_REMEMBERED, Guard, Input, Names, Plan
from ops.local.clickhouse_http.access.parse import MAX_STATEMENT_BYTES, Parser
from ops.local.clickhouse_http.access.users import OPERATOR, READER, USERS, WORKER
from ops.local.clickhouse_http.errors import ServerError

NO_FUNCTIONS = Functions(frozenset(), frozenset(), frozenset())


class CountingParser:
    """Gives the tree it was made for, and counts; of a tree it gives a text without a place for a file."""

    def __init__(self, tree: dict[str, Any]) -> None:
        self._tree = tree
        self.parsed = 0

    def tree(self, _sql: bytes) -> dict[str, Any]:
        self.parsed += 1
        return {**self._tree}

    def text(self, _tree: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
        return b"text", {**self._tree}


def made(tree: dict[str, Any]) -> tuple[Guard, dict[str, Any]]:
    parsers: dict[str, Any] = {user: CountingParser(tree) for user in USERS}
    formats = {"tsv": ("TSV", ""), "tabseparated": ("TabSeparated", "")}
    return Guard(parsers, Names(NO_FUNCTIONS, frozenset(), formats), {}), parsers


def insert(**more: Any) -> dict[str, Any]:
    return {"type": "InsertQuery", "table": {"type": "Identifier", "name": "event_rows"}, "format": "TSV", **more}


def test_a_reader_evicts_no_cached_plan_of_a_worker() -> None:
    guard, parsers = made({"type": "SetQuery"})
    first = guard.statement(WORKER, b"SET a", "TSV")
    for number in range(2 * MAX_REMEMBERED):
        guard.statement(READER, b"SET %d" % number, "TSV")
    assert guard.statement(WORKER, b"SET a", "TSV") is first
    assert (parsers[WORKER].parsed, parsers[READER].parsed) == (1, 2 * MAX_REMEMBERED)
    guard.statement(READER, b"SET 0", "TSV")
    assert parsers[READER].parsed == 2 * MAX_REMEMBERED + 1  # of one user the oldest goes


def test_each_users_statements_are_parsed_by_its_own_parser() -> None:
    guard, parsers = made({"type": "SetQuery"})
    for user in USERS:
        guard.statement(user, b"SET a", "TSV")
        assert [parsers[one].parsed for one in USERS] == [int(USERS.index(one) <= USERS.index(user)) for one in USERS]


def test_an_insert_knows_what_to_ask_before_its_data() -> None:
    guard, _ = made(insert())
    for user, question in (
        (READER, b"EXISTS TEMPORARY TABLE `event_rows`"),
        (WORKER, b"CHECK GRANT INSERT ON `event_rows`"),
        (OPERATOR, b""),
    ):
        plan = guard.insert(user, b"INSERT INTO event_rows", "TSV")
        assert isinstance(plan, Plan)
        assert plan.target.question == question
        assert (plan.target.max_bytes > 0) == (user == READER)
        assert plan.target.asked_from_bytes == (1 << 20 if user == WORKER else 0)
    guard, _ = made(insert(database={"type": "Identifier", "name": "a`b"}))
    plan = guard.insert(WORKER, b"INSERT INTO a", "TSV")
    assert isinstance(plan, Plan)
    assert plan.target.question == b"CHECK GRANT INSERT ON `a\\`b`.`event_rows`"


@pytest.mark.parametrize(
    "more",
    [
        {"database": {"type": "Identifier", "name": "axonpush"}},
        {"table": None},
        {"table": {"type": "Identifier", "name": "", "children": []}},
        {"table_function": {"type": "Function", "name": "null", "kind": "TABLE_FUNCTION"}},
    ],
)
def test_a_reader_may_name_no_table_that_stays(more: dict[str, Any]) -> None:
    guard, _ = made(insert(**more))
    with pytest.raises(ServerError) as refused:
        guard.insert(READER, b"INSERT INTO x", "TSV")
    assert refused.value.code == 497


def test_a_reader_selects_nothing_from_its_own_data() -> None:
    function = {"name": "input", "arguments": {"children": [{"value": {"value": "a String"}}]}}
    source = {"type": "TableExpression", "table_function": function}
    guard, _ = made(insert(select=source))
    with pytest.raises(ServerError, match="input"):
        guard.insert(READER, b"INSERT INTO x SELECT * FROM input('a String')", "TSV")
    assert isinstance(guard.insert(OPERATOR, b"INSERT INTO x SELECT * FROM input('a String')", "TSV"), Input)


class NoSession:
    """A session that must not be asked for anything but its settings."""

    def apply(self, _settings: dict[str, str]) -> None:
        return None

    def query(self, *_: Any) -> Any:
        raise AssertionError("a statement that is too long was parsed")


@pytest.mark.parametrize("user", USERS)
def test_a_statement_that_is_too_long_is_not_parsed(user: str) -> None:
    session: Any = NoSession()
    with pytest.raises(ServerError, match="Max query size exceeded") as refused:
        Parser(session, user).tree(b" " * (MAX_STATEMENT_BYTES[user] + 1))
    assert refused.value.code == 62
