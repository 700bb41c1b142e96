"""Columns of an answer: fields, tags and functions as SQL with parameters."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.api.errors import ApiError
from console.query.conditions import Language
from console.query.datasets import DATASETS, ERRORS, LOGS, SPANS, Dataset
from console.query.fields import ISSUE_ID_OF, Kind
from console.query.functions import AnswerColumn, Columns
from tests.unit.console.fakes import NOW


def columns(dataset: Dataset = SPANS) -> Columns:
    return Columns(dataset, Language({"web": 1}.get, lambda: NOW, dataset.fields, dataset.refused), 3_600)


def read(name: str, dataset: Dataset = SPANS) -> tuple[AnswerColumn, list[object]]:
    made = columns(dataset)
    return made.read(name), list(made.parameters.values.values())


@pytest.mark.parametrize(
    ("name", "sql", "values"),
    [
        ("count()", "count()", []),
        ("count_unique(user.id)", "uniqExactIf(user_id, toString(user_id) != '')", []),
        ("p95(span.duration)", "quantileIfOrNull(0.950000)((duration_ns / 1000000), true)", []),
        ("p95()", "quantileIfOrNull(0.950000)((duration_ns / 1000000), true)", []),
        ("p100()", "maxIfOrNull((duration_ns / 1000000), true)", []),
        ("percentile(span.duration, 0.5)", "quantileIfOrNull(0.500000)((duration_ns / 1000000), true)", []),
        ("sum(gen_ai.usage.input_tokens)", "sumIfOrNull(gen_ai_input_tokens, true)", []),
        ("last_seen()", "max(timestamp)", []),
        ("min(timestamp)", "min(timestamp)", []),
        ("epm()", "(count() / {q0:Float64})", [60.0]),
        ("count_if(span.op,equals,db)", "countIf(toString(span_op) = {q0:String})", ["db"]),
        ("count_if(span.duration,greater,300)", "countIf((duration_ns / 1000000) > {q0:Float64})", [300.0]),
        ("count_if(`span.op:db`)", "countIf((span_op = {q0:String}))", ["db"]),
        ("count_if(`span.op:db`,span.duration)", "countIf((span_op = {q0:String}))", ["db"]),
        ("avg_if(`span.op:db`,span.duration)", "avgIfOrNull((duration_ns / 1000000), (span_op = {q0:String}))", ["db"]),
        ("any(transaction)", f"any({SPANS.fields['transaction'].column})", []),
    ],
)
def test_functions(name: str, sql: str, values: list[object]) -> None:
    """Each as ClickHouse has it; of a span's duration where no field is named."""
    column, found = read(name)
    assert (column.sql, column.is_aggregate, found) == (sql, True, values)
    assert column.name == name


def test_failures_are_what_is_not_ok() -> None:
    """A request that its client gave up is none."""
    column, _ = read("failure_rate()")
    ok = "status IN ('', 'unset', 'ok', 'cancelled', 'unknown')"
    assert (column.sql, column.type) == (f"(countIf(NOT ({ok})) / nullIf(count(), 0))", "percentage")


@pytest.mark.parametrize(
    ("name", "dataset", "type_"),
    [
        ("title", ERRORS, "string"),
        ("timestamp", ERRORS, "date"),
        ("project.id", LOGS, "integer"),
        ("span.duration", SPANS, "duration"),
        ("is_transaction", SPANS, "boolean"),
        ("count()", LOGS, "integer"),
        ("avg(span.duration)", SPANS, "duration"),
        ("max(timestamp)", LOGS, "date"),
        ("tags[left,number]", LOGS, "number"),
        ("till", LOGS, "string"),
    ],
)
def test_the_type_of_a_column_is_told(name: str, dataset: Dataset, type_: str) -> None:
    """In meta.fields of an answer."""
    assert read(name, dataset)[0].type == type_


def test_a_tag_is_a_parameter() -> None:
    """Also as the argument of a function; a text that is no number counts as none."""
    column, values = read("avg(it's)")
    assert values == ["it's"]
    assert column.sql.startswith("avgIfOrNull(toFloat64OrNull(toString(multiIf(mapContains(attributes_string, {q0:")


def test_a_column_can_be_named_in_sort_as_older_tools_write_it() -> None:
    """`-count_unique_user_id`."""
    assert read("count_unique(user.id)")[0].sort_name == "count_unique_user_id"


@pytest.mark.parametrize(
    "name",
    [
        *("", "x" * 300, "sleep(3)", "count(", "count()x", "p999(span.duration)", "avg(a,b)", "avg(avg(x))"),
        *("percentile(span.duration,2)", "percentile(span.duration,x)", "count_if(a,like,b)", "count_if(a)"),
        *("count_if(`is:unresolved`)", "count_if(`count():>1`)", "count_if(`a:1)", "count_if(a,greater,b)", "a\0b"),
        *("count_if(``)", "avg_if(`a:1`,b`)", "failure_rate(x,y)", "count_if(`a:[`)"),
    ],
)
def test_what_is_no_column_is_refused(name: str) -> None:
    """With what would be one."""
    with pytest.raises(ApiError) as raised:
        read(name)
    assert raised.value.status == 400
    assert "expected" in raised.value.detail


_NAMES = st.one_of(
    st.text(alphabet="acount_p95if(),`.:[]'\"\\;-* \té{}", max_size=40),
    st.builds(
        "{}({})".format,
        st.sampled_from(["count", "count_if", "avg", "p95", "any", "max", "count_unique", "avg_if", "percentile"]),
        st.text(alphabet="ab.,`:'\"\\;-*[] (){}", max_size=30),
    ),
)


