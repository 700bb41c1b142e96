"""Checks a statement's tree against the rights of its user. The engine's own rights (config.py) are a second check.

Only what is listed passes: kinds of statements and nodes, functions, engines, formats, settings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from ops.local.clickhouse_http.access import allowed
from ops.local.clickhouse_http.access.functions import Functions
from ops.local.clickhouse_http.access.parse import Tree
from ops.local.clickhouse_http.access.paths import asked_path
from ops.local.clickhouse_http.access.statements import ALTERS, EXPLAINS, NODES, STATEMENTS
from ops.local.clickhouse_http.access.structures import check_structure
from ops.local.clickhouse_http.access.tree import OTHER_NAMES, arguments, literal_text, nodes
from ops.local.clickhouse_http.access.users import LIMITED, OPERATOR, PROGRAMS, READER, WORKER
from ops.local.clickhouse_http.access.worker_reads import (
    OWN_TABLES,
    check_own_insert,
    check_plain_table,
    check_reads_no_rows,
)
from ops.local.clickhouse_http.errors import (
    INTO_OUTFILE_NOT_ALLOWED,
    SETTING_CONSTRAINT_VIOLATION,
    UNKNOWN_SETTING,
    denied,
    refusal,
)

# Keys that lead out of the engine, or around these checks. No accepted statement has them.
_NEVER: Final = ("compression", "compression_level", "watch", "attach_from_path", "cluster", "to_disk", "to_volume")
_NUMBER: Final = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")
_TABLE_FUNCTION_KEYS: Final = ("table_function", "as_table_function", "to_table_function")


@dataclass(frozen=True, slots=True)
class Rights:
    """The checks for one user. Every method raises ServerError for what the user may not do."""

    user: str
    functions: Functions
    settings: frozenset[str]
    bounds: Mapping[str, int] = field(default_factory=dict)

    @property
    def writes(self) -> bool:
        """Whether the user may make tables and choose how a query uses the disk."""
        return self.user not in LIMITED

    def check_described(self, tree: Tree) -> None:
        """The query that replaces a statement which describes a table; checked like a query, because types reveal
        values.
        """
        if self.user != WORKER:
            self.check(tree)
            return
        check_plain_table(tree)
        self._check_nodes(tree, "")

    def check_columns(self, tree: Tree) -> None:
        """The definition that replaces a structure."""
        for column in check_structure(tree):
            self._check_nodes(column.get("data_type") or {}, "")

    def check(self, tree: Tree, our_file: str = "") -> None:
        """Checks a whole statement; `our_file` is the only file name it may contain."""
        kind = str(tree.get("type"))
        if kind not in STATEMENTS[self.user]:
            raise denied(f"{self.user} may not run a statement of kind {kind}")
        if kind == "CreateQuery" and self.user == READER and not tree.get("is_temporary"):
            raise denied(f"{self.user} may create temporary tables only")
        if self.user == WORKER:
            check_reads_no_rows(tree)
        if self.user in OWN_TABLES and kind == "InsertQuery":
            check_own_insert(self.user, tree)
        if self.user == READER and kind == "InsertQuery":
            _check_readers_insert(tree)
        if self.user != OPERATOR and (path := asked_path(tree)):
            raise denied(f"{self.user} may not read where files lie: {path}")
        self._check_nodes(tree, our_file)

    def _check_nodes(self, tree: Tree, our_file: str) -> None:
        for key, node in nodes(tree):
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
            # JDBC writes VALUES; the engine knows this one in any case.
            if name not in allowed.TABLE_FUNCTIONS and name.lower() != "values":
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
        elif key in OTHER_NAMES:
            if name not in OTHER_NAMES[key]:
                raise denied(f"{name} is not allowed as {key}")
        else:
            self.functions.check(name)
            self.functions.check_arguments(name, node)

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
        named = {str(change.get("name")): literal_text(change.get("value")) for change in node.get("changes", ())}
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
        if name == "join_algorithm" and not self.writes and not allowed.is_in_memory(value):
            text = f"Setting join_algorithm should be of {', '.join(sorted(allowed.READERS_JOINS))}"
            raise refusal(SETTING_CONSTRAINT_VIOLATION, "SETTING_CONSTRAINT_VIOLATION", text)
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
        parts = [str(part) for part in node.get("name_parts") or [node.get("name", "")]]
        if len(parts) > 1 and parts[0] == "system":
            self.check_system_table(parts[1])

    def check_system_table(self, name: str) -> None:
        """Checks a table of database `system`."""
        if self.user in PROGRAMS and name in allowed.PROGRAMS_SYSTEM_TABLES:
            return
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


def _refuse_files(node: Tree, ours: str) -> None:
    """Refuses INTO OUTFILE and FROM INFILE: they mean files of the client, but over HTTP would use the server's."""
    for key in ("out_file", "infile"):
        if key in node and (not ours or literal_text((node[key] or {}).get("value")) != ours):
            words = "INTO OUTFILE" if key == "out_file" else "FROM INFILE"
            raise refusal(INTO_OUTFILE_NOT_ALLOWED, "INTO_OUTFILE_NOT_ALLOWED", f"{words} is not allowed")
    for key in _NEVER:
        if node.get(key):
            raise denied(f"{key} is not allowed in {node.get('type', 'a statement')}")


def _first_text(call: Tree) -> str:
    """The first argument of a call if it is a literal text; otherwise empty."""
    given = arguments(call)
    first = given[0] if given and isinstance(given[0], dict) else {}
    return (literal_text(first.get("value")) or "") if first.get("type") == "Literal" else ""


def _check_readers_insert(tree: Tree) -> None:
    """A reader may insert into a table without database; its session says whether it is temporary."""
    if tree.get("database") or tree.get("table_function") or not (tree.get("table") or {}).get("name"):
        raise denied(f"{READER} may insert into temporary tables of its session only")


def _is_within(value: str | None, bound: int) -> bool:
    return value is not None and _NUMBER.fullmatch(value) is not None and 0 < float(value) <= bound


def _check_backup(node: Tree) -> None:
    given = arguments(node)
    disk = literal_text(given[0].get("value")) if given and isinstance(given[0], dict) else None
    name = literal_text(given[1].get("value")) if len(given) == 2 and isinstance(given[1], dict) else None
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
