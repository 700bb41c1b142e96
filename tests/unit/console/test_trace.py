"""The tree of a trace: every span once, whatever their parents say."""

from __future__ import annotations

from typing import Any, cast

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.api.errors import ApiError
from console.explore.trace import MAX_BAR_NAME, MAX_DEPTH, MAX_SPANS, Node, TraceReader, nested, read_trace_id
from console.storage.clickhouse import ClickHouse
from schemas.registry import Channel
from tests.unit.console.fakes import FakeClickHouse


def span(span_id: str, parent: str | None = None) -> Node:
    return {"span_id": span_id, "parent_span_id": parent, "children": []}


def shown(nodes: list[Node]) -> dict[str, object]:
    """Iteratively is not needed here: the tests' trees are small."""
    return {node["span_id"]: shown(node["children"]) for node in nodes}


def test_children_stand_below_their_parents() -> None:
    """In the order of time, however they came; a parent that is not here makes a root."""
    spans = [span("b", "a"), span("a"), span("c", "b"), span("d", "a"), span("e", "elsewhere")]
    assert shown(nested(spans)) == {"a": {"b": {"c": {}}, "d": {}}, "e": {}}


def test_spans_that_are_each_others_parents_are_shown_once() -> None:
    """And one that is its own."""
    spans = [span("a", "b"), span("b", "a"), span("c", "c"), span("d", "a")]
    assert shown(nested(spans)) == {"a": {"b": {}, "d": {}}, "c": {}}


def test_a_deep_trace_is_json_that_can_be_read() -> None:
    """Deeper spans stand below the last level, with their own parent's id."""
    spans = [span(str(number), str(number - 1)) for number in range(3_000)]
    (root,) = nested(spans)
    depth, level = 0, [root]
    while level:
        depth, level = depth + 1, [child for node in level for child in node["children"]]
    assert depth == MAX_DEPTH
    assert orjson.dumps(root).count(b'"span_id"') == 3_000


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["a", "b", "c", "d", "e", "f", None])), max_size=9)
)
def test_every_span_is_there_once(pairs: list[tuple[str, str | None]]) -> None:
    """Also with ids that came twice."""
    spans = [span(*pair) for pair in pairs]
    found: list[int] = []
    waiting = nested(spans)
    while waiting:
        node = waiting.pop()
        found.append(id(node))
        waiting.extend(node["children"])
    assert sorted(found) == sorted(map(id, spans))


@pytest.mark.parametrize("text", ["", "a" * 31, "g" * 32, "a" * 33, "../x", "a" * 10_000])
def test_what_is_no_trace_id_is_not_found(text: str) -> None:
    """Nothing is asked then."""
    with pytest.raises(ApiError):
        read_trace_id(text)
    assert read_trace_id("4BF92F35-77B34DA6A3CE929D0E0E4736") == "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.asyncio
async def test_bars_are_what_a_waterfall_needs() -> None:
    """Flat, bounded, and with numbers of issues as text: JavaScript cannot read 63 bits."""
    number = 2**63 - 1

    def answer(sql: str, _parameters: dict[str, Any]) -> list[dict[str, Any]]:
        if "AS work" in sql:
            span = {"parent_span_id": "", "channel_id": 1, "name": "x" * 9_999, "service_name": "web", "work": "db"}
            more = {"status": "error", "duration_ns": 1_500_000, "start_ns": 2_000_000}
            return [span | more | {"span_id": f"{place:016x}"} for place in range(MAX_SPANS + 1)]
        error = {"event_id": "0" * 32, "channel_id": 1, "span_id": "a", "title": "t", "body": "", "severity_number": 17}
        return [error | {"culprit": "", "transaction": "", "timestamp": "", "start_ns": 1, "issue_id": number}]

    reader = TraceReader(cast("ClickHouse", FakeClickHouse(answer)), "acme", [Channel(id=1, organisation="acme")])
    told = await reader.bars("c" * 32)
    assert (len(told["spans"]), told["isCut"]) == (MAX_SPANS, True)
    first = told["spans"][0]
    assert (first["work"], first["failed"], first["duration"], first["start"]) == ("db", True, 1.5, 2.0)
    assert len(first["name"]) == MAX_BAR_NAME
    assert told["errors"][0]["issue_id"] == str(number)


@pytest.mark.asyncio
async def test_a_trace_without_rows_has_nothing_in_numbers() -> None:
    """Not one of anything: tools would open it."""
    reader = TraceReader(cast("ClickHouse", FakeClickHouse()), "acme", [Channel(id=1, organisation="acme")])
    assert await reader.meta("c" * 32) == {
        "logs": 0,
        "errors": 0,
        "performance_issues": 0,
        "span_count": 0,
        "span_count_map": {},
        "transaction_child_count_map": [],
    }
