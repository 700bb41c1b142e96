"""Checks a statement's tree against the rights of its user. The engine's own rights (config.py) are a second check.

Only what is listed passes: kinds of statements and nodes, functions, engines, formats, settings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ops.local.clickhouse_http.access import allowed
from ops.local.clickhouse_http.access.parse import Tree
from ops.local.clickhouse_http.access.paths import asked_path
from ops.local.clickhouse_http.access.users import OPERATOR, READER, WORKER
from ops.local.clickhouse_http.config import WORKER_TABLES
from ops.local.clickhouse_http.errors import (
    ACCESS_DENIED,
    BAD_ARGUMENTS,
    INTO_OUTFILE_NOT_ALLOWED,
    SETTING_CONSTRAINT_VIOLATION,
    UNKNOWN_FUNCTION,
    UNKNOWN_SETTING,
    ServerError,
    refusal,
)

_READING: Final = frozenset(
    {"SelectWithUnionQuery", "ExplainQuery", "ShowTablesQuery", "ShowColumnsQuery", "ShowIndexesQuery"}
)
_SESSION: Final = frozenset({"SetQuery", "UseQuery"})
_DEFINING: Final = frozenset(
    {
        "CreateQuery", "DropQuery", "AlterQuery", "DeleteQuery", "RenameQuery", "OptimizeQuery", "BackupQuery",
        "KillQueryQuery", "CheckTableQuery",
    }
)  # fmt: skip
# A reader's CREATE, INSERT and DROP may use temporary tables only. CREATE is checked here, the others by the engine.
STATEMENTS: Final[dict[str, frozenset[str]]] = {
    READER: _READING | _SESSION | {"CreateQuery", "InsertQuery", "DropQuery"},
    WORKER: _READING | _SESSION | {"InsertQuery"},
    OPERATOR: _READING | _SESSION | _DEFINING | {"InsertQuery"},
}
# Nodes of a SELECT.
_NODES: Final = _READING | frozenset(
    {
        "ArrayJoin", "Asterisk", "Collation", "ColumnsApplyTransformer", "ColumnsExceptTransformer",
        "ColumnsListMatcher",
        "ColumnsRegexpMatcher", "ColumnsReplaceTransformer", "ColumnsReplaceTransformerReplacement",
        "ColumnsTransformerList", "DataType", "EnumDataType", "ExpressionList", "Function", "Identifier",
        "InterpolateElement", "Literal", "NameTypePair", "ObjectTypedPathArgument", "ObjectTypeArgument",
        "OrderByElement",
        "QualifiedAsterisk", "QualifiedColumnsListMatcher", "QualifiedColumnsRegexpMatcher", "QueryParameter",
        "SampleRatio", "SelectIntersectExceptQuery", "SelectQuery", "SelectWithUnionQuery", "SetQuery", "Subquery",
        "TableExpression", "TableIdentifier", "TableJoin", "TablesInSelectQuery", "TablesInSelectQueryElement",
        "TupleDataType", "WindowDefinition", "WindowListElement", "WithElement",
    }
)  # fmt: skip
_COLUMNS: Final = frozenset({"Columns definition", "ColumnDeclaration", "Columns", "Storage"})
_DEFINITIONS: Final = _COLUMNS | frozenset(
    {
        "AlterCommand", "Assignment", "ConstraintDeclaration", "DATABASE", "IndexDeclaration", "Partition",
        "Projection",
        "ProjectionDeclaration", "ProjectionSelectQuery", "SQLSecurity", "StorageOrderByElement", "TABLE", "TTLElement",
        "ViewTargets", "RefreshStrategy",
    }
)  # fmt: skip
NODES: Final[dict[str, frozenset[str]]] = {
    READER: _NODES | _COLUMNS | STATEMENTS[READER],
    WORKER: _NODES | STATEMENTS[WORKER],
    OPERATOR: _NODES | _DEFINITIONS | STATEMENTS[OPERATOR],
}
EXPLAINS: Final = frozenset(
    {"EXPLAIN", "EXPLAIN AST", "EXPLAIN SYNTAX", "EXPLAIN QUERY TREE", "EXPLAIN PIPELINE", "EXPLAIN ESTIMATE"}
)
# Allowed ALTERs of partitions: none fetches, freezes or moves one to or from another disk.
ALTERS: Final = allowed.names(
    """
    ADD_COLUMN DROP_COLUMN MODIFY_COLUMN COMMENT_COLUMN RENAME_COLUMN MATERIALIZE_COLUMN MODIFY_ORDER_BY
    MODIFY_SAMPLE_BY MODIFY_TTL MATERIALIZE_TTL REMOVE_TTL MODIFY_SETTING RESET_SETTING MODIFY_QUERY
    MODIFY_COMMENT ADD_INDEX DROP_INDEX MATERIALIZE_INDEX ADD_CONSTRAINT DROP_CONSTRAINT ADD_PROJECTION
    DROP_PROJECTION MATERIALIZE_PROJECTION DROP_PARTITION REPLACE_PARTITION DELETE UPDATE APPLY_DELETED_MASK
    APPLY_PATCHES MODIFY_SQL_SECURITY
    """
)
# Keys that lead out of the engine, or around these checks. No accepted statement has them.
_NEVER: Final = ("compression", "compression_level", "watch", "attach_from_path", "cluster", "to_disk", "to_volume")
# Function nodes of these kinds name no function and contain none.
_OTHER_NAMES: Final = ("CODEC", "STATISTICS")
_NUMBER: Final = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")
_TABLE_FUNCTION_KEYS: Final = ("table_function", "as_table_function", "to_table_function")


@dataclass(frozen=True, slots=True)
class Functions:
    """The engine's functions that may be called, by lower-case name."""

    plain: frozenset[str]
    aggregates: frozenset[str]
    refused: frozenset[str]

    @classmethod
    def of(cls, rows: list[tuple[str, str, str, int]]) -> Functions:
        """Made from name, categories, alias and is_aggregate of system.functions."""
        categories = {name: found for name, found, _, _ in rows}
        named = {
            name: aggregate
            for name, _, alias, aggregate in rows
            if _may_be_called(alias or name, categories.get(alias or name, ""))
        }
        refused = {name.lower() for name, _, _, _ in rows if name not in named}
        plain = ({name.lower() for name in named} | {name.lower() for name in allowed.FUNCTIONS}) - refused
        return cls(frozenset(plain), frozenset(name.lower() for name, one in named.items() if one), frozenset(refused))

    def check(self, name: str) -> None:
        """Raises ServerError for a function that may not be called or does not exist."""
        if self.allow(name):
            return
        if name.lower() in self.refused:
            raise denied(f"Function {name} is not allowed")
        raise refusal(
            UNKNOWN_FUNCTION, "UNKNOWN_FUNCTION", f"Function with name `{name}` does not exist or is not allowed"
        )

    def allow(self, name: str) -> bool:
        """Whether a function may be called, including with suffixes of aggregate functions."""
        if name.lower() in self.plain:
            return True
        while ending := next((one for one in allowed.COMBINATORS if name.endswith(one) and name != one), ""):
            name = name.removesuffix(ending)
            if name.lower() in self.aggregates:
                return True
        return False


