"""Asks a model as an application does, with one of two instrumentations; the model is a stub on this machine.

Arguments: traceloop (openllmetry) or contrib (OpenTelemetry's own), and the id of the trace to be made.
"""

from __future__ import annotations

import importlib
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from openai import OpenAI
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

KIND, TRACE_ID = sys.argv[1:3]
PACKAGES = {"traceloop": "opentelemetry.instrumentation.openai", "contrib": "opentelemetry.instrumentation.openai_v2"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "stock", "arguments": '{"sku":"A-1"}'}}
USAGE = {"prompt_tokens": 21, "completion_tokens": 9, "total_tokens": 30}
MESSAGE = {"role": "assistant", "content": "Three apples are left.", "tool_calls": [CALL]}
CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "tool_calls", "logprobs": None}],
    "usage": USAGE,
}
VECTORS = {
    "object": "list",
    "model": "text-embedding-3-small",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5]}],
    "usage": {"prompt_tokens": 4, "total_tokens": 4},
}
ANSWERS = {"/v1/chat/completions": CHAT, "/v1/embeddings": VECTORS}


class Model(BaseHTTPRequestHandler):
    """Answers every question the same."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = json.dumps(ANSWERS[self.path]).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_parts: object) -> None:
        """Nothing."""


def ask(client: OpenAI) -> None:
    """One chat with a tool, and one embedding."""
    tool = {"type": "function", "function": {"name": "stock", "parameters": {"type": "object", "properties": {}}}}
    question = {"role": "user", "content": "How many apples are left?"}
    client.chat.completions.create(model="gpt-4o-mini", messages=[question], tools=[tool], max_tokens=50)
    client.embeddings.create(model="text-embedding-3-small", input="apples")


def main() -> None:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    importlib.import_module(PACKAGES[KIND]).OpenAIInstrumentor().instrument(tracer_provider=provider)
    parent = NonRecordingSpan(SpanContext(int(TRACE_ID, 16), 0xA, True, TraceFlags(1)))
    with ThreadingHTTPServer(("127.0.0.1", 0), Model) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with trace.use_span(parent):
                ask(OpenAI(api_key="none", base_url=f"http://127.0.0.1:{server.server_port}/v1", max_retries=0))
        finally:
            server.shutdown()
            thread.join()
    provider.shutdown()
    print(json.dumps({"kind": KIND}))


main()
