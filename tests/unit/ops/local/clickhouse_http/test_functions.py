"""Functions by name: in a call, and as a value that another function calls."""

from __future__ import annotations

from typing import Any

import pytest

from ops.local.clickhouse_http.access.functions import Functions
from ops.local.clickhouse_http.errors import ServerError

ROWS: list[tuple[str, str, str, int, int | None]] = [
    ("upper", "String", "", 0, 0),
    ("ucase", "", "upper", 0, 0),
    ("file", "Other", "", 0, 0),
    ("arrayMap", "Arrays", "", 0, 1),
    ("mapEach", "", "arrayMap", 0, 1),
    ("newest", "Arrays", "", 0, None),
    ("sum", "Aggregate Functions", "", 1, None),
]
FUNCTIONS = Functions.of(ROWS)


def call(*arguments: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Function", "arguments": {"type": "ExpressionList", "children": [*arguments]}}


def name(text: str) -> dict[str, Any]:
    return {"type": "Identifier", "name": text}


@pytest.mark.parametrize("caller", ["arrayMap", "ARRAYMAP", "mapEach", "newest"])
@pytest.mark.parametrize("called", ["file", "File"])
def test_a_refused_function_is_no_value(caller: str, called: str) -> None:
    """Also where the engine does not say whether the caller takes functions."""
    with pytest.raises(ServerError, match="not allowed"):
        FUNCTIONS.check_arguments(caller, call(name("x"), name(called)))


@pytest.mark.parametrize(
    ("caller", "value"), [("arrayMap", "upper"), ("arrayMap", "durations"), ("upper", "file"), ("sum", "file")]
)
def test_columns_and_allowed_functions_are_values(caller: str, value: str) -> None:
    FUNCTIONS.check_arguments(caller, call(name(value)))


def test_a_name_with_its_table_is_a_column() -> None:
    FUNCTIONS.check_arguments("arrayMap", call({**name("t.file"), "name_parts": ["t", "file"]}))


def test_functions_without_some_are_refused_as_values_too() -> None:
    narrower = FUNCTIONS.without(frozenset({"upper"}))
    assert (FUNCTIONS.allow("upper"), narrower.allow("upper"), narrower.allow("sumIf")) == (True, False, True)
    with pytest.raises(ServerError):
        narrower.check_arguments("arrayMap", call(name("upper")))