def _may_be_called(name: str, categories: str) -> bool:
    if name in allowed.REFUSED_FUNCTIONS:
        return False
    return name in allowed.FUNCTIONS or categories in allowed.FUNCTION_CATEGORIES


@dataclass(frozen=True, slots=True)
class Rights:
    """The checks for one user. Every method raises ServerError for what the user may not do."""

    user: str
    functions: Functions
    settings: frozenset[str]
    bounds: Mapping[str, int] = field(default_factory=dict)

    @property
    def writes(self) -> bool:
        """Whether the user may change permanent tables."""
        return self.user != READER

    def check_described(self, tree: Tree) -> None:
        """Checks the query that replaces a statement which only describes a table."""
        for key, node in _nodes(tree):
            _refuse_files(node, "")
            self._check_node(key, node)

    def check(self, tree: Tree, our_file: str = "") -> None:
        """Checks a whole statement; `our_file` is the only file name it may contain."""
        kind = str(tree.get("type"))
        if kind not in STATEMENTS[self.user]:
            raise denied(f"{self.user} may not run a statement of kind {kind}")
        if kind == "CreateQuery" and self.user == READER and not tree.get("is_temporary"):
            raise denied(f"{self.user} may create temporary tables only")
        if self.user == WORKER:
            _check_worker(tree)
        if self.user == READER and kind == "InsertQuery":
            _check_readers_insert(tree)
        if self.user != OPERATOR and (found := asked_path(tree)):
            raise denied(f"{self.user} may not read where files lie: {found}")
        for key, node in _nodes(tree):
            _refuse_files(node, our_file if node is tree else "")
            self._check_node(key, node)

    def _check_node(self, key: str, node: Tree) -> None:
        kind = node.get("type")
        if kind is None:
            if "field_type" in node:
                _check_value(node)
            return
        if kind not in NODES[self.user]:
            raise denied(f"{self.user} may not use {kind}")
        check = _CHECKS.get(kind)
        if check is not None:
            check(self, key, node)

    def check_function(self, key: str, node: Tree) -> None:
        """Checks a call of a function, table function or engine."""
        name, kind = str(node.get("name", "")), node.get("kind", "")
        if key in _TABLE_FUNCTION_KEYS or kind == "TABLE_FUNCTION":
            if name not in allowed.TABLE_FUNCTIONS:
                raise denied(f"Table function {name} is not allowed")
        elif kind == "TABLE_ENGINE":
            if name not in (allowed.TABLE_ENGINES if self.writes else {"Memory"}):
                raise denied(f"Table engine {name} is not allowed")
        elif kind == "DATABASE_ENGINE":
            if name not in allowed.DATABASE_ENGINES:
                raise denied(f"Database engine {name} is not allowed")
        elif kind == "BACKUP_NAME":
            _check_backup(node)
        elif name in allowed.REFUSED_FUNCTIONS:
            self.check_format(_first_text(node))
        elif kind not in _OTHER_NAMES and key != "index_type":
            self.functions.check(name)

    def check_apply(self, _key: str, node: Tree) -> None:
        """Checks `* APPLY name`, which calls a function by name only."""
        if name := str(node.get("func_name", "")):
            self.functions.check(name)

    def check_settings(self, key: str, node: Tree) -> None:
        """Checks SET, and SETTINGS of a query or table."""
        if node.get("query_parameters"):
            raise denied("SET param_… is not allowed: send parameters with the query they are for")
        if key == "settings" and node.get("of_explain"):
            return
        named = {str(one.get("name")): _text(one.get("value")) for one in node.get("changes", ())}
        named |= dict.fromkeys(map(str, node.get("default_settings", ())), "")
        for name, value in named.items():
            if key == "table_settings":
                _check_table_setting(name)
            elif key == "backup_settings":
                _check_backup_setting(name)
            else:
                self.check_setting(name, value)

    def check_setting(self, name: str, value: str | None) -> None:
        """Checks one setting of a query, in a statement or URL; an empty `value` means the default."""
        if name not in self.settings:
            raise refusal(UNKNOWN_SETTING, "UNKNOWN_SETTING", f"Unknown setting '{name[:100]}'")
        if not allowed.is_setting(name, writes=self.writes):
            raise denied(f"Setting {name} is not allowed")
        bound = self.bounds.get(name)
        if bound is not None and not _is_within(value, bound):
            text = f"Setting {name} shouldn't be greater than {bound}, 0 or DEFAULT"
            raise refusal(SETTING_CONSTRAINT_VIOLATION, "SETTING_CONSTRAINT_VIOLATION", text)

    def check_format(self, name: str) -> None:
        """Checks a format of input or output."""
        if name.lower() not in allowed.FORMATS:
            raise denied(f"Format {name} is not allowed")

    def check_table(self, _key: str, node: Tree) -> None:
        """Checks a table name; of database `system` a reader may use what clients need."""
        parts = [str(one) for one in node.get("name_parts") or [node.get("name", "")]]
        if len(parts) > 1 and parts[0] == "system":
            self.check_system_table(parts[1])

    def check_system_table(self, name: str) -> None:
        """Checks a table of database `system`."""
        if self.user != OPERATOR and name in allowed.OPERATORS_SYSTEM_TABLES:
            raise denied(f"{self.user} may not read system.{name}")

    def check_database(self, name: str) -> None:
        """Checks the current database: in `system`, a table name alone would be ambiguous."""
        if self.user != OPERATOR and name == "system":
            raise denied(f"{self.user} may not be in database system: name its tables in full")

    def check_use(self, _key: str, node: Tree) -> None:
        """Checks USE."""
        database = node.get("database")
        self.check_database(str(database.get("name", "")) if isinstance(database, dict) else str(database))

    def check_parameter(self, _key: str, node: Tree) -> None:
        """Checks `{name:Type}`. The value of an identifier comes after the check and could name any table."""
        if self.user != OPERATOR and "identifier" in str(node.get("param_type", "")).lower():
            raise denied(f"{self.user} may not use {{{node.get('name')}:Identifier}}: write the name itself")

    def check_params(self, params: Mapping[str, str]) -> None:
        """Checks values of `{name:Identifier}`: later they become table names, which must not be in `system`."""
        for value in params.values():
            name = value.strip('`" ')
            self.check_database(name)
            if self.user != OPERATOR and name in allowed.OPERATORS_SYSTEM_TABLES:
                continue
            if name.startswith("system."):
                self.check_system_table(name.removeprefix("system."))

    def check_show(self, _key: str, node: Tree) -> None:
        """Checks SHOW: databases, tables and settings are allowed, caches and clusters are not."""
        if node.get("caches") or node.get("clusters"):
            raise denied("SHOW of caches and clusters is not allowed")

    def check_explain(self, _key: str, node: Tree) -> None:
        """Checks EXPLAIN: some kinds are allowed. Its settings are not settings of a query."""
        if node.get("kind") not in EXPLAINS:
            raise denied(f"{node.get('kind')} is not allowed")
        if isinstance(node.get("settings"), dict):
            node["settings"]["of_explain"] = True

    def check_create(self, _key: str, node: Tree) -> None:
        """Checks CREATE of databases, tables and views."""
        for flag in ("attach", "is_dictionary", "has_attach_from_path", "has_uuid_clause", "is_time_series_table"):
            if node.get(flag):
                raise denied(f"CREATE or ATTACH with {flag} is not allowed")

    def check_drop(self, _key: str, node: Tree) -> None:
        """Checks DROP and TRUNCATE. DETACH is refused: a table could be attached again with another definition."""
        if node.get("kind") not in ("Drop", "Truncate") or node.get("is_dictionary"):
            raise denied(f"{node.get('kind')} is not allowed")

    def check_alter(self, _key: str, node: Tree) -> None:
        """Checks one command of ALTER."""
        if node.get("command_type") not in ALTERS or node.get("detach"):
            raise denied(f"ALTER … {node.get('command_type')} is not allowed")

    def check_backup(self, _key: str, node: Tree) -> None:
        """Checks BACKUP and RESTORE: only the one disk, and only databases and tables. Other elements hold users'
        rights.
        """
        kinds = {element.get("type") for element in node.get("elements", ())}
        if not kinds <= {"DATABASE", "TABLE"}:
            raise denied("BACKUP and RESTORE of databases and tables only")

    def check_ttl(self, _key: str, node: Tree) -> None:
        """Checks TTL: it may delete, but not move data to a disk."""
        if node.get("mode") != "DELETE":
            raise denied(f"TTL … {node.get('mode')} is not allowed")

    def check_column(self, _key: str, node: Tree) -> None:
        """Refuses column expressions for readers: they would run later, with every insert and with the inserter's
        rights.
        """
        if self.user == READER and node.get("default_expression"):
            raise denied("Columns of temporary tables may have no expression")


