"""Checks a statement: the engine parses it, we check the tree, and the engine writes the text that is run.

The checked tree is that of the text that is run. Accepted statements are cached, so that repeating one costs nothing.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from ops.local.clickhouse_http.access.functions import Functions
from ops.local.clickhouse_http.access.parse import Parser, Tree
from ops.local.clickhouse_http.access.rights import Rights
from ops.local.clickhouse_http.access.structures import check_structure, definition, structures_in
from ops.local.clickhouse_http.access.users import LIMITED, OPERATOR, READER, USERS
from ops.local.clickhouse_http.errors import INTO_OUTFILE_NOT_ALLOWED, denied, refusal, unknown_format

# Cache size per user, so that one user cannot evict statements of another.
MAX_REMEMBERED: Final = 512
MAX_REMEMBERED_BYTES: Final = 16 << 10

_Key = tuple[bytes, str]
Kind = Literal["read", "answer", "session", "use", "write"]

# Statements for which the engine returns no tree, by their first words as the engine writes them. A table follows, and
# FORMAT and SETTINGS as after FROM of a query; so that query is checked instead.
_NO_TREE: Final = tuple(
    f"{words} ".encode()
    for words in (
        "DESCRIBE TABLE", "EXISTS TABLE", "EXISTS VIEW", "EXISTS DATABASE", "EXISTS TEMPORARY TABLE",
        "EXISTS DICTIONARY", "SHOW CREATE TABLE", "SHOW CREATE VIEW", "SHOW CREATE DATABASE",
        "SHOW CREATE TEMPORARY TABLE",
    )
)  # fmt: skip
_NO_TREE_WHOLE: Final = (b"SHOW FUNCTIONS", b"SHOW ENGINES")
_KINDS: Final[dict[str, Kind]] = {"SelectWithUnionQuery": "read", "SetQuery": "session", "UseQuery": "use"}
_ANSWERING: Final = frozenset(
    {"ExplainQuery", "ShowTablesQuery", "ShowColumnsQuery", "ShowIndexesQuery", "CheckTableQuery"}
)


@dataclass(frozen=True, slots=True)
class Target:
    """Conditions for the data of an INSERT: `question` returns 1 if the engine lets the user fill that table.

    It is asked before more than `asked_from_bytes` are stored. Data may have at most `max_bytes` (0: no limit), and
    must leave `spared_bytes` of disk space in addition to what every insert must leave.
    """

    question: bytes = b""
    refusal: str = ""
    asked_from_bytes: int = 0
    max_bytes: int = 0
    spared_bytes: int = 0


# For workers the question is asked at the second piece: usual inserts have one piece and save the question.
WORKERS_FREE_BYTES: Final = 1 << 20
READERS_DATA_BYTES: Final = 256 << 20
# More than 20 readers can write between two checks of the disk.
SPARED_BY_READERS_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Plan:
    """A checked statement: `before`, a file of ours, `after`; or only `before`. `format` is of its answer or data."""

    kind: Kind
    before: bytes
    after: bytes = b""
    format: str = ""
    temporary: bool = False
    target: Target = Target()

    def text(self, path: str = "") -> bytes:
        """The statement with the path of our file inserted."""
        return self.before + path.encode() + self.after


@dataclass(frozen=True, slots=True)
class Input:
    """An INSERT that selects from its own data: the table that replaces `input()`, and its structure."""

    plan: Plan
    table: str
    structure: str


@dataclass(frozen=True, slots=True)
class Names:
    """What the engine has: functions, settings, formats (lower-case name to spelling and Content-Type)."""

    functions: Functions
    settings: frozenset[str]
    formats: Mapping[str, tuple[str, str]]


class Guard:
    """Checks every statement. Thread-safe. Methods raise ServerError."""

    def __init__(self, parsers: Mapping[str, Parser], names: Names, bounds: Mapping[str, int]) -> None:
        self._parsers = parsers
        self._formats = names.formats
        self.rights = {
            user: Rights(user, names.functions, names.settings, bounds if user in LIMITED else {}) for user in USERS
        }
        # Placeholder for a file of ours. It is random, so no statement can contain it before we insert it.
        self._place = f"/{secrets.token_hex(24)}"
        self._remembered: dict[str, OrderedDict[_Key, Plan]] = {user: OrderedDict() for user in USERS}
        self._lock = threading.Lock()

    def statement(self, user: str, sql: bytes, default_format: str) -> Plan:
        """Checks a statement without data."""
        key = (sql, default_format)
        return self._recall(user, key) or self._remember(user, key, self._plan(user, sql, default_format))

    def insert(self, user: str, head: bytes, data_format: str) -> Plan | Input:
        """Checks an INSERT whose data follows: `head` ends before FORMAT or VALUES."""
        key = (head, f"INSERT {data_format}")
        if known := self._recall(user, key):
            return known
        tree = self._parsers[user].tree(b"%s FORMAT %s" % (head, data_format.encode()))
        if tree is None or tree.get("type") != "InsertQuery":
            raise denied("Expected an INSERT")
        if "infile" in tree:
            text = "FROM INFILE names a file of the client: send its content as the request body"
            raise refusal(INTO_OUTFILE_NOT_ALLOWED, "INTO_OUTFILE_NOT_ALLOWED", text)
        name = self._format(user, str(tree.get("format") or data_format))
        if source := _input_of(tree):
            if user in LIMITED:
                raise denied(f"{user} may not use input()")
            return self._input(user, tree, source, name)
        tree |= {"infile": _literal(self._place), "format": name}
        return self._remember(user, key, replace(self._split(user, tree, "write", name), target=_target(user, tree)))

    def values(self, user: str, head: bytes, data: bytes) -> Plan:
        """Checks an INSERT … VALUES with expressions: as a query, so that its functions are checked too."""
        tree = self._parsers[user].tree(head + b" FORMAT Values")
        rows = self._parsers[user].tree(b"SELECT * FROM (VALUES " + data.rstrip(b"; \t\r\n") + b"\n)")
        if tree is None or rows is None or tree.get("select"):
            raise denied("Expected INSERT … VALUES (…), …")
        tree.pop("format", None)
        return self._split(user, tree | {"select": rows}, "write", "Values")

    def _input(self, user: str, tree: Tree, source: Tree, data_format: str) -> Input:
        structure = _structure_of(source)
        table = f"_input_{secrets.token_hex(12)}"
        source.pop("table_function")
        source["database_and_table_name"] = {"type": "TableIdentifier", "name": table}
        tree.pop("format", None)
        return Input(self._split(user, tree, "write", data_format), table, structure)

    def temporary_table(self, user: str, name: str, structure: str) -> bytes:
        """The CREATE of a table for data that came with a query. Its structure may have columns and types only."""
        tree = self._parsers[user].tree(definition(name, structure))
        check_structure(tree)
        assert tree is not None
        return self._split(user, tree, "write", "").before

    def check_settings(self, user: str, settings: Mapping[str, str]) -> None:
        """Checks settings that came beside a statement."""
        for name, value in settings.items():
            self.rights[user].check_setting(name, value)

    def _plan(self, user: str, sql: bytes, default_format: str) -> Plan:
        tree = self._parsers[user].tree(sql)
        if tree is None:
            return self._without_tree(user, self._parsers[user].canonical(sql), default_format)
        kind = _KINDS.get(str(tree.get("type"))) or ("answer" if tree.get("type") in _ANSWERING else "write")
        if kind not in ("read", "answer"):
            return self._split(user, tree, kind, self._format(user, _format_name(tree) or default_format))
        name = self._format(user, _format_name(tree) or default_format)
        if kind == "answer":
            return self._split(user, tree, kind, name)
        _refuse_outfile(tree)
        tree |= {
            "out_file": _literal(self._place),
            "is_outfile_truncate": True,
            "format_ast": {"type": "Identifier", "name": name},
        }
        return self._split(user, tree, kind, name)

    def _without_tree(self, user: str, text: bytes, default_format: str) -> Plan:
        """Checks a statement for which the engine has no tree; `text` is the engine's own."""
        if text in _NO_TREE_WHOLE:
            return Plan("answer", text, format=self._format(user, default_format))
        start = next((words for words in _NO_TREE if text.startswith(words)), None)
        if start is None:
            raise denied(f"{user} may not run this kind of statement")
        tree = self._parsers[user].tree(b"SELECT 1 FROM " + text.removeprefix(start))
        if tree is None:
            raise denied(f"{user} may not run this kind of statement")
        self.rights[user].check_described(tree)
        self._check_structures(user, tree)
        return Plan("answer", text, format=self._format(user, _format_name(tree) or default_format))

    def _split(self, user: str, tree: Tree, kind: Kind, format_name: str) -> Plan:
        """The engine's text of a tree, split where our file goes. The tree of that text is checked."""
        text, again = self._parsers[user].text(tree)
        self.rights[user].check(again, self._place)
        self._check_structures(user, again)
        temporary = again.get("type") == "CreateQuery" and bool(again.get("is_temporary"))
        before, _, after = text.partition(self._place.encode())
        if self._place.encode() in after:
            raise denied("The statement has more than one place for its data")
        return Plan(kind, before, after, format_name, temporary)

    def _check_structures(self, user: str, tree: Tree) -> None:
        for structure in structures_in(tree):
            columns = self._parsers[user].tree(definition("t", structure))
            self.rights[user].check_columns(columns or {})

    def _format(self, user: str, wanted: str) -> str:
        node = self._formats.get(wanted.lower())
        if node is None:
            raise unknown_format(wanted)
        self.rights[user].check_format(node[0])
        return node[0]

    def _recall(self, user: str, key: _Key) -> Plan | None:
        with self._lock:
            plan = self._remembered[user].get(key)
            if plan is not None:
                self._remembered[user].move_to_end(key)
            return plan

    def _remember(self, user: str, key: _Key, plan: Plan) -> Plan:
        if len(key[0]) <= MAX_REMEMBERED_BYTES:
            with self._lock:
                remembered = self._remembered[user]
                remembered[key] = plan
                while len(remembered) > MAX_REMEMBERED:
                    remembered.popitem(last=False)
        return plan


