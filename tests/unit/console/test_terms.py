"""The search language: what a query says, and where it is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.api.errors import ApiError
from console.query.terms import (
    HAS,
    MAX_CHARACTERS,
    MAX_DEPTH,
    MAX_TERMS,
    TEXT,
    Group,
    Term,
    parse_query,
    query_error,
    terms_of,
)


def only(text: str) -> Term:
    (part,) = parse_query(text).parts
    assert isinstance(part, Term)
    return part


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("level:error", Term("level", ("error",), 1)),
        ("!url:*health*", Term("url", ("*health*",), 1, negated=True)),
        ("timesSeen:>=10", Term("timesSeen", ("10",), 1, ">=")),
        ('title:"out of \\"memory\\""', Term("title", ('out of "memory"',), 1)),
        ("tags[till]:seven", Term("till", ("seven",), 1)),
        ("tags[left,number]:>2", Term("left", ("2",), 1, ">")),
        ("level:[error, fatal]", Term("level", ("error", "fatal"), 1)),
        ("has:user", Term(HAS, ("user",), 1)),
        ("user:id:7", Term("user", ("id:7",), 1)),
        ('"a key":b', Term("a key", ("b",), 1)),
        ("out of memory", Term(TEXT, ("out of memory",), 1)),
        ('"out of"', Term(TEXT, ("out of",), 1)),
        ("https://example.com/a", Term(TEXT, ("https://example.com/a",), 1)),
        ('environment:""', Term("environment", ("",), 1)),
    ],
)
def test_one_term(text: str, expected: Term) -> None:
    """Keys, operators, lists, quotes, negation, words."""
    assert only(text) == expected


def test_terms_beside_each_other_must_all_hold() -> None:
    """And words are joined only where nothing stands between them."""
    found = parse_query("is:unresolved out of level:error memory")
    assert found.kind == "AND"
    assert [(term.key, term.values) for term in terms_of(found)] == [
        ("is", ("unresolved",)),
        (TEXT, ("out of",)),
        ("level", ("error",)),
        (TEXT, ("memory",)),
    ]


def test_or_binds_less_than_terms_beside_each_other() -> None:
    """And brackets bind most."""
    (choice,) = parse_query("a:1 b:2 OR c:3").parts
    assert isinstance(choice, Group)
    assert choice.kind == "OR"
    assert [len(list(terms_of(part))) for part in choice.parts if isinstance(part, Group)] == [2, 1]
    first, bracket = parse_query("a:1 (b:2 OR c:3)").parts
    assert isinstance(first, Term)
    assert isinstance(bracket, Group)


def test_an_empty_query_has_no_terms() -> None:
    """Blanks too."""
    assert parse_query("").parts == parse_query("  \n").parts == ()


@pytest.mark.parametrize(
    ("text", "position", "expected"),
    [
        ("a:1 level:", 11, "a value after the colon"),
        ('a:"x', 3, "a closing quote"),
        ("a:[1, 2", 3, "a closing ]"),
        ("a:[]", 3, "values in a list"),
        ("(a:1", 1, "a closing bracket"),
        ("a:1)", 4, "a term"),
        ("()", 1, "a term inside brackets"),
        ("OR a:1", 7, "a term before and after OR"),
        ("a:1 OR", 7, "a term before and after OR"),
        ("a:1 OR )", 8, "a term before and after OR"),
        ("(" * (MAX_DEPTH + 1), MAX_DEPTH + 2, "brackets inside each other"),
        ("a:1 " * (MAX_TERMS + 1), 4 * MAX_TERMS + 1, "at most 50 terms"),
        ("a:\0", 3, "text"),
    ],
)
def test_a_wrong_query_says_where_and_what(text: str, position: int, expected: str) -> None:
    """400, with the place and what would be right."""
    with pytest.raises(ApiError, match=f"at character {position} expected") as raised:
        parse_query(text)
    assert raised.value.status == 400
    assert expected in raised.value.detail
    assert "found" in raised.value.detail


@pytest.mark.parametrize(("value", "shown"), [("x" * 40, "x" * 40), ("x" * 41, "x" * 40 + "…")])
def test_an_error_shows_the_beginning_of_a_long_value(value: str, shown: str) -> None:
    """A page of text is not repeated."""
    assert query_error(7, "a number", value).detail == f"query: at character 7 expected a number, found '{shown}'"


def test_a_long_query_is_refused_unread() -> None:
    """A filter over a whole table is no place for megabytes."""
    with pytest.raises(ApiError, match=f"at most {MAX_CHARACTERS} characters"):
        parse_query("a" * (MAX_CHARACTERS + 1))


@settings(max_examples=400, deadline=None)
@given(st.text(alphabet='ab:!"()[]<>=*,\\ \n\0ORANDhas.é', max_size=60))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    """Never another error; and every term has a place inside the text."""
    try:
        found = parse_query(text)
    except ApiError:  # any other error fails
        return
    assert all(1 <= term.position <= len(text) for term in terms_of(found))


@pytest.mark.parametrize("text", ["a:1 OR b:2", "(a:1 OR b:2)", "a:1 OR b:2 OR c:3"])
def test_a_choice_alone_is_one_condition_that_must_hold(text: str) -> None:
    """What is added to it later, such as a project, holds beside it and is no other choice."""
    whole = parse_query(text)
    assert whole.kind == "AND"
    (choice,) = whole.parts
    assert isinstance(choice, Group)
