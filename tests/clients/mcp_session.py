"""A session with an MCP server over its standard input and output: what an assistant does with it. No tests here."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_HELLO = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "tests", "version": "1"},
}


class McpSession:
    """One process. A line is a message of JSON-RPC."""

    def __init__(self, command: Sequence[str | Path], **settings: str) -> None:
        self._process = subprocess.Popen(
            [*map(str, command)],
            env=os.environ | settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._number = 0

    def __enter__(self) -> Self:
        self._ask("initialize", _HELLO)
        self._send({"method": "notifications/initialized"})
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()

    def tools(self) -> set[str]:
        """The names of the tools that it offers."""
        return {tool["name"] for tool in self._ask("tools/list", {})["tools"]}

    def call(self, name: str, /, **arguments: Any) -> str:
        """What a tool answers, as text; a tool that fails fails the test."""
        answer = self._ask("tools/call", {"name": name, "arguments": arguments})
        text = "\n".join(part.get("text", "") for part in answer["content"])
        assert not answer.get("isError"), f"{name}: {text}"
        return text

    def _ask(self, method: str, parameters: dict[str, Any]) -> Any:
        self._number += 1
        self._send({"id": self._number, "method": method, "params": parameters})
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = json.loads(line)
            if message.get("id") == self._number:
                assert "result" in message, message
                return message["result"]
        raise AssertionError(f"the MCP server ended before it answered {method}")

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self._process.stdin.flush()
