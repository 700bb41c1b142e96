"""Reading a statement just far enough to serve it: where insert data begins, which format is asked, what is refused.

Lexing only. What a statement means is the engine's to say. The rules are those of ClickHouse's SQL reference,
"Syntax" (comments, literals, identifiers), and of its "INSERT INTO" and "FORMAT" pages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from ops.clickhouse_http.errors import INTO_OUTFILE_NOT_ALLOWED, UNKNOWN_TYPE_OF_QUERY, refusal

_TOKEN: Final = re.compile(
    rb"""(?P<skip>[\s\x00]+|--[^\n]*|\#[ !][^\n]*|/\*.*?(?:\*/|\Z))
    |(?P<string>'(?:[^'\\]|\\.|'')*')
    |(?P<heredoc>\$\w*\$)
    |(?P<word>[A-Za-z_][A-Za-z0-9_$]*)
    |(?P<quoted>`(?:[^`\\]|\\.|``)*`|"(?:[^"\\]|\\.|"")*")
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


@dataclass(frozen=True, slots=True)
class InputCall:
    """The span of `input('structure')` in an insert's head, and its structure."""

    start: int
    end: int
    structure: str


def tokens(sql: bytes) -> Iterator[Token]:
    """Significant tokens in order, lazily; `depth` counts the brackets around a token."""
    depth = at = 0
    while at < len(sql) and (found := _TOKEN.match(sql, at)):
        kind, start, at = found.lastgroup or "other", at, found.end()
        if kind == "skip":
            continue
        if kind == "heredoc":
            closing = sql.find(found.group(), at)
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


def insert_from_file(head: bytes, path: str, input_format: str) -> bytes:
    """An insert's head with its data in a file of ours, named before the settings: there the grammar has its place."""
    at, before = len(head), ""
    for token in tokens(head):
        if token.kind == "word" and token.depth == 0 and token.word == "SETTINGS" and before not in _NAME_FOLLOWS:
            at = token.start
        before = token.word
    return b"%s FROM INFILE '%s' %s FORMAT %s" % (head[:at], path.encode(), head[at:], input_format.encode())


def input_call(head: bytes) -> InputCall | None:
    """Where an insert's head reads its own data through the table function input(), if it does."""
    found = list(tokens(head))
    for word, opening, literal, closing in zip(found, found[1:], found[2:], found[3:], strict=False):
        shape = (word.word, opening.word, literal.kind, closing.word)
        if shape == ("INPUT", "(", "string", ")"):
            return InputCall(word.start, closing.end, unquoted(head[literal.start : literal.end]))
    return None


def unquoted(literal: bytes) -> str:
    """The text of a quoted string literal."""
    inner = literal[1:-1].decode("utf-8", "replace").replace("''", "'")
    return re.sub(r"\\(.)", r"\1", inner)


def refuse_local_files(sql: bytes) -> None:
    """INTO OUTFILE and FROM INFILE name files of the client; over HTTP they would be the server's. Raises."""
    found = list(tokens(sql))
    for first, second, third in zip(found, found[1:], found[2:], strict=False):
        if third.kind == "string" and (first.word, second.word) == ("INTO", "OUTFILE"):
            raise refusal(INTO_OUTFILE_NOT_ALLOWED, "INTO_OUTFILE_NOT_ALLOWED", "INTO OUTFILE is not allowed")
        if third.kind == "string" and (first.word, second.word) == ("FROM", "INFILE"):
            text = "FROM INFILE names a file of the client: send its content as the request body"
            raise refusal(UNKNOWN_TYPE_OF_QUERY, "UNKNOWN_TYPE_OF_QUERY", text)


@dataclass(frozen=True, slots=True)
class OutputClause:
    """Where a statement that returns rows names its format (`format`, empty if it does not) and where it ends."""

    format: str
    at: int
    end: int

    def into(self, sql: bytes, path: str, default_format: str) -> bytes:
        """The same statement with its output led into `path`; a format is always named."""
        tail = sql[self.at : self.end] if self.format else b"FORMAT " + default_format.encode()
        return sql[: self.at] + b"\nINTO OUTFILE '" + path.encode() + b"' TRUNCATE\n" + tail


def output_clause(sql: bytes) -> OutputClause:
    """The trailing `FORMAT name [SETTINGS …]` of one statement; a final semicolon and comments are left out."""
    found = list(tokens(sql))
    while found and found[-1].word == ";":
        found.pop()
    end = found[-1].end if found else len(sql)
    for index in range(len(found) - 2, 0, -1):
        token, name = found[index], found[index + 1]
        follower = found[index + 2].word if index + 2 < len(found) else "SETTINGS"
        if token.word == "FORMAT" and token.depth == 0 and name.kind == "word" and follower == "SETTINGS":
            return OutputClause(sql[name.start : name.end].decode(), token.start, end)
    return OutputClause("", end, end)
