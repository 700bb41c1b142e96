"""Names that processes share stand in schemas/ and nowhere else: headers, columns, identities, patterns, minutes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from schemas import headers
from schemas.outcomes import LEDGER_COLUMNS, OUTCOME_COLUMNS

ROOT = Path(__file__).parents[3]
ROOMS = ("schemas", "receiver", "workers", "console", "ops")
# Of HTTP too: requests and answers name them as HTTP does.
OF_HTTP = frozenset({"Content-Type", "Content-Encoding", "User-Agent"})
HEADER_NAMES = frozenset(
    value for name, value in vars(headers).items() if name.isupper() and isinstance(value, str) and len(value) > 1
)
SLUG = "a-z0-9._-"
NANOS_OF_MINUTE = 60 * 10**9


@cache
def trees() -> list[tuple[str, ast.Module]]:
    return [
        (path.relative_to(ROOT).as_posix(), ast.parse(path.read_text()))
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
    ]


@cache
def files_with() -> dict[str, set[str]]:
    """Every string of the tree, and the files that it stands in."""
    found: dict[str, set[str]] = {}
    for path, tree in trees():
        for text in texts(tree):
            found.setdefault(text, set()).add(path)
    return found


def texts(tree: ast.Module) -> Iterator[str]:
    """Every string that is not a docstring."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def lists_of_words(tree: ast.Module) -> Iterator[tuple[str, ...]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Tuple | ast.List):
            words = [item.value for item in node.elts if isinstance(item, ast.Constant) and isinstance(item.value, str)]
            if len(words) == len(node.elts) > 1:
                yield tuple(words)


@pytest.mark.parametrize("name", sorted(HEADER_NAMES - OF_HTTP))
def test_a_header_is_named_in_schemas_headers_alone(name: str) -> None:
    """A receiver and a worker that spell a header differently lose what it says, silently."""
    assert files_with()[name] == {"schemas/headers.py"}


def test_nothing_else_begins_like_a_header_of_the_broker() -> None:
    """Also not a header that schemas.headers does not know."""
    found = {text: paths for text, paths in files_with().items() if text.startswith(headers.BROKER_PREFIX)}
    assert set().union(*found.values()) == {"schemas/headers.py"}


@pytest.mark.parametrize("columns", [OUTCOME_COLUMNS, LEDGER_COLUMNS], ids=["outcomes", "ledger"])
def test_columns_are_the_fields_of_their_row(columns: tuple[str, ...]) -> None:
    """A second list would have to be kept in the same order by hand."""
    most = set(columns[: len(columns) // 2 + 1])
    assert [(path, words) for path, tree in trees() for words in lists_of_words(tree) if most <= set(words)] == []


def test_a_slug_is_described_once() -> None:
    """What may name an organisation or environment: see schemas.identifiers."""
    found = {text: paths for text, paths in files_with().items() if SLUG in text}
    assert set().union(*found.values()) == {"schemas/identifiers.py"}


def test_the_identity_of_an_item_is_made_in_one_place() -> None:
    """Two rules would make two rows of one item."""
    assert files_with()["sentry.item"] == {"schemas/rows.py"}


def test_minutes_are_rounded_in_one_place() -> None:
    """Outcomes of receivers and workers stand under the same minutes."""
    found = [
        path
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value == NANOS_OF_MINUTE
    ]
    assert found == []


def test_the_search_finds_what_it_looks_for() -> None:
    """Or nothing above would promise anything."""
    tree = ast.parse('"""Nats-Doc"""\nx = {"Dead-Reason": 1}\ny = ("minute", "organisation")\n')
    assert set(texts(tree)) >= {"Dead-Reason", "minute"}
    assert "Nats-Doc" not in set(texts(tree))
    assert list(lists_of_words(tree)) == [("minute", "organisation")]


def test_a_class_name_means_one_thing() -> None:
    places: dict[str, list[str]] = {}
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(path)
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}
