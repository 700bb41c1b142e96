"""Lets the engine parse a statement into a tree, and write the text of a tree. Checks nothing.

A user's text is never run as it came. The engine parses it and writes it again, which removes odd quotes, blanks and
comments. That new text is parsed once more, and guard.py checks this second tree.
"""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any, Final

import orjson

from ops.local.clickhouse_http.access.users import ALERTS, CONSOLE, OPERATOR, READER, WORKER
from ops.local.clickhouse_http.errors import BAD_ARGUMENTS, SYNTAX_ERROR, ServerError, refusal

if TYPE_CHECKING:
    from ops.local.clickhouse_http.engine import EngineSession

Tree = dict[str, Any]

# Longest statement per user, checked before parsing. The engine's default, max_query_size, is 256 KiB.
# docs/decisions/0015-engine-rights.md has the cost of parsing.
MAX_STATEMENT_BYTES: Final = {
    READER: 64 << 10, CONSOLE: 256 << 10, ALERTS: 256 << 10, WORKER: 256 << 10, OPERATOR: 8 << 20,
}  # fmt: skip
# Maximum nodes of a tree per user: the engine's default, and more for the operator.
MAX_NODES: Final = {READER: 50_000, CONSOLE: 50_000, ALERTS: 50_000, WORKER: 50_000, OPERATOR: 1_000_000}
# What the engine adds to errors of parseQueryToJSON: our own wrapper statement.
_WRAPPING: Final = re.compile(
    r": (?:In scope SELECT|while executing 'FUNCTION|In scope \().*(?=\. \([A-Z_]+\)$)", re.DOTALL
)
_NO_TREE: Final = "does not support JSON serialization"


def check_length(user: str, size_bytes: int) -> None:
    """Raises ServerError 62 for a statement longer than its user may send."""
    if size_bytes > MAX_STATEMENT_BYTES[user]:
        detail = f"expected a statement of at most {MAX_STATEMENT_BYTES[user]} bytes, found {size_bytes} or more"
        raise refusal(SYNTAX_ERROR, "SYNTAX_ERROR", f"Max query size exceeded: {detail}")


class Parser:
    """An engine session that parses and formats for one user, one text at a time. It runs no statement.

    Each user has its own, so that no user waits for another one.
    """

    def __init__(self, session: EngineSession, user: str) -> None:
        self._session = session
        self._user = user
        self._lock = threading.Lock()
        nodes = str(MAX_NODES[user])
        # The engine's text may be longer than the original.
        session.apply({"max_query_size": str(1 << 30), "max_ast_elements": nodes, "max_expanded_ast_elements": nodes})

    def tree(self, sql: bytes) -> Tree | None:
        """The tree of one statement; None for a kind without one (SHOW CREATE, DESCRIBE …). Raises ServerError."""
        check_length(self._user, len(sql))
        try:
            answer = self._call("parseQueryToJSON(x)", sql)
        except ServerError as error:
            if error.code == BAD_ARGUMENTS and _NO_TREE in error.text:
                return None
            raise
        return _load(answer)

    def canonical(self, sql: bytes) -> bytes:
        """A statement as the engine writes it, on one line."""
        return self._call("formatQuerySingleLine(x)", sql)

    def text(self, tree: Tree) -> tuple[bytes, Tree]:
        """The statement of a tree, and the tree of that statement. Raises ServerError."""
        expression = "tuple(formatQueryFromJSON(x) AS t, parseQueryToJSON(t))"
        text, again = orjson.loads(self._call(expression, orjson.dumps(tree), "JSONCompactEachRow"))[0]
        return text.encode(), _load(again.encode())

    def _call(self, expression: str, text: bytes, output_format: str = "TSVRaw") -> bytes:
        # In hex, so that the text can only be a value. Read from a column, because constants are computed several
        # times.
        sql = f"SELECT {expression} FROM (SELECT materialize(unhex('{text.hex()}')) AS x)"
        try:
            with self._lock:
                return self._session.query(sql, output_format)[0].removesuffix(b"\n")
        except ServerError as error:
            raise ServerError(error.code, _WRAPPING.sub("", error.text)) from None

    def close(self) -> None:
        """Closes the session."""
        self._session.close()


def _load(answer: bytes) -> Tree:
    try:
        tree = orjson.loads(answer)
    except orjson.JSONDecodeError as error:
        text = "The statement is nested too deeply, or is not UTF-8"
        raise refusal(SYNTAX_ERROR, "SYNTAX_ERROR", text) from error
    if not isinstance(tree, dict):
        raise refusal(SYNTAX_ERROR, "SYNTAX_ERROR", "Expected one statement")
    return tree
