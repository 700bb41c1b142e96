"""The engine's own parse of a statement, as a tree, and the text the engine makes of a tree. Nothing is judged here.

Nobody's text is run as it came: what runs is the text that the engine makes of its own tree. Quotes, blanks and
comments of any kind are gone by then. That text is parsed once more, and this second tree is what guard.py checks.
"""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any, Final

import orjson

from ops.local.clickhouse_http.access.users import OPERATOR, READER, WORKER
from ops.local.clickhouse_http.errors import BAD_ARGUMENTS, SYNTAX_ERROR, ServerError, refusal

if TYPE_CHECKING:
    from ops.local.clickhouse_http.engine import EngineSession

Tree = dict[str, Any]

# Longer statements are refused before they are parsed, by user. The engine's own default, max_query_size, is 256 KiB.
# Measured on two cores: 64 KiB of `1,1,1,…` take 0.3 s to parse and 0.4 s to write and parse again.
MAX_STATEMENT_BYTES: Final = {READER: 64 << 10, WORKER: 256 << 10, OPERATOR: 8 << 20}
# Nodes of a tree, by user: as the engine has it, and for the operator more. 30,000 tables in one FROM took 2.7 s.
MAX_NODES: Final = {READER: 50_000, WORKER: 50_000, OPERATOR: 1_000_000}
# What the engine adds to an error of parseQueryToJSON: our own wrapping of the statement.
_WRAPPING: Final = re.compile(
    r": (?:In scope SELECT|while executing 'FUNCTION|In scope \().*(?=\. \([A-Z_]+\)$)", re.DOTALL
)
_NO_TREE: Final = "does not support JSON serialization"


def check_length(user: str, size_bytes: int) -> None:
    """Raises ServerError 62 for a statement that is longer than its user may send."""
    if size_bytes > MAX_STATEMENT_BYTES[user]:
        found = f"expected a statement of at most {MAX_STATEMENT_BYTES[user]} bytes, found {size_bytes} or more"
        raise refusal(SYNTAX_ERROR, "SYNTAX_ERROR", f"Max query size exceeded: {found}")


class Parser:
    """One session of the engine that parses and formats for one user, one text after the other. It runs no statement.

    Each user has its own, so that nobody waits for what another user has sent.
    """

    def __init__(self, session: EngineSession, user: str) -> None:
        self._session = session
        self._user = user
        self._lock = threading.Lock()
        nodes = str(MAX_NODES[user])
        # The text that the engine writes may be longer than the one that came.
        session.apply({"max_query_size": str(1 << 30), "max_ast_elements": nodes, "max_expanded_ast_elements": nodes})

    def tree(self, sql: bytes) -> Tree | None:
        """The tree of one statement, None for a kind that has none (SHOW CREATE, DESCRIBE …). Raises ServerError."""
        check_length(self._user, len(sql))
        try:
            answer = self._call("parseQueryToJSON(x)", sql)
        except ServerError as error:
            if error.code == BAD_ARGUMENTS and _NO_TREE in error.text:
                return None
            raise
        return _loaded(answer)

    def canonical(self, sql: bytes) -> bytes:
        """A statement as the engine writes it, on one line."""
        return self._call("formatQuerySingleLine(x)", sql)

    def text(self, tree: Tree) -> tuple[bytes, Tree]:
        """The statement of a tree, and the tree which that statement has. Raises ServerError."""
        expression = "tuple(formatQueryFromJSON(x) AS t, parseQueryToJSON(t))"
        text, again = orjson.loads(self._call(expression, orjson.dumps(tree), "JSONCompactEachRow"))[0]
        return text.encode(), _loaded(again.encode())

    def _call(self, expression: str, text: bytes, output_format: str = "TSVRaw") -> bytes:
        # In hex, so that no text can be anything but a value. From a column: constants are computed several times.
        sql = f"SELECT {expression} FROM (SELECT materialize(unhex('{text.hex()}')) AS x)"
        try:
            with self._lock:
                return self._session.query(sql, output_format)[0].removesuffix(b"\n")
        except ServerError as error:
            raise ServerError(error.code, _WRAPPING.sub("", error.text)) from None

    def close(self) -> None:
        """Close the session."""
        self._session.close()


def _loaded(answer: bytes) -> Tree:
    try:
        found = orjson.loads(answer)
    except orjson.JSONDecodeError as error:
        text = "The statement is nested too deeply, or is not UTF-8"
        raise refusal(SYNTAX_ERROR, "SYNTAX_ERROR", text) from error
    if not isinstance(found, dict):
        raise refusal(SYNTAX_ERROR, "SYNTAX_ERROR", "Expected one statement")
    return found
