"""Instrumented calls of the OpenAI client: the gen_ai columns, whichever generation of attribute names is written."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.clients.otel_processes import facts_of, otel_environment
from tests.clients.sentry_clients import text_pin
from tests.clients.toolchains import PROGRAMS, python_interpreter

pytestmark = pytest.mark.clients

# (environment of programs/, instrumentation): openllmetry today and in 2024, and OpenTelemetry's own.
OPENLLMETRY, CONTRIB = "opentelemetry-instrumentation-openai", "opentelemetry-instrumentation-openai-v2"
INSTRUMENTATIONS = [
    ("otel-genai", "traceloop", OPENLLMETRY),
    ("otel-genai-old", "traceloop", OPENLLMETRY),
    ("otel-genai", "contrib", CONTRIB),
]


def instrumented(packages: str, kind: str, client: str) -> Any:
    """One parameter, with its claim."""
    version = text_pin(f"{packages}/requirements.txt", rf"{client}==(\S+)")
    claim = pytest.mark.proves(client, version, "spans of a chat and of an embedding", "rows with gen_ai columns")
    return pytest.param(packages, kind, marks=claim, id=f"{client}-{version}")


@pytest.mark.parametrize(("packages", "kind"), [instrumented(*one) for one in INSTRUMENTATIONS])
def test_model_calls_fill_the_gen_ai_columns(ready: Any, sql: Any, packages: str, kind: str) -> None:
    """Operation, provider, the model that answered, and tokens of a chat and of an embedding."""
    python, trace_id = python_interpreter(packages), uuid4().hex
    env = otel_environment(ready, "assistant")
    facts_of([python, PROGRAMS / "otel-genai" / "chat.py", kind, trace_id], env)
    query = f"SELECT * FROM events WHERE trace_id = '{trace_id}' ORDER BY gen_ai_operation"
    chat, embeddings = sql.wait(query, 2)
    assert [chat["gen_ai_operation"], embeddings["gen_ai_operation"]] == ["chat", "embeddings"]
    assert {chat["gen_ai_provider"], embeddings["gen_ai_provider"]} == {"openai"}
    assert (chat["gen_ai_model"], embeddings["gen_ai_model"]) == ("gpt-4o-mini-2024-07-18", "text-embedding-3-small")
    assert (chat["gen_ai_input_tokens"], chat["gen_ai_output_tokens"]) == (21, 9)
    assert (embeddings["gen_ai_input_tokens"], embeddings["gen_ai_output_tokens"]) == (4, 0)
    assert {row["parent_span_id"] for row in (chat, embeddings)} == {f"{10:016x}"}
    assert {row["service_name"] for row in (chat, embeddings)} == {"assistant"}
    assert chat["attributes_int"]["gen_ai.request.max_tokens"] == 50
