"""Asks a model as applications do: with a tool, twice. Arguments: the application, its instrumentation, id of a trace.

What is sent goes where OTEL_* variables say; the model is a stub on this machine.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable

import model
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

APPLICATION, KIND, TRACE_ID = sys.argv[1:]
QUESTION = "How many apples are left?"
INSTRUMENTORS = {
    ("openai", "openinference"): "openinference.instrumentation.openai:OpenAIInstrumentor",
    ("langchain", "openinference"): "openinference.instrumentation.langchain:LangChainInstrumentor",
    ("langchain", "openllmetry"): "opentelemetry.instrumentation.langchain:LangchainInstrumentor",
    ("agents", "openinference"): "openinference.instrumentation.openai_agents:OpenAIAgentsInstrumentor",
    ("agents", "openllmetry"): "opentelemetry.instrumentation.openai_agents:OpenAIAgentsInstrumentor",
}


def stock(sku: str) -> str:
    """How many pieces of an article are left."""
    return f"3 of {sku}"


def ask_openai() -> None:
    """OpenAI's client, without a framework: a chat that wants a tool, its answer, a response and an embedding."""
    from openai import OpenAI

    client = OpenAI(max_retries=0)
    tool = {"type": "function", "function": {"name": "stock", "parameters": {"type": "object", "properties": {}}}}
    question = {"role": "user", "content": QUESTION}
    wants = client.chat.completions.create(model="gpt-4o-mini", messages=[question], tools=[tool]).choices[0].message
    result = {"role": "tool", "tool_call_id": "call_1", "content": stock("A-1")}
    client.chat.completions.create(model="gpt-4o-mini", messages=[question, wants, result], tools=[tool])
    client.responses.create(model="gpt-4o-mini", input=[question])
    client.embeddings.create(model="text-embedding-3-small", input="apples", encoding_format="float")


def ask_langchain() -> None:
    """An agent of langchain."""
    from langchain.agents import create_agent
    from langchain_openai import ChatOpenAI

    agent = create_agent(ChatOpenAI(model="gpt-4o-mini", max_retries=0), tools=[stock])
    agent.invoke({"messages": [{"role": "user", "content": QUESTION}]})


def ask_agents() -> None:
    """An agent of openai-agents."""
    from agents import Agent, Runner, function_tool, set_default_openai_client
    from openai import AsyncOpenAI

    # Without a key of its own the SDK does not try to send traces to OpenAI.
    set_default_openai_client(AsyncOpenAI(api_key=os.environ.pop("OPENAI_API_KEY")), use_for_tracing=False)
    agent = Agent(name="clerk", model="gpt-4o-mini", tools=[function_tool(stock)])
    Runner.run_sync(agent, QUESTION)


APPLICATIONS: dict[str, Callable[[], None]] = {
    "openai": ask_openai,
    "langchain": ask_langchain,
    "agents": ask_agents,
}


def main() -> None:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    module, _, name = INSTRUMENTORS[APPLICATION, KIND].partition(":")
    getattr(importlib.import_module(module), name)().instrument(tracer_provider=provider)
    parent = NonRecordingSpan(SpanContext(int(TRACE_ID, 16), 0xA, True, TraceFlags(1)))
    with model.running() as address, trace.use_span(parent):
        os.environ |= {"OPENAI_BASE_URL": address, "OPENAI_API_KEY": "none"}
        APPLICATIONS[APPLICATION]()
    provider.shutdown()
    print(json.dumps({"done": APPLICATION}))


main()
