"""What a worker may read (settings, columns of a table, but no rows), and what other programs may insert."""

from __future__ import annotations

import re
from typing import Any, Final

from ops.local.clickhouse_http.access.parse import Tree
from ops.local.clickhouse_http.access.tree import arguments, nodes
from ops.local.clickhouse_http.access.users import ALERTS, CONSOLE, WORKER
from ops.local.clickhouse_http.config import ALERTS_TABLES, CONSOLE_TABLES, WORKER_TABLES
from ops.local.clickhouse_http.errors import denied

# All nodes of a query for one table.
_PLAIN: Final = frozenset(
    {
        "SelectWithUnionQuery", "ExpressionList", "SelectQuery", "Literal", "TablesInSelectQuery",
        "TablesInSelectQueryElement", "TableExpression", "TableIdentifier", "Identifier", "SetQuery",
    }
)  # fmt: skip
# Functions whose second argument may name a table, like `x IN t`.
_IN: Final = re.compile(r"\w*in(ignoreset)?")


def check_reads_no_rows(tree: Tree) -> None:
    """Checks that a worker's statement reads no rows. Raises ServerError."""
    if tree.get("type") == "InsertQuery":
        parts = (tree.get("table") or {}).get("name_parts") or [(tree.get("table") or {}).get("name")]
        if tree.get("select") or parts[-1] not in WORKER_TABLES:
            raise denied(f"{WORKER} may insert data into {', '.join(WORKER_TABLES)} only")
        return
    for _, node in nodes(tree):
        if _is_table_of_rows(node) or _is_set_of_rows(node):
            raise denied(f"{WORKER} may not read tables")


# Of programs that read everything and write a little.
OWN_TABLES: Final = {CONSOLE: CONSOLE_TABLES, ALERTS: ALERTS_TABLES}


def check_own_insert(user: str, tree: Tree) -> None:
    """Checks that a program inserts data that it sends, into a table of its own. Raises ServerError."""
    tables = OWN_TABLES[user]
    parts = (tree.get("table") or {}).get("name_parts") or [(tree.get("table") or {}).get("name")]
    if tree.get("select") or parts[-1] not in tables:
        raise denied(f"{user} may insert data into {', '.join(tables)} only")


def check_plain_table(tree: Tree) -> None:
    """Checks that DESCRIBE and similar ask about one table by its name. Raises ServerError."""
    for _, node in nodes(tree):
        kind = node.get("type")
        if kind is not None and ("field_type" not in node) and kind not in _PLAIN:
            raise denied(f"{WORKER} may ask for the columns of a table by its name only")


def _is_table_of_rows(node: Tree) -> bool:
    return node.get("type") == "TableIdentifier" and (node.get("name_parts") or [])[:1] != ["system"]


def _is_set_of_rows(node: Tree) -> bool:
    if node.get("type") != "Function" or not _IN.fullmatch(str(node.get("name", "")).lower()):
        return False
    kinds: list[Any] = [argument.get("type") for argument in arguments(node)[1:] if isinstance(argument, dict)]
    return "Identifier" in kinds or "TableIdentifier" in kinds