def _nodes(tree: Tree) -> Iterator[tuple[str, Tree]]:
    """Every object of a tree with its key, without recursion: a tree may be deep."""
    waiting: list[tuple[str, Any]] = [("", tree)]
    while waiting:
        key, node = waiting.pop()
        if isinstance(node, dict):
            yield key, node
            if node.get("kind") in _OTHER_NAMES or key == "index_type":
                continue
            waiting.extend((_key_below(node, name), value) for name, value in node.items())
        elif isinstance(node, list):
            waiting.extend((key, one) for one in node)


def _key_below(node: Tree, name: str) -> str:
    if name == "settings_changes" or (name == "settings" and node.get("type") == "Storage"):
        return "table_settings"
    return "backup_settings" if name == "settings" and node.get("type") == "BackupQuery" else name


def _refuse_files(node: Tree, ours: str) -> None:
    """Refuses INTO OUTFILE and FROM INFILE: they mean files of the client, but over HTTP would use the server's."""
    for key in ("out_file", "infile"):
        if key in node and (not ours or _text((node[key] or {}).get("value")) != ours):
            words = "INTO OUTFILE" if key == "out_file" else "FROM INFILE"
            raise refusal(INTO_OUTFILE_NOT_ALLOWED, "INTO_OUTFILE_NOT_ALLOWED", f"{words} is not allowed")
    for key in _NEVER:
        if node.get(key):
            raise denied(f"{key} is not allowed in {node.get('type', 'a statement')}")


