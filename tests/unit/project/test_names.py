"""Variables of the product say what they hold: words that fit everything are no names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
PACKAGES = ("schemas", "receiver", "workers", "console", "ops")
# Each of them once stood for matches, rows, messages and answers alike, in hundreds of places.
GENERIC = frozenset({"found", "one", "held", "told", "made"})


def generic_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, name) of each variable, argument and loop variable with such a name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            continue
        for name in bound_names(node):
            if name in GENERIC:
                yield node.lineno, name  # type: ignore[attr-defined]


def bound_names(node: ast.AST) -> Iterator[str]:
    """What this node binds. Fields of classes and functions are told by their owner, so they are not asked."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.MatchAs | ast.MatchStar | ast.ExceptHandler) and node.name:
        yield node.name
