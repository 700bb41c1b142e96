"""Variables of the product say what they hold: a word that fits everything is no name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("schemas", "receiver", "workers", "console", "ops")
# Each of them stood for matches, rows, messages and answers alike, in hundreds of functions.
GENERIC = frozenset({"found", "one", "held", "told", "made"})


@pytest.mark.parametrize("package", PACKAGES)
def test_no_variable_has_a_name_that_fits_everything(package: str) -> None:
    """Who reads `found.pop()` has to look for what was looked for; `match`, `rows`, `reply` say it."""
    named = [
        f"{path}:{line} {name}"
        for path in sorted(found.relative_to(ROOT).as_posix() for found in (ROOT / package).rglob("*.py"))
        for line, name in generic_names(ast.parse((ROOT / path).read_text()))
    ]
    assert named == []


def test_the_search_sees_every_way_to_name_a_variable() -> None:
    tree = ast.parse(
        "found = 1\n"
        "for one in []: pass\n"
        "[held for held in []]\n"
        "def f(told, *, made): pass\n"
        "lambda found: 0\n"
        "with open('') as held: pass\n"
        "if told := f(): pass\n"
        "try: pass\nexcept ValueError as made: pass\n"
        "match f():\n  case [one, *found]: pass\n  case str() as held: pass\n"
    )
    assert [name for _, name in sorted(generic_names(tree))] == (
        ["found", "one", "held", "made", "told", "found", "held", "told", "made", "found", "one", "held"]
    )


def test_fields_and_functions_are_not_asked() -> None:
    """Their owner says whose they are: `entry.found`, `reader.one(…)`."""
    assert list(generic_names(ast.parse("class Entry:\n  found: int = 0\n  def one(self): return self.held\n"))) == []


def generic_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, name) of each variable, argument and loop variable with such a name."""
    fields = {id(name) for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for name in fields_of(node)}
    for node in ast.walk(tree):
        if id(node) in fields:
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name: str | None = node.id
        elif isinstance(node, ast.arg):
            name = node.arg
        elif isinstance(node, ast.MatchAs | ast.MatchStar | ast.ExceptHandler):
            name = node.name
        else:
            continue
        if name in GENERIC:
            yield node.lineno, str(name)


def fields_of(owner: ast.ClassDef) -> Iterator[ast.expr]:
    """The names that a class body binds itself."""
    for statement in owner.body:
        if isinstance(statement, ast.AnnAssign):
            yield statement.target
        elif isinstance(statement, ast.Assign):
            yield from statement.targets
