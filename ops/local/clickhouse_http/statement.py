"""Finding where the data of an INSERT begins, in a text that goes on with any bytes. Nothing is decided by it.

What a statement may do is read from the engine's own parse of it (parse.py, rights.py). When this file is misled by an
odd text, the engine is asked about another beginning of it than was meant; the data stay bytes of a checked format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

# ClickHouse's default max_query_size: a head that is longer is not looked for further.
MAX_HEAD_BYTES: Final = 256 << 10
# Each heredoc ($name$) without its end costs a search through the rest of the text.
MAX_OPEN_HEREDOCS: Final = 16
# What is never closed goes to the end: else the rest would be read again from each of its quotes.
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
# ClickHouse skips blanks after the format's name, then one line break; the data begins there.
_DATA_GAP: Final = re.compile(rb"[ \t\f]*(?:\r?\n)?")
_NAME_FOLLOWS: Final = frozenset({"INTO", "TABLE", "FUNCTION", "."})


class Token(NamedTuple):
    """One significant token; `word` is upper-case for words, the bytes as text for punctuation, empty for the rest."""

    kind: str
    word: str
    start: int
    end: int
    depth: int


@dataclass(frozen=True, slots=True)
class InsertHead:
    """`INSERT … FORMAT f` or `INSERT … VALUES` cut off from its data, which begins at byte `data_at` of the text."""

    sql: bytes
    format: str
    data_at: int


def tokens(sql: bytes) -> Iterator[Token]:
    """Significant tokens in order, lazily; `depth` counts the brackets around a token."""
    depth = at = unclosed = 0
    while at < len(sql) and (found := _TOKEN.match(sql, at)):
        kind, start, at = found.lastgroup or "other", at, found.end()
        if kind == "skip":
            continue
        if kind == "heredoc":
            closing = sql.find(found.group(), at) if unclosed < MAX_OPEN_HEREDOCS else -1
            unclosed += closing < 0
            kind, at = ("string", closing + len(found.group())) if closing >= 0 else ("other", at)
        if kind == "close":
            depth = max(0, depth - 1)
        word = "" if kind in ("string", "quoted") else sql[start:at].decode("ascii", "replace").upper()
        yield Token(kind, word, start, at, depth)
        if kind == "open":
            depth += 1


def first_word(sql: bytes) -> str:
    """The first keyword, upper-case; opening brackets before it are skipped; empty when there is none."""
    for token in tokens(sql):
        if token.kind != "open":
            return token.word if token.kind == "word" else ""
    return ""


def insert_head(sql: bytes) -> InsertHead | None:
    """The head of an INSERT whose data follows the statement; None when the statement carries no data.

    `sql` must begin with INSERT and hold the whole head; it may go on with any bytes.
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


def _head_before_format(sql: bytes, keyword: Token, name: Token) -> InsertHead:
    """Settings may stand between the format and its data: they move to the head, where the engine reads them."""
    head, at = sql[: keyword.start], name.end
    if settings := _SETTINGS.match(sql, at):
        head, at = head + settings.group(1), settings.end()
    gap = _DATA_GAP.match(sql, at)
    return InsertHead(head.rstrip(), sql[name.start : name.end].decode(), gap.end() if gap else at)
