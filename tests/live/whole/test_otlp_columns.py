"""Semantic-convention columns: sent as attributes under today's and yesterday's names, read from SQL under one."""

from __future__ import annotations

import re
import time
import urllib.request
from typing import Any, Final
from uuid import uuid4

import orjson
import pytest

from tests.servers import ROOT
from tests.system import System

pytestmark = pytest.mark.live

Sent = dict[str, Any]

# The messages of a prompt, the tenth and eleventh of them: they are ordered by number and not by text.
SAID: Final = ((9, {"role": "system", "content": "be kind"}), (10, {"role": "user", "content": 'a "joke"'}))

# column, the value expected, and attributes of a span which each give it: today's name first.
ATTRIBUTES: Final[list[tuple[str, Any, list[Sent]]]] = [
    ("exception_type", "KeyError", [{"exception.type": "KeyError"}]),
    ("exception_message", "no", [{"exception.message": "no"}]),
    ("exception_stacktrace", "at 1", [{"exception.stacktrace": "at 1"}]),
    ("error_type", "timeout", [{"error.type": "timeout"}]),
    ("user_id", "u1", [{"user.id": "u1"}, {"enduser.id": "u1"}]),
    ("session_id", "s1", [{"session.id": "s1"}]),
    ("http_method", "GET", [{"http.request.method": "GET"}, {"http.method": "GET"}]),
    (
        "http_status_code",
        503,
        [
            {"http.response.status_code": 503},
            {"http.status_code": 503},
            {"http.status_code": "503"},
            {"http.response.status_code": "503"},
            {"http.response.status_code": " 503.0 "},
            {"http.response.status_code": 503.0},
            {"http.status_code": 503.0},
        ],
    ),
    (
        "http_status_code",
        0,
        [{"http.response.status_code": 70_000}, {"http.response.status_code": -1}, {"http.status_code": "5xx"}],
    ),
    ("http_route", "/till/{id}", [{"http.route": "/till/{id}"}]),
    (
        "url",
        "https://x.example/a?b=1",
        [{"url.full": "https://x.example/a?b=1"}, {"http.url": "https://x.example/a?b=1"}],
    ),
    ("url_path", "/a", [{"url.path": "/a"}, {"http.target": "/a?b=1"}, {"http.target": "/a"}]),
    ("server_address", "db-1", [{"server.address": "db-1"}, {"net.peer.name": "db-1"}]),
    ("user_agent", "curl/8", [{"user_agent.original": "curl/8"}, {"http.user_agent": "curl/8"}]),
    ("db_system", "postgresql", [{"db.system.name": "postgresql"}, {"db.system": "postgresql"}]),
    ("db_namespace", "shop", [{"db.namespace": "shop"}, {"db.name": "shop"}]),
    ("db_operation", "SELECT", [{"db.operation.name": "SELECT"}, {"db.operation": "SELECT"}]),
    ("db_query", "SELECT 1", [{"db.query.text": "SELECT 1"}, {"db.statement": "SELECT 1"}]),
    (
        "db_collection",
        "orders",
        [{"db.collection.name": "orders"}, {"db.sql.table": "orders"}, {"db.mongodb.collection": "orders"}],
    ),
    ("messaging_system", "kafka", [{"messaging.system": "kafka"}]),
    ("messaging_destination", "paid", [{"messaging.destination.name": "paid"}, {"messaging.destination": "paid"}]),
    ("rpc_system", "grpc", [{"rpc.system.name": "grpc"}, {"rpc.system": "grpc"}]),
    ("rpc_method", "Pay", [{"rpc.method": "Pay"}]),
    (
        "gen_ai_operation",
        "invoke_agent",
        [
            {"gen_ai.operation.name": "invoke_agent"},
            {"openinference.span.kind": "AGENT"},
            {"traceloop.span.kind": "agent"},
            {"ai.operationId": "ai.streamText"},
        ],
    ),
    (
        "gen_ai_operation",
        "chat",
        [
            {"gen_ai.operation.name": "responses"},
            {"openinference.span.kind": "LLM"},
            {"openinference.span.kind": "llm"},
            {"llm.request.type": "chat"},
            {"ai.operationId": "ai.generateObject.doGenerate"},
            {"langsmith.span.kind": "llm"},
        ],
    ),
    ("gen_ai_operation", "text_completion", [{"llm.request.type": "completion"}]),
    (
        "gen_ai_operation",
        "embeddings",
        [
            {"openinference.span.kind": "EMBEDDING"},
            {"llm.request.type": "embedding"},
            {"ai.operationId": "ai.embed.doEmbed"},
        ],
    ),
    (
        "gen_ai_operation",
        "execute_tool",
        [{"openinference.span.kind": "TOOL"}, {"traceloop.span.kind": "tool"}, {"ai.operationId": "ai.toolCall"}],
    ),
    (
        "gen_ai_provider",
        "openai",
        [
            {"gen_ai.provider.name": "openai"},
            {"gen_ai.system": "openai"},
            {"gen_ai.system": "OpenAI"},
            {"llm.provider": "openai"},
            {"ai.model.provider": "openai"},
        ],
    ),
    (
        "gen_ai_model",
        "m-2",
        [
            {"gen_ai.response.model": "m-2", "gen_ai.request.model": "m"},
            {"gen_ai.request.model": "m-2"},
            {"llm.model_name": "m-2"},
            {"llm.request.model": "m", "llm.response.model": "m-2"},
            {"ai.model.id": "m-2"},
            {"embedding.model_name": "m-2"},
        ],
    ),
    (
        "gen_ai_request_model",
        "m",
        [{"gen_ai.request.model": "m", "gen_ai.response.model": "m-2"}, {"llm.request.model": "m"}],
    ),
    ("gen_ai_response_model", "m-2", [{"gen_ai.response.model": "m-2"}, {"ai.response.model": "m-2"}]),
    (
        "gen_ai_agent",
        "planner",
        [
            {"gen_ai.agent.name": "planner"},
            {"agent_name": "planner"},
            {"traceloop.span.kind": "agent", "traceloop.entity.name": "planner"},
        ],
    ),
    ("gen_ai_agent", "", [{"traceloop.span.kind": "task", "traceloop.entity.name": "planner"}]),
    ("gen_ai_agent_id", "a-1", [{"gen_ai.agent.id": "a-1"}]),
    ("gen_ai_agent_version", "3", [{"gen_ai.agent.version": "3"}]),
    ("gen_ai_workflow", "refund", [{"gen_ai.workflow.name": "refund"}, {"traceloop.workflow.name": "refund"}]),
    ("gen_ai_conversation_id", "c-1", [{"gen_ai.conversation.id": "c-1"}]),
    (
        "gen_ai_tool",
        "search",
        [
            {"gen_ai.tool.name": "search"},
            {"tool.name": "search"},
            {"ai.toolCall.name": "search"},
            {"traceloop.span.kind": "tool", "traceloop.entity.name": "search"},
        ],
    ),
    ("gen_ai_tool_type", "function", [{"gen_ai.tool.type": "function"}]),
    (
        "gen_ai_tool_call_id",
        "t-1",
        [{"gen_ai.tool.call.id": "t-1"}, {"tool_call.id": "t-1"}, {"ai.toolCall.id": "t-1"}],
    ),
    (
        "gen_ai_input_tokens",
        12,
        [
            {"gen_ai.usage.input_tokens": 12, "gen_ai.usage.prompt_tokens": 13},
            {"gen_ai.usage.prompt_tokens": 12},
            {"llm.usage.prompt_tokens": 12},
            {"llm.token_count.prompt": 12},
            {"ai.usage.promptTokens": 12},
            {"ai.usage.inputTokens": 12},
            {"ai.usage.tokens": 12},
            {"gen_ai.usage.input_tokens": "12"},
            {"gen_ai.usage.input_tokens": 12.0},
            {"llm.token_count.prompt": "12"},
        ],
    ),
    ("gen_ai_input_tokens", 0, [{"gen_ai.usage.input_tokens": -5}, {}]),
    (
        "gen_ai_output_tokens",
        34,
        [
            {"gen_ai.usage.output_tokens": 34},
            {"gen_ai.usage.completion_tokens": 34},
            {"llm.usage.completion_tokens": 34},
            {"llm.token_count.completion": 34},
            {"ai.usage.completionTokens": 34},
            {"ai.usage.outputTokens": 34},
        ],
    ),
    (
        "gen_ai_cache_read_tokens",
        5,
        [
            {"gen_ai.usage.cache_read.input_tokens": 5},
            {"gen_ai.usage.cache_read_input_tokens": 5},
            {"gen_ai.usage.input_tokens.cached": 5},
            {"gen_ai.usage.cache_read.input_tokens": "5"},
        ],
    ),
    (
        "gen_ai_cache_creation_tokens",
        6,
        [
            {"gen_ai.usage.cache_creation.input_tokens": 6},
            {"gen_ai.usage.cache_creation_input_tokens": 6},
            {"gen_ai.usage.input_tokens.cache_write": 6},
        ],
    ),
    (
        "gen_ai_reasoning_tokens",
        7,
        [
            {"gen_ai.usage.reasoning.output_tokens": 7},
            {"gen_ai.usage.reasoning_tokens": 7},
            {"gen_ai.usage.output_tokens.reasoning": 7},
        ],
    ),
    (
        "gen_ai_time_to_first_chunk_s",
        0.25,
        [
            {"gen_ai.response.time_to_first_chunk": 0.25},
            {"gen_ai.response.time_to_first_token": 0.25},
            {"ai.response.msToFirstChunk": 250.0},
            {"ai.response.msToFirstChunk": 250},
        ],
    ),
    (
        "gen_ai_finish_reasons",
        ["stop"],
        [
            {"gen_ai.response.finish_reasons": ["stop"]},
            {"gen_ai.response.finish_reasons": '["stop"]'},
            {"ai.response.finishReason": "stop"},
            {"gen_ai.response.finish_reasons": "stop"},
            {"llm.finish_reason": "stop"},
            {"gen_ai.completion.0.finish_reason": "stop", "llm.request.type": "chat"},
        ],
    ),
    (
        "gen_ai_input_messages",
        '[{"role":"user"}]',
        [
            {"gen_ai.input.messages": [{"role": "user"}]},
            {"gen_ai.input.messages": '[{"role":"user"}]'},
            {"gen_ai.prompt": '[{"role":"user"}]'},
            {"input.value": '[{"role":"user"}]'},
            {"traceloop.entity.input": '[{"role":"user"}]'},
            {"gen_ai.request.messages": '[{"role":"user"}]'},
        ],
    ),
    (
        "gen_ai_input_messages",
        '[{"role":"system","content":"be kind"},{"role":"user","content":"a \\"joke\\""}]',
        [
            {f"{prefix}.{number}.{inner}{key}": text for number, said in SAID for key, text in said.items()}
            for prefix, inner in (("gen_ai.prompt", ""), ("llm.input_messages", "message."))
        ],
    ),
    (
        "gen_ai_output_messages",
        '[{"role":"assistant","content":"Why"}]',
        [
            {"gen_ai.completion.0.role": "assistant", "gen_ai.completion.0.content": "Why"},
            {"llm.output_messages.0.message.role": "assistant", "llm.output_messages.0.message.content": "Why"},
        ],
    ),
    (
        "gen_ai_output_messages",
        "hi",
        [
            {"gen_ai.output.messages": "hi"},
            {"gen_ai.completion": "hi"},
            {"output.value": "hi"},
            {"gen_ai.response.text": "hi"},
        ],
    ),
    ("gen_ai_system_instructions", "be kind", [{"gen_ai.system_instructions": "be kind"}]),
    (
        "gen_ai_tool_arguments",
        "{}",
        [{"gen_ai.tool.call.arguments": {}}, {"ai.toolCall.args": "{}"}, {"gen_ai.tool.input": "{}"}],
    ),
    (
        "gen_ai_tool_result",
        "ok",
        [{"gen_ai.tool.call.result": "ok"}, {"ai.toolCall.result": "ok"}, {"gen_ai.tool.output": "ok"}],
    ),
]
RESOURCES: Final[list[tuple[str, Any, list[Sent]]]] = [
    ("service_name", "till", [{"service.name": "till"}]),
    ("service_name", "unknown_service", [{}, {"service.name": ""}]),
    ("service_namespace", "shop", [{"service.namespace": "shop"}]),
    ("service_version", "1.2", [{"service.version": "1.2"}]),
    ("release", "1.2", [{"service.version": "1.2"}]),
    ("service_instance_id", "i-1", [{"service.instance.id": "i-1"}]),
    ("deployment_environment", "test", [{"deployment.environment.name": "test"}, {"deployment.environment": "test"}]),
    ("host_name", "h", [{"host.name": "h"}]),
    ("k8s_pod_name", "p-1", [{"k8s.pod.name": "p-1"}]),
    ("sdk_name", "opentelemetry", [{"telemetry.sdk.name": "opentelemetry"}]),
    ("sdk_version", "1.45", [{"telemetry.sdk.version": "1.45"}]),
    ("platform", "python", [{"telemetry.sdk.language": "python"}]),
]


