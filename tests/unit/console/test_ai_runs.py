"""Runs of agents: whose tokens count, and what a hostile trace costs."""

from __future__ import annotations

from typing import Any

from console.explore.ai_runs import MAX_ABOVE, Conversation, Prices, outer_calls


class CountedRow(dict[str, Any]):
    """A span that counts how often it is read."""

    reads = 0

    def __getitem__(self, name: str) -> Any:
        CountedRow.reads += 1
        return super().__getitem__(name)


def call(span_id: str, parent: str, *, tokens: int = 1, operation: str = "chat") -> CountedRow:
    """A span of a call of a model."""
    return CountedRow(
        span_id=span_id, parent_span_id=parent, operation=operation, tokens_in=tokens, tokens_out=0, start_ns=1
    )


def test_the_tokens_of_a_call_are_those_of_the_calls_inside() -> None:
    """Of a chain of three, the innermost counts; one beside it counts too."""
    spans = [call("a", ""), call("b", "a"), call("c", "b"), call("d", "a")]
    assert outer_calls(spans, spans) == {"a", "b"}


def test_a_circle_of_calls_ends() -> None:
    """A sender names parents as it likes."""
    spans = [call("a", "b"), call("b", "a"), call("c", "c")]
    assert outer_calls(spans, spans) <= {"a", "b"}


def test_a_long_chain_costs_its_length() -> None:
    """Each of 3,000 nested calls has all others above it."""
    spans = [call(str(number), str(number - 1)) for number in range(3_000)]
    CountedRow.reads = 0
    assert len(outer_calls(spans, spans)) == 2_999
    assert CountedRow.reads < 20 * len(spans)


def test_the_depth_of_a_step_looks_at_few_spans() -> None:
    """However deep it is."""
    parents = [call(str(number), str(number - 1), operation="") for number in range(3_000)]
    conversation = Conversation(parents, [], Prices({}))
    CountedRow.reads = 0
    conversation._depth(call("x", "2999"))
    assert CountedRow.reads < 5 * MAX_ABOVE