def _first_text(call: Tree) -> str:
    """The first argument of a call if it is a literal text; otherwise empty."""
    arguments = (call.get("arguments") or {}).get("children", [])
    first = arguments[0] if arguments and isinstance(arguments[0], dict) else {}
    return (_text(first.get("value")) or "") if first.get("type") == "Literal" else ""


def _check_worker(tree: Tree) -> None:
    """A worker may insert into its tables and read settings and similar; it may not read tables of rows."""
    if tree.get("type") == "InsertQuery":
        parts = (tree.get("table") or {}).get("name_parts") or [(tree.get("table") or {}).get("name")]
        if tree.get("select") or parts[-1] not in WORKER_TABLES:
            raise denied(f"{WORKER} may insert data into {', '.join(WORKER_TABLES)} only")
        return
    for _, node in _nodes(tree):
        kind, parts = node.get("type"), node.get("name_parts") or []
        is_table = kind == "TableIdentifier" and parts[:1] != ["system"]
        arguments = (node.get("arguments") or {}).get("children", []) if kind == "Function" else []
        is_set = str(node.get("name", "")).lower().endswith("in") and any(
            isinstance(one, dict) and one.get("type") in ("Identifier", "TableIdentifier") for one in arguments[1:]
        )
        if is_table or is_set:
            raise denied(f"{WORKER} may not read tables")