def any_value(value: Any) -> dict[str, Any]:
    """A Python value as an AnyValue in OTLP/JSON."""
    if isinstance(value, list):
        return {"arrayValue": {"values": [any_value(item) for item in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": pairs(value)}}
    return {{str: "stringValue", int: "intValue", float: "doubleValue"}[type(value)]: value}


def pairs(attributes: Sent) -> list[dict[str, Any]]:
    """Attributes in OTLP/JSON."""
    return [{"key": key, "value": any_value(value)} for key, value in attributes.items()]


def stored(system: System, blocks: list[tuple[Sent, Sent]], columns: list[str], **members: Any) -> list[dict[str, Any]]:
    """The given columns of one span for each (resource, attributes), in order."""
    trace_id, now_ns = uuid4().hex, time.time_ns()
    body = {
        "resourceSpans": [
            {
                "resource": {"attributes": pairs(resource)},
                "scopeSpans": [{"spans": [
                    {"traceId": trace_id, "spanId": f"{number:016x}", "name": "s", "startTimeUnixNano": str(now_ns),
                     "endTimeUnixNano": str(now_ns), "attributes": pairs(attributes), **members}
                ]}],
            }
            for number, (resource, attributes) in enumerate(blocks, 1)
        ]
    }  # fmt: skip
    headers = {
        "Content-Type": "application/json",
        "X-API-Key": system.ready["api_key"],
        "X-Axonpush-Channel": str(system.ready["channel"]),
    }
    request = urllib.request.Request(f"{system.ready['url']}/v1/traces", orjson.dumps(body), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.read() == b"{}"
    sql = f"SELECT {', '.join(sorted(set(columns)))} FROM events WHERE trace_id = {{trace_id:String}} ORDER BY span_id"
    return system.rows(sql, len(blocks), trace_id=trace_id)


def test_attributes_fill_their_columns_under_every_name(system: System) -> None:
    """Each column reads today's name, and where there is none the names it had before."""
    cases = [(column, expected, sent) for column, expected, several in ATTRIBUTES for sent in several]
    found = stored(system, [({}, sent) for _, _, sent in cases], [column for column, _, _ in cases])
    wrong = [
        (sent, column, row[column])
        for (column, value, sent), row in zip(cases, found, strict=True)
        if row[column] != value
    ]
    assert wrong == []


def test_resources_fill_their_columns_under_every_name(system: System) -> None:
    """The same for what describes the sender."""
    cases = [(column, expected, sent) for column, expected, several in RESOURCES for sent in several]
    found = stored(system, [(sent, {}) for _, _, sent in cases], [column for column, _, _ in cases])
    wrong = [
        (sent, column, row[column])
        for (column, value, sent), row in zip(cases, found, strict=True)
        if row[column] != value
    ]
    assert wrong == []


@pytest.mark.parametrize(("kind", "expected"), [(2, "me"), (3, "them")])
def test_the_server_of_an_old_span_depends_on_its_side(system: System, kind: int, expected: str) -> None:
    """net.host.name was the server's own name, net.peer.name that of the other side."""
    (row,) = stored(system, [({}, {"net.host.name": "me", "net.peer.name": "them"})], ["server_address"], kind=kind)
    assert row["server_address"] == expected


def test_a_column_leaves_the_attribute_where_it_was(system: System) -> None:
    """Promoted or not, every attribute is in `attributes`, and a number stays a number in its own map."""
    sent = {"gen_ai.usage.input_tokens": 2**53 + 1, "gen_ai.input.messages": "hello"}
    (row,) = stored(system, [({}, sent)], ["attributes", "attributes_int"])
    assert row["attributes"] == {"gen_ai.usage.input_tokens": str(2**53 + 1), "gen_ai.input.messages": "hello"}
    assert row["attributes_int"] == {"gen_ai.usage.input_tokens": 2**53 + 1}


@pytest.mark.parametrize(
    ("events", "prompt", "answer"),
    [
        (
            [
                {"name": "gen_ai.system.message", "attributes": {"content": "be kind"}},
                {"name": "gen_ai.user.message", "attributes": {"content": "a joke", "role": "user"}},
                {"name": "gen_ai.choice", "attributes": {"index": 0, "message": {"content": "Why"}}},
            ],
            '[{"role":"system","content":"be kind"},{"role":"user","content":"a joke"}]',
            '[{"role":"assistant","content":{"content":"Why"}}]',
        ),
        (
            [
                {"name": "gen_ai.content.prompt", "attributes": {"gen_ai.prompt": "a joke"}},
                {"name": "gen_ai.content.completion", "attributes": {"gen_ai.completion": "Why"}},
            ],
            "a joke",
            "Why",
        ),
        (
            [
                {
                    "name": "gen_ai.client.inference.operation.details",
                    "attributes": {"gen_ai.input.messages": [{"role": "user"}], "gen_ai.output.messages": "Why"},
                }
            ],
            '[{"role":"user"}]',
            "Why",
        ),
        ([{"name": "exception", "attributes": {"exception.type": "E"}}], "", ""),
    ],
)
def test_messages_in_span_events_are_read(system: System, events: list[Sent], prompt: str, answer: str) -> None:
    """Where OpenTelemetry's older conventions keep what was said."""
    sent = [event | {"attributes": pairs(event["attributes"])} for event in events]
    columns = ["gen_ai_input_messages", "gen_ai_output_messages"]
    (row,) = stored(system, [({}, {"gen_ai.operation.name": "chat"})], columns, events=sent)
    assert (row["gen_ai_input_messages"], row["gen_ai_output_messages"]) == (prompt, answer)


def test_an_exception_of_a_span_is_an_error_with_a_title(system: System) -> None:
    """README's query finds it, under the error's own name."""
    attributes = {"exception.type": "KeyError", "exception.message": f"no key\nof {uuid4().hex}"}
    sent = [{"name": "exception", "attributes": pairs(attributes)}]
    columns = ["is_error", "title", "name", "group_hash"]
    (row,) = stored(system, [({}, {})], columns, events=sent)
    assert (row["is_error"], row["title"], row["name"]) == (True, "KeyError: no key", "s")
    assert len(row["group_hash"]) == 32
    (plain,) = stored(system, [({}, {})], columns)
    assert (plain["is_error"], plain["title"], plain["group_hash"]) == (False, "s", "")
    (readme,) = re.findall(r"-- errors of the last hour[^\n]*\n(.*?);", (ROOT / "README.md").read_text(), re.DOTALL)
    found = {one["group_hash"]: one["title"] for one in system.query(readme)}
    assert found[row["group_hash"]] == "KeyError: no key"
