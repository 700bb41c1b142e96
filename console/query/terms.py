"""Parses the search language of Sentry's lists into terms: `is:unresolved level:error !url:*health* (a:1 OR b:2) text`.

No SQL and no fields: those are in fields.py and conditions.py. Every error says where it is and what was expected.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

from console.api.errors import ApiError

MAX_CHARACTERS: Final = 4_096
MAX_TERMS: Final = 50
MAX_DEPTH: Final = 8
MAX_LIST: Final = 100
# The key of a term without one: words that are looked for in title and message.
TEXT: Final = ""
HAS: Final = "has"

Operator = Literal["=", ">", "<", ">=", "<="]
_OPERATORS: Final[tuple[Operator, ...]] = (">=", "<=", ">", "<", "=")
# A condition on a group of events: `count():>5`, `p95(span.duration):>300`.
_FUNCTION: Final = re.compile(r"(?P<call>[a-z][a-z0-9_]{0,40}\([^()\s\"`]{0,200}\)):")
_ENDS: Final = frozenset(' \t\n\r()"')


@dataclass(frozen=True, slots=True)
class Term:
    """One condition. Several `values` mean any of them. `position` counts characters from 1."""

    key: str
    values: tuple[str, ...]
    position: int
    operator: Operator = "="
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Several conditions of which all (`AND`) or one (`OR`) must hold."""

    kind: Literal["AND", "OR"]
    parts: tuple[Term | Group, ...]


def query_error(position: int, expected: str, actual: str) -> ApiError:
    """A 400 for a query, with the place."""
    return ApiError(400, f"query: at character {position} expected {expected}, found {_value_text(actual)}")


def parse_query(text: str) -> Group:
    """All terms of a query; an empty query has none. Raises ApiError 400."""
    if len(text) > MAX_CHARACTERS:
        raise ApiError(400, f"query: expected at most {MAX_CHARACTERS} characters, found {len(text)}")
    if "\0" in text:
        raise query_error(text.index("\0") + 1, "text", "a NUL character")
    parser = _Parser(text)
    group = parser.any_of(0)
    if parser.at < len(text):
        raise query_error(parser.at + 1, "a term", text[parser.at :])
    return group if group.kind == "AND" else Group("AND", (group,))


def terms_of(group: Group) -> Iterator[Term]:
    """Every term, wherever it is."""
    for part in group.parts:
        if isinstance(part, Group):
            yield from terms_of(part)
        else:
            yield part


