"""docs/cookbook.md as questions and their queries, and what a query has to be so that anybody may run it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cookbook.md"
READABLE = frozenset({"events", "outcomes", "dead_letters", "trace_bounds"})

_QUESTION = re.compile(r"^### (?P<title>.+?)\n(?P<text>.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^```sql\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SOURCE = re.compile(r"(?<!ARRAY )\b(?:FROM|JOIN)\s+([A-Za-z_][\w.]*)", re.IGNORECASE)
_NAMED_QUERY = re.compile(r"\b(\w+)\s+AS\s*\(\s*SELECT\b", re.IGNORECASE)
_PARAMETER = re.compile(r"\{(\w+):\w+\}")


@dataclass(frozen=True, slots=True)
class Question:
    """One heading, the sentences below it, and its query."""

    title: str
    words: str
    sql: str

    @property
    def parameters(self) -> set[str]:
        """The names a reader has to fill in."""
        return set(_PARAMETER.findall(self.sql))

    @property
    def sources(self) -> set[str]:
        """The tables and views it reads; table functions and its own WITH queries are none."""
        found = {match[1] for match in _SOURCE.finditer(self.sql) if self.sql[match.end() : match.end() + 1] != "("}
        return found - set(_NAMED_QUERY.findall(self.sql))


def read() -> dict[str, Question]:
    """Every question of the page by its heading. Fails when a heading comes twice or has not exactly one block."""
    found: dict[str, Question] = {}
    for match in _QUESTION.finditer(PAGE.read_text()):
        blocks = _BLOCK.findall(match["text"])
        assert len(blocks) == 1, f"expected one sql block below {match['title']!r}, found {len(blocks)}"
        assert match["title"] not in found, f"expected one heading {match['title']!r}, found two"
        words = match["text"].split("```")[0].strip()
        found[match["title"]] = Question(match["title"], words, blocks[0].strip())
    return found


def count_of_blocks() -> int:
    """How many sql blocks the page has, wherever they stand."""
    return len(_BLOCK.findall(PAGE.read_text()))
