"""Finds where the data of an INSERT starts, in a text that may continue with any bytes.

This decides nothing about rights: those are checked on the engine's own parse (parse.py, rights.py). If an odd text
misleads this file, the engine gets a shorter or longer statement than meant; the data is still only data of a checked
format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

# ClickHouse's default max_query_size: a longer head is not searched further.
MAX_HEAD_BYTES: Final = 256 << 10
# Each unterminated heredoc ($name$) costs a search through the rest of the text.
MAX_OPEN_HEREDOCS: Final = 16
# An unterminated quote extends to the end; otherwise the rest would be read again for each quote.
_TOKEN: Final = re.compile(
    rb"""(?P<skip>[\s\x00]+|--[^\n]*|\#[ !][^\n]*|/\*.*?(?:\*/|\Z))
    |(?P<string>'(?:[^'\\]|\\.|'')*+\\?(?:'|\Z))
    |(?P<heredoc>\$\w*\$)
    |(?P<word>[A-Za-z_][A-Za-z0-9_$]*)
    |(?P<quoted>`(?:[^`\\]|\\.|``)*+\\?(?:`|\Z)|"(?:[^"\\]|\\.|"")*+\\?(?:"|\Z))
    |(?P<open>[(\[{])|(?P<close>[)\]}])
    |(?P<other>[0-9][A-Za-z0-9_.]*|.)""",
    re.VERBOSE | re.DOTALL,
)
_LITERAL: Final = rb"(?:'(?:[^'\\]|\\.|'')*'|[-+.\w]+)"
_PAIR: Final = rb"\w+\s*=\s*" + _LITERAL
_SETTINGS: Final = re.compile(rb"\s*(SETTINGS\s+" + _PAIR + rb"(?:\s*,\s*" + _PAIR + rb")*)", re.IGNORECASE)
# ClickHouse skips blanks after the format's name, then one line break; the data starts there.
_DATA_GAP: Final = re.compile(rb"[ \t\f]*(?:\r?\n)?")
_NAME_FOLLOWS: Final = frozenset({"INTO", "TABLE", "FUNCTION", "."})


class SqlToken(NamedTuple):
    """One significant token; `word` is upper-case for words, text for punctuation, empty otherwise."""

    kind: str
    word: str
    start: int
    end: int
    depth: int


@dataclass(frozen=True, slots=True)
class InsertHead:
    """`INSERT … FORMAT f` or `INSERT … VALUES` without its data, which starts at byte `data_at` of the text."""

    sql: bytes
    format: str
    data_at: int


def tokens(sql: bytes) -> Iterator[SqlToken]:
    """Significant tokens in order, lazily; `depth` is the number of open brackets."""
    depth = at = unclosed = 0
    while at < len(sql) and (match := _TOKEN.match(sql, at)):
        kind, start, at = match.lastgroup or "other", at, match.end()
        if kind == "skip":
            continue
        if kind == "heredoc":
            closing = sql.find(match.group(), at) if unclosed < MAX_OPEN_HEREDOCS else -1
            unclosed += closing < 0
            kind, at = ("string", closing + len(match.group())) if closing >= 0 else ("other", at)
        if kind == "close":
            depth = max(0, depth - 1)
        word = "" if kind in ("string", "quoted") else sql[start:at].decode("ascii", "replace").upper()
        yield SqlToken(kind, word, start, at, depth)
        if kind == "open":
            depth += 1


def first_word(sql: bytes) -> str:
    """The first keyword in upper case, after opening brackets; empty if there is none."""
    for token in tokens(sql):
        if token.kind != "open":
            return token.word if token.kind == "word" else ""
    return ""


def insert_head(sql: bytes) -> InsertHead | None:
    """The head of an INSERT whose data follows; None when the statement has no data.

    `sql` must start with INSERT and contain the whole head; any bytes may follow.
    """
    before, selects = "", False
    stream = tokens(sql)
    for token in stream:
        if token.start > MAX_HEAD_BYTES:
            return None
        if token.kind == "word" and token.depth == 0 and before not in _NAME_FOLLOWS:
            if token.word in ("SELECT", "WITH"):
                selects = True
            elif token.word == "VALUES" and not selects:
                return InsertHead(sql[: token.start], "Values", token.end)
            elif token.word == "FORMAT" and (name := next(stream, None)) and name.kind == "word":
                return _head_before_format(sql, token, name)
        before = token.word
    return None


def _head_before_format(sql: bytes, keyword: SqlToken, name: SqlToken) -> InsertHead:
    """SETTINGS may be between the format and its data: they are moved to the head, where the engine reads them."""
    head, at = sql[: keyword.start], name.end
    if settings := _SETTINGS.match(sql, at):
        head, at = head + settings.group(1), settings.end()
    gap = _DATA_GAP.match(sql, at)
    return InsertHead(head.rstrip(), sql[name.start : name.end].decode(), gap.end() if gap else at)