class _Parser:
    """Reads one query from left to right; `at` is the next character."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self._terms = 0

    def any_of(self, depth: int) -> Group:
        """Terms up to a closing bracket or the end; `OR` binds less than terms that stand beside each other."""
        if depth > MAX_DEPTH:
            raise query_error(self.at + 1, f"at most {MAX_DEPTH} brackets inside each other", self.text[self.at :])
        choices = [self._all_of(depth)]
        while self._word("OR"):
            choices.append(self._all_of(depth))
        if len(choices) == 1:
            return choices[0]
        for choice in choices:
            if not choice.parts:
                raise query_error(self.at + 1, "a term before and after OR", self.text[self.at :])
        return Group("OR", tuple(choices))

    def _all_of(self, depth: int) -> Group:
        parts: list[Term | Group] = []
        while True:
            self._skip_blanks()
            if self.at >= len(self.text) or self.text[self.at] == ")" or self._sees("OR"):
                return Group("AND", tuple(_with_joined_words(parts)))
            if self._word("AND"):
                continue
            parts.append(self._bracket(depth) if self.text[self.at] == "(" else self._term())

    def _bracket(self, depth: int) -> Group:
        opened = self.at + 1
        self.at += 1
        group = self.any_of(depth + 1)
        if not self.text.startswith(")", self.at):
            raise query_error(opened, "a closing bracket for this one", "the end of the query")
        self.at += 1
        if not group.parts:
            raise query_error(opened, "a term inside brackets", "()")
        return group

    def _term(self) -> Term:
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise query_error(self.at + 1, f"at most {MAX_TERMS} terms", self.text[self.at :])
        position = self.at + 1
        negated = self.text.startswith("!", self.at) and len(self.text) > self.at + 1
        self.at += negated
        key = self._key()
        if key is None:
            word = self._quoted_text() if self.text.startswith('"', self.at) else self._bare("")
            return Term(TEXT, (word,), position, negated=negated)
        return self._valued(key, position, negated)

    def _key(self) -> str | None:
        """The key before a colon, which is then read; None if this is a word."""
        begin = self.at
        if self.text.startswith('"', self.at):
            key = self._quoted_text()
        elif function := _FUNCTION.match(self.text, self.at):
            self.at = function.end()
            return function["call"]
        else:
            end = self.at
            while end < len(self.text) and self.text[end] not in _ENDS and self.text[end] != ":":
                end += 1
            key, self.at = self.text[begin:end], end
        if key and self.text.startswith(":", self.at) and not self.text.startswith("://", self.at):
            self.at += 1
            return plain_key(key)
        self.at = begin
        return None

    def _valued(self, key: str, position: int, negated: bool) -> Term:
        operator: Operator = "="
        for sign in _OPERATORS:
            if self.text.startswith(sign, self.at):
                operator = sign
                self.at += len(sign)
                break
        if self.text.startswith("[", self.at) and operator == "=":
            return Term(key, self._list(), position, negated=negated)
        value = self._quoted_text() if self.text.startswith('"', self.at) else self._bare(" after the colon")
        return Term(key, (value,), position, operator, negated)

    def _list(self) -> tuple[str, ...]:
        opened = self.at + 1
        end = self.text.find("]", self.at)
        if end < 0:
            raise query_error(opened, "a closing ] for this list", "the end of the query")
        values = tuple(value.strip().strip('"') for value in self.text[self.at + 1 : end].split(","))
        if not all(values) or len(values) > MAX_LIST:
            expected = f"1 to {MAX_LIST} values in a list, with commas between them"
            raise query_error(opened, expected, self.text[self.at :])
        self.at = end + 1
        return values

    def _bare(self, where: str) -> str:
        begin = self.at
        while self.at < len(self.text) and self.text[self.at] not in _ENDS:
            self.at += 1
        if self.at == begin:
            raise query_error(begin + 1, f"a value{where}", self.text[begin:] or "the end of the query")
        return self.text[begin : self.at]

    def _quoted_text(self) -> str:
        opened = self.at + 1
        self.at += 1
        letters: list[str] = []
        while self.at < len(self.text):
            letter = self.text[self.at]
            self.at += 1
            if letter == '"':
                return "".join(letters)
            if letter == "\\" and self.text[self.at : self.at + 1] in ('"', "\\"):
                letter = self.text[self.at]
                self.at += 1
            letters.append(letter)
        raise query_error(opened, "a closing quote for this one", "the end of the query")

    def _skip_blanks(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in " \t\r\n":
            self.at += 1

    def _sees(self, word: str) -> bool:
        end = self.at + len(word)
        return self.text.startswith(word, self.at) and (end == len(self.text) or self.text[end] in _ENDS)

    def _word(self, word: str) -> bool:
        self._skip_blanks()
        if not self._sees(word):
            return False
        self.at += len(word)
        return True


def plain_key(key: str) -> str:
    """The name alone: `tags[name]` and `tags[name,string]` are other forms of `name`."""
    if key.startswith("tags[") and key.endswith("]"):
        return key[5:-1].partition(",")[0].strip()
    return key


def _with_joined_words(parts: list[Term | Group]) -> Iterator[Term | Group]:
    """Words that stand beside each other are one text, as at Sentry: `out of memory`."""
    waiting: Term | None = None
    for part in parts:
        is_word = isinstance(part, Term) and part.key == TEXT and not part.negated
        if is_word and waiting is not None and isinstance(part, Term):
            waiting = replace(waiting, values=(f"{waiting.values[0]} {part.values[0]}",))
        elif is_word and isinstance(part, Term):
            waiting = part
        else:
            if waiting is not None:
                yield waiting
                waiting = None
            yield part
    if waiting is not None:
        yield waiting


def _value_text(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
