"""Runs of agents: what was said in any convention, tokens counted once, prices that are known or said to be unknown."""

from __future__ import annotations

import json
from typing import Any

import pytest

from console.explore.ai_messages import MAX_TEXT, message_of, text_part
from console.explore.ai_runs import MAX_STEPS, Conversation, Prices, outer_calls, summary
from tests.unit.console.fakes import FOREIGN, FakeClickHouse, client, services

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PRICES = Prices({"m-1": (1.0, 10.0)})


def texts(message: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(part["kind"], part["name"], part["text"]) for part in message["parts"]]


@pytest.mark.parametrize(
    ("sent", "role", "parts"),
    [
        ({"role": "user", "parts": [{"type": "text", "content": "hi"}]}, "user", [("text", "", "hi")]),
        ({"role": "user", "content": "hi"}, "user", [("text", "", "hi")]),
        ({"content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {}}]}, "assistant",
         [("text", "", "a"), ("other", "image_url", "")]),
        ({"role": "assistant", "parts": [{"type": "tool_call", "name": "find", "arguments": {"id": 1}}]}, "assistant",
         [("call", "find", '{"id":1}')]),
        ({"role": "assistant", "tool_calls": [{"function": {"name": "find", "arguments": '{"id": 1}'}}]}, "assistant",
         [("call", "find", '{"id": 1}')]),
        ({"role": "tool", "content": [{"type": "tool-result", "toolName": "find", "output": {"a": 1}}]}, "tool",
         [("result", "find", '{"a":1}')]),
        ({"role": "tool", "parts": [{"type": "tool_call_response", "response": "done"}]}, "tool",
         [("result", "", "done")]),
        ({"type": "tool_use"}, "assistant", []),
        ("hello", "assistant", [("text", "", "hello")]),
        (["a", "b"], "assistant", [("text", "", '["a","b"]')]),
        ({"role": 7, "content": {"a": 1}}, "7", [("text", "", '{"a":1}')]),
        ({"content": [1, None, ["x"]]}, "assistant", [("text", "", "1"), ("text", "", ""), ("text", "", '["x"]')]),
        ({"tool_calls": [1, {"function": "x"}, {}]}, "assistant", [("call", "", ""), ("call", "", "")]),
    ],
)  # fmt: skip
def test_a_message_of_any_convention(sent: Any, role: str, parts: list[tuple[str, str, str]]) -> None:
    """OpenTelemetry's parts, OpenAI's content and calls, the AI SDK's parts, and what is none of them."""
    message = message_of(json.dumps(sent), "assistant")
    assert message["role"] == role
    assert texts(message) == parts


@pytest.mark.parametrize(
    "raw", ["plain words", '{"role": "user", "content": "cut', "", "[" * 5_000, "NaN", '"\\ud800"']
)
def test_what_is_no_json_is_text(raw: str) -> None:
    """As JSON that was cut."""
    assert texts(message_of(raw, "user")) == [("text", "", raw[:MAX_TEXT])]


def test_deep_and_long_values_are_bounded() -> None:
    """Whatever a sender nests."""
    deep = '{"content": [{"type": "tool_call", "arguments": ' + "[" * 400 + "]" * 400 + "}]}"
    assert texts(message_of(deep, "user"))[0][0] == "call"
    long = message_of(json.dumps({"content": "x" * 20_000}), "user")["parts"][0]
    assert (len(long["text"]), long["length"]) == (MAX_TEXT, 20_000)
    many = message_of(json.dumps({"content": ["x"] * 1_000}), "user")
    assert len(many["parts"]) <= 20


@pytest.mark.parametrize(("raw", "shown"), [('"done"', "done"), ('{"a": 1}', '{"a": 1}'), ("words", "words"), ("", "")])
def test_arguments_and_results(raw: str, shown: str) -> None:
    """JSON as it was sent; the text of a JSON string."""
    assert text_part(raw)["text"] == shown


def span(span_id: str, parent: str = "", operation: str = "chat", **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "trace_id": TRACE, "span_id": span_id, "parent_span_id": parent, "operation": operation,
        "name": f"{operation} x", "service_name": "shop", "model": "m-1", "provider": "p", "agent": "", "tool": "",
        "tokens_in": 100, "tokens_out": 10,
        "status": "ok", "duration_ns": 1_000_000, "start_ns": 1_000_000 * len(span_id),
        "channel_id": 1, "status_message": "", "tokens_cached": 0, "tokens_reasoning": 0, "finish": ["stop"],
        "given": [], "answered": [], "instructions": "", "arguments": "", "result": "",
    }  # fmt: skip
    return made | more


def test_a_call_inside_of_a_call_counts_once() -> None:
    """An agent's span, or a framework's, repeats the tokens of the calls in it; at any depth."""
    spans = [
        span("a", operation="invoke_agent"), span("bb", "a"), span("ccc", "bb", operation=""), span("dddd", "ccc"),
        span("eeeee", "a"), span("ffffff", "eeeee", tokens_in=0, tokens_out=0),
    ]  # fmt: skip
    assert outer_calls(spans, spans) == {"bb"}
    told = summary(spans, spans, PRICES)
    assert (told["turns"], told["tokensIn"], told["tokensOut"]) == (3, 200, 20)
    assert told["dollars"] == pytest.approx((200 * 1 + 20 * 10) / 1e6)


def test_spans_that_are_each_others_parents_end() -> None:
    """Ids are senders'."""
    spans = [span("a", "b"), span("b", "a"), span("c", "c")]
    assert outer_calls(spans, spans) == {"a", "b"}
    assert Conversation(spans, [], PRICES).steps(spans)


@pytest.mark.parametrize(
    ("model", "dollars"), [("m-1", 0.0002), ("m-1-2026-01-31", 0.0002), ("m-1-20260131", 0.0002), ("m-2", None)]
)
def test_a_price_that_is_not_set_is_no_zero(model: str, dollars: float | None) -> None:
    """A price of a model is also one of its dated versions."""
    spans = [span("a", model=model)]
    told = summary(spans, spans, PRICES)
    assert told["dollars"] == (None if dollars is None else pytest.approx(dollars))
    assert told["unpriced"] == ([model] if dollars is None else [])


def test_a_run_is_named_after_its_first_agent() -> None:
    """Or after its first span; without any it has no name."""
    spans = [span("a", operation="invoke_workflow"), span("bb", agent="refunds"), span("ccc", agent="other")]
    assert summary(spans, spans, PRICES)["name"] == "refunds"
    assert summary(spans[:1], spans, PRICES)["name"] == "invoke_workflow x"
    assert summary([], [], PRICES)["name"] == ""


def told_step(step: dict[str, Any]) -> tuple[str, str]:
    if step["kind"] == "message":
        return step["message"]["role"], step["message"]["parts"][0]["text"]
    return step["kind"], step["name"]


def test_a_run_reads_as_a_conversation() -> None:
    """Each message of a user once, though later calls are given it again; tools and answers at their places."""
    user, answer, tool = ({"role": role, "content": role} for role in ("user", "assistant", "tool"))
    given = [json.dumps(one) for one in (user, answer, tool)]
    spans = [
        span("a", operation="invoke_agent", agent="refunds", tokens_in=0, tokens_out=0),
        span("bb", "a", given=given[:1], answered=[given[1]], instructions="be kind"),
        span("ccc", "a", operation="execute_tool", tool="find", arguments='{"id":1}', result='"gone"', status="error"),
        span("dddd", "a", given=given, answered=['{"content":"It was refused."}'], instructions="be kind"),
    ]  # fmt: skip
    error = {"span_id": "ccc", "issue_id": 3494904061356581024, "event_id": "e", "title": "CardRefused"}
    steps = Conversation(spans, [error], PRICES).steps(spans)
    assert [told_step(step) for step in steps] == [
        ("agent", "refunds"), ("system", "be kind"), ("user", "user"), ("model", "m-1"), ("tool", "find"),
        ("model", "m-1"),
    ]  # fmt: skip
    assert steps[3]["messages"][0]["parts"][0]["text"] == "assistant"
    assert (steps[4]["failed"], steps[4]["result"]["text"]) == (True, "gone")
    assert steps[4]["errors"] == [{"issue": "3494904061356581024", "event": "e", "title": "CardRefused"}]
    assert steps[3]["dollars"] == pytest.approx(0.0002)
    assert [step["depth"] for step in steps] == [0] * 6


def test_agents_inside_of_agents_are_indented() -> None:
    """At most three times."""
    chain = [span(str(number), str(number - 1) if number else "", operation="invoke_agent") for number in range(6)]
    steps = Conversation(chain, [], PRICES).steps([*chain, span("z", "1")])
    assert [step["depth"] for step in steps if step["kind"] == "agent"] == [0, 1, 2, 3, 3, 3]
    assert steps[-1]["depth"] == 1


@pytest.mark.asyncio
async def test_a_list_and_a_run_are_of_the_own_channels() -> None:
    """Another organisation's trace has no steps; the period and the page are asked for."""

    def answer(sql: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        if "model_prices" in sql:
            return [{"model": "m-1", "input_price": 1, "output_price": 10}]
        if "is_error" in sql:
            return []
        if "GROUP BY trace_id" in sql:
            return [{"trace_id": TRACE, "began": "2026-11-27 11:00:00.0", "ended": "2026-11-27 11:01:00.0"}]
        return [span("a")]

    clickhouse = FakeClickHouse(answer)
    async with client(services(clickhouse)) as asking:
        listed = (await asking.get("/api/0/organizations/acme/ai-runs/", params={"statsPeriod": "24h"})).json()["data"]
        run = (await asking.get(f"/api/0/organizations/acme/ai-runs/{TRACE}/")).json()
        assert (await asking.get("/api/0/organizations/acme/ai-runs/x/")).status_code == 404
    assert (listed[0]["trace"], listed[0]["turns"], listed[0]["began"]) == (TRACE, 1, "2026-11-27T11:00:00.000000Z")
    assert (run["turns"], len(run["steps"]), run["isCut"]) == (1, 1, False)
    for sql, parameters in clickhouse.asked:
        if "model_prices" not in sql:
            assert "organisation = {organisation:String}" in sql
            assert (parameters["organisation"], parameters["channels"]) == ("acme", [1, 2])
    async with client(services(clickhouse), FOREIGN) as asking:
        assert (await asking.get(f"/api/0/organizations/acme/ai-runs/{TRACE}/")).status_code == 404


@pytest.mark.asyncio
async def test_a_long_run_is_cut_and_says_so() -> None:
    """One step more than is shown was asked for."""
    spans = [span(f"{number:04}") for number in range(MAX_STEPS + 1)]
    clickhouse = FakeClickHouse(lambda sql, _parameters: [] if "model_prices" in sql or "is_error" in sql else spans)
    async with client(services(clickhouse)) as asking:
        run = (await asking.get(f"/api/0/organizations/acme/ai-runs/{TRACE}/")).json()
    assert (len(run["steps"]), run["isCut"]) == (MAX_STEPS, True)