def _check_readers_insert(tree: Tree) -> None:
    """A reader may insert into a table without database; its session says whether it is temporary."""
    if tree.get("database") or tree.get("table_function") or not (tree.get("table") or {}).get("name"):
        raise denied(f"{READER} may insert into temporary tables of its session only")


def _is_within(value: str | None, bound: int) -> bool:
    return value is not None and _NUMBER.fullmatch(value) is not None and 0 < float(value) <= bound


def _check_backup(node: Tree) -> None:
    arguments = (node.get("arguments") or {}).get("children", ())
    disk = _text(arguments[0].get("value")) if arguments and isinstance(arguments[0], dict) else None
    name = _text(arguments[1].get("value")) if len(arguments) == 2 and isinstance(arguments[1], dict) else None
    if str(node.get("name", "")).lower() != "disk" or disk != allowed.BACKUP_DISK or not name:
        raise denied(f"Backups go to and come from Disk('{allowed.BACKUP_DISK}', 'name') only")
    if "\0" in name or ".." in name.split("/") or name.startswith("/"):
        raise denied("A backup's name may not lead out of its folder")


def _check_table_setting(name: str) -> None:
    if name in ("disk", "storage_policy", "table_disk") or "path" in name or "zookeeper" in name:
        raise denied(f"Table setting {name} is not allowed")


def _check_backup_setting(name: str) -> None:
    if name not in allowed.BACKUP_SETTINGS:
        raise denied(f"Setting {name} of BACKUP and RESTORE is not allowed")


def _check_value(node: Tree) -> None:
    if node.get("field_type") == "CustomType":
        raise denied("disk(…) and the like are not allowed as a value")


def _text(value: Any) -> str | None:
    """A literal's value as text; None for anything else."""
    if isinstance(value, dict):
        value = value.get("value")
    return str(value) if isinstance(value, str | int | float) else None


def denied(text: str) -> ServerError:
    """ClickHouse's error for missing rights."""
    return refusal(ACCESS_DENIED, "ACCESS_DENIED", f"Not enough privileges. {text}")


def check_structure(tree: Tree | None) -> None:
    """Checks the tree of `CREATE TEMPORARY TABLE t (structure)`: columns with types only. Raises ServerError."""
    declared = tree.get("columns_list") if tree and tree.get("type") == "CreateQuery" else None
    plain = {"type", "name", "data_type", "ephemeral_default", "primary_key_specifier", "null_modifier"}
    columns = declared.get("columns", {}).get("children", []) if isinstance(declared, dict) else []
    only_columns = tree is not None and not any(
        tree.get(one) for one in ("storage", "select", "as_table_function", "as_table")
    )
    if not columns or not only_columns or set(declared or {}) - {"type", "columns"}:
        raise refusal(BAD_ARGUMENTS, "BAD_ARGUMENTS", "Expected columns as `name Type, …` and nothing else")
    for column in columns:
        if column.get("type") != "ColumnDeclaration" or set(column) - plain:
            raise refusal(BAD_ARGUMENTS, "BAD_ARGUMENTS", "Expected columns with a name and a type only")


_CHECKS: Final[dict[str, Callable[[Rights, str, Tree], None]]] = {
    "Function": Rights.check_function,
    "ColumnsApplyTransformer": Rights.check_apply,
    "SetQuery": Rights.check_settings,
    "TableIdentifier": Rights.check_table,
    "Identifier": Rights.check_table,
    "QueryParameter": Rights.check_parameter,
    "UseQuery": Rights.check_use,
    "ExplainQuery": Rights.check_explain,
    "ShowTablesQuery": Rights.check_show,
    "CreateQuery": Rights.check_create,
    "DropQuery": Rights.check_drop,
    "AlterCommand": Rights.check_alter,
    "BackupQuery": Rights.check_backup,
    "TTLElement": Rights.check_ttl,
    "ColumnDeclaration": Rights.check_column,
}