@settings(max_examples=500, deadline=None)
@given(_NAMES, st.sampled_from(sorted(DATASETS)))
def test_no_text_of_a_client_is_in_the_sql(name: str, dataset: str) -> None:
    """Whatever it is: a 400, or SQL of our words and of parameters that exist."""
    made = columns(DATASETS[dataset])
    try:
        sql = made.read(name).sql
    except ApiError:
        return
    assert set(re.findall(r"\{(\w+):", sql)) - {"organisation"} <= set(made.parameters.values)
    rest = re.sub(r"\{\w+:\w+\}", "", sql)
    for field in made.dataset.fields.values():
        rest = rest.replace(field.answered or field.column, "").replace(field.column, "")
    assert re.fullmatch(r"[\w\s()=<>!.,'\[\]/*+\\-]*", rest)
    assert not re.search(r"--|;|`|\"", rest)


@pytest.mark.parametrize("name", ["timesSeen", "firstSeen", "lastSeen", "age", "userCount", "firstRelease", "is"])
def test_a_field_of_whole_issues_is_no_column(name: str) -> None:
    """`events` has no such column: a 400 that says so, not an error of ClickHouse. In any place of a name."""
    for asked in (name, f"any({name})", f"count_unique({name})", f"max({name})", f"count_if({name},equals,1)"):
        with pytest.raises(ApiError, match="of whole issues"):
            read(asked, ERRORS)


def test_the_number_of_an_issue_is_a_text() -> None:
    """JavaScript rounds numbers above 2^53."""
    column, _ = read("issue.id", ERRORS)
    assert (column.sql, column.type) == (f"toString({ISSUE_ID_OF})", "string")


@pytest.mark.parametrize("name", ["max(issue)", "avg(project)", "p95(issue)", "sum(is_transaction)", "min(issue.id)"])
def test_a_number_of_a_field_that_is_none_is_a_number(name: str) -> None:
    """Not shown as a short id or slug, which it is not."""
    column, _ = read(name, SPANS if "is_transaction" in name else ERRORS)
    assert (column.kind, column.type) == (Kind.NUMBER, "number")


@pytest.mark.parametrize("name", ["failure_rate()", "failure_count()", "p95()", "avg()", "max()"])
def test_functions_of_spans_say_which_dataset_has_them(name: str) -> None:
    """The default dataset is errors."""
    with pytest.raises(ApiError, match="dataset=spans"):
        read(name, ERRORS)


@pytest.mark.parametrize("name", ["transaction.duration", "p95(transaction.duration)", "avg(span.duration)"])
def test_errors_have_no_duration(name: str) -> None:
    """It would be a tag that no error has, and the answer an empty one."""
    with pytest.raises(ApiError, match="dataset=spans"):
        read(name, ERRORS)


def test_count_if_takes_the_words_of_a_search() -> None:
    """A slug for a project, a short id for an issue."""
    assert read("count_if(project,equals,web)", ERRORS)[0].sql == "countIf((channel_id = {q0:UInt64}))"
    assert read("count_if(project,notEquals,web)", ERRORS)[0].sql == "countIf(NOT (channel_id = {q0:UInt64}))"
    for refused in ("count_if(project,equals,nope)", 'count_if(project,equals,a" b)', "count_if(project,less,web)"):
        with pytest.raises(ApiError):
            read(refused, ERRORS)


def test_any_value_of_an_issue_is_no_nullable_tuple() -> None:
    """ClickHouse refuses those."""
    assert "anyIf((channel_id, " in read("any_if(`level:error`,issue)", ERRORS)[0].sql
    assert "anyIfOrNull(channel_id, " in read("any_if(`level:error`,project)", ERRORS)[0].sql


@pytest.mark.parametrize(
    ("text", "sql", "values"),
    [
        ("count() / 3600", "(count() / nullIf({q0:Float64}, 0))", [3600.0]),
        ("failure_count() - count() * 2", "(countIf(NOT (FAILED)) - (count() * {q0:Float64}))", [2.0]),
        ("(count() + 1.5)*count()", "((count() + {q0:Float64}) * count())", [1.5]),
        ("count() - count() - 1", "((count() - count()) - {q0:Float64})", [1.0]),
        ('count_if(`span.op:"(b)"`) / count()', None, ["(b)"]),
        ("avg(span.duration) * 1000", "(avgIfOrNull((duration_ns / 1000000), true) * {q0:Float64})", [1000.0]),
    ],
)
def test_equations(text: str, sql: str | None, values: list[object]) -> None:
    """Arithmetic of functions, as assistants ask by Sentry's MCP server; nothing is divided by 0."""
    column, found = read(f"equation|{text}")
    assert (column.is_aggregate, column.type, found) == (True, "number", values)
    failed = "status IN ('', 'unset', 'ok', 'cancelled', 'unknown')"
    assert sql is None or column.sql == sql.replace("FAILED", failed)


@pytest.mark.parametrize(
    "text",
    [
        *("", "count(", "count() /", "count() count()", "1 +* 2", "(count()", "count())", "span.duration / 2", "-1"),
        *("(" * 9 + "1" + ")" * 9, "1" + "+1" * 21, "max(timestamp) * 2", "any(title) + 1", "nope() + 1", "1e9"),
        *("count();1", "1 -- 1", "count() / (SELECT 1)", "'a'", "any(issue) * 2"),
    ],
)
def test_what_is_no_equation_is_refused(text: str) -> None:
    """With the place."""
    with pytest.raises(ApiError) as raised:
        read(f"equation|{text}", ERRORS)
    assert raised.value.status == 400


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="count()+-*/ 0.9`:p5a,'x", max_size=60))
def test_no_text_of_an_equation_is_in_the_sql(text: str) -> None:
    """As of every column."""
    test_no_text_of_a_client_is_in_the_sql.hypothesis.inner_test(f"equation|{text}", "spans")  # type: ignore[attr-defined]
