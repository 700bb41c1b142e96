"""The kinds of statements, of nodes in their trees, of EXPLAIN and of ALTER that each user may use.

rights.py checks them. What is allowed inside a statement (functions, engines, formats, settings) is in allowed.py.
"""

from __future__ import annotations

from typing import Final

from ops.local.clickhouse_http.access.allowed import names
from ops.local.clickhouse_http.access.users import ALERTS, CONSOLE, OPERATOR, READER, WORKER

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
    CONSOLE: _READING | _SESSION | {"InsertQuery"},
    ALERTS: _READING | _SESSION | {"InsertQuery"},
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
    CONSOLE: _NODES | STATEMENTS[CONSOLE],
    ALERTS: _NODES | STATEMENTS[ALERTS],
    OPERATOR: _NODES | _DEFINITIONS | STATEMENTS[OPERATOR],
}
EXPLAINS: Final = frozenset(
    {"EXPLAIN", "EXPLAIN AST", "EXPLAIN SYNTAX", "EXPLAIN QUERY TREE", "EXPLAIN PIPELINE", "EXPLAIN ESTIMATE"}
)
# Allowed ALTERs of partitions: none fetches, freezes or moves one to or from another disk.
ALTERS: Final = names(
    """
    ADD_COLUMN DROP_COLUMN MODIFY_COLUMN COMMENT_COLUMN RENAME_COLUMN MATERIALIZE_COLUMN MODIFY_ORDER_BY
    MODIFY_SAMPLE_BY MODIFY_TTL MATERIALIZE_TTL REMOVE_TTL MODIFY_SETTING RESET_SETTING MODIFY_QUERY
    MODIFY_COMMENT ADD_INDEX DROP_INDEX MATERIALIZE_INDEX ADD_CONSTRAINT DROP_CONSTRAINT ADD_PROJECTION
    DROP_PROJECTION MATERIALIZE_PROJECTION DROP_PARTITION REPLACE_PARTITION DELETE UPDATE APPLY_DELETED_MASK
    APPLY_PATCHES MODIFY_SQL_SECURITY
    """
)
