"""The cookbook's cost query over a running system: a call counts once, however many instrumentations saw it."""

from __future__ import annotations

import time
import urllib.request
from typing import Any
from uuid import uuid4

import orjson
import pytest

from tests.clients.cookbook_page import read
from tests.live.whole.test_otlp_columns import pairs
from tests.polling import eventually
from tests.system import System

pytestmark = pytest.mark.live

COSTS = read()["What do the models cost?"].sql
CHANNEL = "channel_id = {channel:UInt64}"

CHAT = "chat"
# (its own number, its parent's, operation, tokens in, tokens out)
Span = tuple[int, int, str, int, int]


@pytest.mark.parametrize(
    ("spans", "costs"),
    [
        ([(1, 0, CHAT, 100, 10)], (1, 100, 10)),
        ([(1, 0, CHAT, 100, 10), (2, 1, CHAT, 100, 10)], (1, 100, 10)),
        ([(1, 0, CHAT, 100, 10), (2, 1, "", 0, 0), (3, 2, CHAT, 100, 10)], (1, 100, 10)),
        ([(1, 0, CHAT, 300, 30), (2, 1, CHAT, 100, 10), (3, 1, CHAT, 200, 20)], (2, 300, 30)),
        ([(1, 0, CHAT, 100, 10), (2, 1, CHAT, 100, 10), (3, 2, CHAT, 100, 10)], (1, 100, 10)),
        ([(1, 0, CHAT, 100, 10), (2, 1, CHAT, 0, 0)], (2, 100, 10)),
        ([(1, 0, CHAT, 100, 10), (2, 1, "execute_tool", 0, 0), (3, 2, CHAT, 7, 3)], (2, 107, 13)),
        ([(1, 0, "invoke_agent", 107, 13), (2, 1, CHAT, 100, 10), (3, 1, CHAT, 7, 3)], (2, 107, 13)),
    ],
)
def test_a_call_counts_once(system: System, spans: list[Span], costs: tuple[int, int, int]) -> None:
    """LangChain above a client, a request between them, retries, a tool that asks a model of its own."""
    trace_id = uuid4().hex
    send(system, trace_id, spans)
    system.rows("SELECT 1 FROM events WHERE trace_id = {trace_id:String}", len(spans), trace_id=trace_id)
    assert CHANNEL in COSTS
    query = COSTS.replace(CHANNEL, f"channel_id = {system.ready['channel']} AND trace_id = '{trace_id}'")
    (found,) = [row for row in system.query(query) if row["gen_ai_model"] == "gpt-4o-mini"]
    assert (found["calls"], found["input_tokens"], found["output_tokens"]) == costs
    eventually(
        lambda: of_the_view(system) == of_the_cookbook(system), "the view model_costs to say what the query says"
    )


def of_the_cookbook(system: System) -> list[tuple[object, ...]]:
    """What all calls of the channel cost."""
    rows = system.query(COSTS, channel=system.ready["channel"])
    return sorted((row["gen_ai_model"], row["calls"], row["input_tokens"], row["output_tokens"]) for row in rows)


def of_the_view(system: System) -> list[tuple[object, ...]]:
    """The same by the view, over all days."""
    query = (
        "SELECT model, sum(calls) AS calls, sum(input_tokens) AS input, sum(output_tokens) AS output FROM model_costs "
        "WHERE channel_id = {channel:UInt64} GROUP BY provider, model"
    )
    rows = system.query(query, channel=system.ready["channel"])
    return sorted((row["model"], row["calls"], row["input"], row["output"]) for row in rows)


def send(system: System, trace_id: str, spans: list[Span]) -> None:
    """The spans as one export."""
    body = {"resourceSpans": [{"scopeSpans": [{"spans": [of(trace_id, span) for span in spans]}]}]}
    headers = {
        "Content-Type": "application/json",
        "X-API-Key": system.ready["api_key"],
        "X-Axonpush-Channel": str(system.ready["channel"]),
    }
    request = urllib.request.Request(f"{system.ready['url']}/v1/traces", orjson.dumps(body), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.read() == b"{}"


def of(trace_id: str, span: Span) -> dict[str, Any]:
    number, parent, operation, tokens_in, tokens_out = span
    model = {"gen_ai.operation.name": operation, "gen_ai.request.model": "gpt-4o-mini"} if operation else {}
    usage = {"gen_ai.usage.input_tokens": tokens_in, "gen_ai.usage.output_tokens": tokens_out} if tokens_in else {}
    now_ns = str(time.time_ns())
    return {
        "traceId": trace_id,
        "spanId": f"{number:016x}",
        "parentSpanId": f"{parent:016x}" if parent else "",
        "name": operation or "POST",
        "startTimeUnixNano": now_ns,
        "endTimeUnixNano": now_ns,
        "attributes": pairs(model | usage),
    }
