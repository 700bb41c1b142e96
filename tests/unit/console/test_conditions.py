"""Searches as SQL: our text, their values as parameters."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.api.errors import ApiError
from console.query.conditions import Conditions, Language, conditions
from console.query.fields import FIELDS, UNKNOWN_HERE
from tests.unit.console.fakes import NOW


def made(text: str) -> Conditions:
    return conditions(text, Language({"web": 1, "1": 1}.get, lambda: NOW))


@pytest.mark.parametrize(
    ("text", "sql", "values"),
    [
        ("is:unresolved", "(status = 'unresolved')", []),
        ("!is:resolved", "NOT (status = 'resolved')", []),
        ("timesSeen:>10", "(times > {q0:Int64})", [10]),
        ("firstRelease:1.0", "(first_release = {q0:String})", ["1.0"]),
        ("lastSeen:-24h", "(last_seen > toDateTime64({q0:String}, 9, 'UTC'))", ["2026-11-26 12:00:00.000000"]),
        ("age:+7d", "(first_seen < toDateTime64({q0:String}, 9, 'UTC'))", ["2026-11-20 12:00:00.000000"]),
    ],
)
def test_fields_of_issues(text: str, sql: str, values: list[object]) -> None:
    """They are of the whole issue."""
    found = made(text)
    assert (found.of_issue, list(found.parameters.values())) == (sql, values)
    assert found.of_event == ""
    assert not found.needs_events


@pytest.mark.parametrize(
    ("text", "sql", "values"),
    [
        ("release:web@1", "(release = {q0:String})", ["web@1"]),
        ("release:web@1.*", "(release ILIKE {q0:String})", ["web@1.%"]),
        ("release:10%_*", "(release ILIKE {q0:String})", ["10\\%\\_%"]),
        ("environment:[a, b]", "(environment = {q0:String} OR environment = {q1:String})", ["a", "b"]),
        ("project:web", "(channel_id = {q0:UInt64})", [1]),
        ('release:""', "(release = '')", []),
        ("has:release", "(toString(release) NOT IN ('', '0'))", []),
    ],
)
def test_fields_that_the_small_table_has(text: str, sql: str, values: list[object]) -> None:
    """So that the large one is not read."""
    found = made(text)
    assert (found.of_event, list(found.parameters.values())) == (sql, values)
    assert not found.needs_events


@pytest.mark.parametrize("text", ["till:seven", "user.email:ada@*", "out of memory", "has:till", "url:/a", "left:>2"])
def test_everything_else_is_asked_of_the_events(text: str) -> None:
    """Tags, attributes, texts."""
    found = made(text)
    assert found.needs_events
    assert found.of_event


def test_a_tag_may_be_of_any_type() -> None:
    """And its name is a value, not a column."""
    found = made('"a\'b":1')
    assert found.parameters == {"q0": "a'b", "q1": "1"}
    for kind in ("string", "int", "double", "bool"):
        assert f"attributes_{kind}[{{q0:String}}]" in found.of_event
    assert "a'b" not in found.of_event


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("is:foo", "is: with one of unresolved, resolved"),
        ("level:loud", "one of fatal, error, warning, info, debug"),
        ("timesSeen:many", "a number after timesSeen:"),
        ("lastSeen:yesterday", "a time like 2026-01-31"),
        ("lastSeen:0001-01-01", "a time from 1971 to 2199"),
        ("project:other", "the slug or number of a project"),
        ("release:>1", "without a comparison"),
        ("is:unresolved OR level:error", "either fields of issues, or fields of events"),
        ("has:is", "has: with a field of events"),
        *((f"{name}:x", "a field that this server has") for name in sorted(UNKNOWN_HERE)),
    ],
)
def test_a_value_that_is_none_is_refused(text: str, expected: str) -> None:
    """With what would be one."""
    with pytest.raises(ApiError) as raised:
        made(text)
    assert raised.value.status == 400
    assert expected in raised.value.detail
    assert re.search(r"at character \d+ expected", raised.value.detail)


_WORDS = st.sampled_from([*FIELDS, "has", "tag", "a'b", "x)}--", ""])
_VALUES = st.text(alphabet="a1'\"`;-*{}()\\%_:> \té", min_size=1, max_size=20)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(_WORDS, _VALUES), max_size=5))
def test_no_text_of_a_client_is_in_the_sql(words: list[tuple[str, str]]) -> None:
    """Whatever it is: the SQL is made of our words and of parameters that exist."""
    text = " ".join(f'{key}:"{value}"' if key else f'"{value}"' for key, value in words)
    try:
        found = made(text)
    except ApiError:
        return
    sql = found.of_issue + found.of_event
    assert set(re.findall(r"\{(\w+):", sql)) - {"organisation"} <= set(found.parameters)
    rest = re.sub(r"\{\w+:\w+\}", "", sql)
    for field in FIELDS.values():
        rest = rest.replace(field.column, "")
    assert re.fullmatch(r"[\w\s()=<>!.,'\[\]/*+\\-]*", rest)
    assert not re.search(r"--|;|`|\"", rest)


@pytest.mark.parametrize("text", ["firstSeen:-999999w", "lastSeen:+999999d", "age:>-99999w", "timestamp:<-999999h"])
def test_a_time_before_all_time_is_one_that_can_be_compared(text: str) -> None:
    """Not an error of a calendar."""
    assert set(made(text).parameters.values()) == {"1971-01-01 00:00:00.000000"}


@pytest.mark.parametrize(
    ("value", "times"),
    [
        ("1971-01-01T00:00:01", ["1971-01-01 00:00:01.000000", "1971-01-01 00:00:02.000000"]),
        ("2026-01-31", ["2026-01-31 00:00:00.000000", "2026-02-01 00:00:00.000000"]),
        ("2026-01-31T10:00:00", ["2026-01-31 10:00:00.000000", "2026-01-31 10:00:01.000000"]),
        ("2026-01-31T10:00:00+02:00", ["2026-01-31 08:00:00.000000", "2026-01-31 08:00:01.000000"]),
        ("2199-12-31", ["2199-12-31 00:00:00.000000", "2200-01-01 00:00:00.000000"]),
    ],
)
def test_a_time_lasts_a_day_or_a_second(value: str, times: list[str]) -> None:
    """By how it is written; the first and the last that a table can hold are allowed."""
    assert list(made(f'lastSeen:"{value}"').parameters.values()) == times


@pytest.mark.parametrize("value", ["1960-05-01", "1970-12-31", "1971-01-01", "2200-01-01", "2300-01-01"])
def test_a_time_that_no_table_can_hold_is_refused(value: str) -> None:
    """Before and after, and both bounds themselves."""
    for text in (f"lastSeen:{value}", f"firstSeen:>{value}", f"timestamp:<={value}"):
        with pytest.raises(ApiError) as raised:
            made(text)
        assert "with a time from 1971 to 2199" in raised.value.detail


@pytest.mark.parametrize("text", ["count():>5", "sleep(3):1", "!p95(a):<1"])
def test_functions_are_no_fields_of_issues(text: str) -> None:
    """A tag of that name would be a silent surprise."""
    with pytest.raises(ApiError):
        made(text)


@pytest.mark.parametrize(
    ("text", "sql"),
    [
        ("assigned:none", "NOT IN (SELECT channel_id, issue_id FROM issue_assignments"),
        ("is:assigned", "IN (SELECT channel_id, issue_id FROM issue_assignments"),
        ("assigned:ada", "AND assigned_to IN ({q0:String}, {q1:String})"),
    ],
)
def test_whose_an_issue_is(text: str, sql: str) -> None:
    """Of the organisation of the token."""
    found = made(text)
    assert sql in found.of_issue
    assert "WHERE organisation = {organisation:String}" in found.of_issue


def test_many_values_of_a_tag_are_one_condition() -> None:
    """The name of the tag is read once, so that a long list is not a long statement."""
    found = made(f"till:[{','.join(f'v{number}' for number in range(99))}, a*]")
    assert found.of_event.count("mapContains(attributes_string") == 2
    assert len(found.of_event) < 5_000
    assert list(found.parameters.values())[-1] == "a%"


def test_issues_are_found_by_their_number() -> None:
    """It has 19 digits."""
    found = made("issue.id:[1, 9223372036854775807]")
    assert found.of_issue == "(issue_id = {q0:UInt64} OR issue_id = {q1:UInt64})"
    assert list(found.parameters.values()) == [1, 2**63 - 1]


@pytest.mark.parametrize("text", ["issue.id:9223372036854775808", "issue.id:>5", "issue.id:x", "issue.id:-1"])
def test_what_is_no_number_of_an_issue_is_refused(text: str) -> None:
    """With what would be one."""
    with pytest.raises(ApiError, match="issue"):
        made(text)


def test_frames_are_searched_one_by_one() -> None:
    """`stack.filename` is that of any frame."""
    found = made("stack.filename:*/pay.py !stack.function:main has:stack.function")
    assert found.needs_events
    assert re.findall(r"arrayExists\(frame -> frame (\S+) \{", found.of_event) == ["ILIKE", "="]
    assert "(notEmpty(extractAll(" in found.of_event


def test_unhandled_errors_are_found() -> None:
    """What the SDK says of the exception's mechanism."""
    assert "mapContains(attributes_bool, 'exception.mechanism.handled')" in made("error.unhandled:true").of_event
    assert made("error.handled:0").of_event.endswith("= false)")