def _refuse_outfile(tree: Tree) -> None:
    """Refuses INTO OUTFILE before we add our own."""
    if any(tree.get(key) for key in ("out_file", "is_into_outfile_with_stdout", "is_outfile_append")):
        raise refusal(INTO_OUTFILE_NOT_ALLOWED, "INTO_OUTFILE_NOT_ALLOWED", "INTO OUTFILE is not allowed")


def _target(user: str, tree: Tree) -> Target:
    """The Target of a checked INSERT with data."""
    if user == OPERATOR:
        return Target()
    table = _backquote(str((tree.get("table") or {}).get("name", "")))
    if user == READER:
        return Target(
            b"EXISTS TEMPORARY TABLE " + table,
            f"{user} may insert into temporary tables of its session only; it has no {table.decode()[:100]}",
            max_bytes=READERS_DATA_BYTES,
            spared_bytes=SPARED_BY_READERS_BYTES,
        )
    if database := str((tree.get("database") or {}).get("name", "")):
        table = _backquote(database) + b"." + table
    text = f"{user} may not insert into {table.decode()[:100]}"
    return Target(b"CHECK GRANT INSERT ON " + table, text, asked_from_bytes=WORKERS_FREE_BYTES)


def _backquote(name: str) -> bytes:
    return b"`" + name.replace("\\", "\\\\").replace("`", "\\`").encode() + b"`"


def _literal(text: str) -> Tree:
    return {"type": "Literal", "value": {"field_type": "String", "value": text}}


def _format_name(tree: Tree) -> str:
    format_node = tree.get("format_ast")
    return str(format_node.get("name", "")) if isinstance(format_node, dict) else ""


def _input_of(tree: Tree) -> Tree | None:
    """The only table expression of an INSERT that is `input(…)`."""
    waiting: list[Any] = [tree.get("select")]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            function = node.get("table_function")
            if node.get("type") == "TableExpression" and isinstance(function, dict) and function.get("name") == "input":
                return node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
    return None


def _structure_of(source: Tree) -> str:
    arguments = (source["table_function"].get("arguments") or {}).get("children", [])
    value = arguments[0].get("value") if len(arguments) == 1 and isinstance(arguments[0], dict) else None
    if not isinstance(value, dict) or not isinstance(value.get("value"), str):
        raise denied("Expected input('name Type, …')")
    return str(value["value"])
