"""A stub of a model on this machine, as OpenAI-compatible servers answer. Every answer has its own count of tokens.

By itself it serves until its input ends, and prints its port: for clients in other languages.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "gpt-4o-mini-2024-07-18"
# First the model asks for a tool, then it answers.
ASKS, ANSWERS, EMBEDS = (21, 9), (34, 12), 4
ARGUMENTS = '{"sku":"A-1"}'
TEXT = "Three apples are left."


def _chat(asked: dict[str, Any]) -> dict[str, Any]:
    wants_tool = bool(asked.get("tools")) and asked["messages"][-1]["role"] != "tool"
    prompt, completion = ASKS if wants_tool else ANSWERS
    call = {"id": "call_1", "type": "function", "function": {"name": "stock", "arguments": ARGUMENTS}}
    message = {"content": None, "tool_calls": [call]} if wants_tool else {"content": TEXT}
    reason = "tool_calls" if wants_tool else "stop"
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": MODEL,
        "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
    }


def _response(asked: dict[str, Any]) -> dict[str, Any]:
    has_result = any(one.get("type") == "function_call_output" for one in asked["input"] if isinstance(one, dict))
    wants_tool = bool(asked.get("tools")) and not has_result
    prompt, completion = ASKS if wants_tool else ANSWERS
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "stock", "arguments": ARGUMENTS}
    text = {"type": "output_text", "text": TEXT, "annotations": []}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "content": [text]}
    usage = {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + completion,
    }
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": "completed",
        "model": MODEL,
        "output": [{"status": "completed", **(call if wants_tool else message)}],
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage,
    }


def _embedding(_asked: dict[str, Any]) -> dict[str, Any]:
    vector = {"object": "embedding", "index": 0, "embedding": [0.25, -0.5]}
    usage = {"prompt_tokens": EMBEDS, "total_tokens": EMBEDS}
    return {"object": "list", "model": "text-embedding-3-small", "data": [vector], "usage": usage}


ROUTES = {"/v1/chat/completions": _chat, "/v1/responses": _response, "/v1/embeddings": _embedding}


class Model(BaseHTTPRequestHandler):
    """Answers what clients of OpenAI ask."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        body = json.dumps(ROUTES[self.path](asked)).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_parts: object) -> None:
        """Nothing."""


@contextlib.contextmanager
def running() -> Iterator[str]:
    """The address of a model for as long as the block."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Model) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    with running() as address:
        print(address, flush=True)
        sys.stdin.read()
