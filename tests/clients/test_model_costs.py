"""Applications that ask a model, each with its instrumentation: the cookbook's cost query is right for all of them.

The model is a stub on this machine. An agent asks it twice: it wants a tool, then answers. Spans of agents around the
calls repeat their tokens, which must not be counted again.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.clients.cookbook_page import read
from tests.clients.otel_processes import Facts, facts_of, otel_environment
from tests.clients.sentry_clients import npm_pin, text_pin
from tests.clients.toolchains import PROGRAMS, npm_project, python_interpreter, require_node

pytestmark = pytest.mark.clients

MODEL, EMBEDDER = "gpt-4o-mini-2024-07-18", "text-embedding-3-small"
# By model: calls, tokens in, tokens out. An agent: 21 + 34 and 9 + 12.
AGENT = {MODEL: (2, 55, 21)}
CLIENT = {MODEL: (3, 89, 33), EMBEDDER: (1, 4, 0)}
VERCEL = {MODEL: (2, 55, 21), EMBEDDER: (1, 4, 0)}
COSTS = read()["What do the models cost?"].sql
CHANNEL = "channel_id = {channel:UInt64}"

# The application, its instrumentation, whose package, and what is asked.
PYTHON = [
    ("openai", "openinference", "openinference-instrumentation-openai", CLIENT),
    ("langchain", "openinference", "openinference-instrumentation-langchain", AGENT),
    ("langchain", "openllmetry", "opentelemetry-instrumentation-langchain", AGENT),
    ("agents", "openinference", "openinference-instrumentation-openai-agents", AGENT),
    ("agents", "openllmetry", "opentelemetry-instrumentation-openai-agents", AGENT),
]
FEATURE, RESULT = "calls of models, agents and tools around them", "tokens counted once by the cookbook's cost query"


def python_case(application: str, kind: str, package: str, costs: dict[str, Any]) -> Any:
    """One parameter, with its claim."""
    version = text_pin("ai-python/requirements.txt", rf"(?m)^{package}==(\S+)")
    claim = pytest.mark.proves(package, version, FEATURE, RESULT)
    return pytest.param((application, kind), costs, marks=claim, id=package)


def costs_of(ready: Facts, sql: Any, trace_id: str) -> dict[str, tuple[int, int, int]]:
    """What the cookbook's query says of one trace."""
    assert CHANNEL in COSTS
    query = COSTS.replace(CHANNEL, f"channel_id = {ready['channel']} AND trace_id = '{trace_id}'")
    found = sql.rows(query)
    assert len({row["gen_ai_model"] for row in found}) == len(found), "one model has one provider"
    return {row["gen_ai_model"]: (row["calls"], row["input_tokens"], row["output_tokens"]) for row in found}


@pytest.mark.parametrize(("words", "costs"), [python_case(*one) for one in PYTHON])
def test_tokens_are_counted_once(
    ready: Any, sql: Any, drained: Any, words: tuple[str, str], costs: dict[str, Any]
) -> None:
    """OpenInference and openllmetry around OpenAI's client, langchain and openai-agents."""
    python, trace_id = python_interpreter("ai-python"), uuid4().hex
    program = PROGRAMS / "ai-python" / "ask.py"
    facts_of([python, program, *words, trace_id], otel_environment(ready, "clerk"))
    drained()
    assert costs_of(ready, sql, trace_id) == costs


@pytest.fixture
def model() -> Iterator[str]:
    """The address of the stub."""
    command = [python_interpreter("ai-python"), PROGRAMS / "ai-python" / "model.py"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.stdin.close()


@pytest.mark.proves("ai (Vercel)", npm_pin("ai-vercel", "ai"), FEATURE, RESULT)
def test_tokens_of_vercels_sdk_are_counted_once(ready: Any, sql: Any, drained: Any, model: str) -> None:
    """`ai.generateText` has the sum of its two `doGenerate`; `ai.embed` has what its `doEmbed` has."""
    project, trace_id = npm_project("ai-vercel"), uuid4().hex
    said = facts_of([require_node(), project / "ask.mjs", model, trace_id], otel_environment(ready, "clerk"), project)
    assert said["text"] == "Three apples are left."
    drained()
    assert costs_of(ready, sql, trace_id) == VERCEL
