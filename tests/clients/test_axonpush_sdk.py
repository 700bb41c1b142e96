"""The axonpush SDK from PyPI, its three generations: number ids, text ids, and the one that reads 200 only."""

from __future__ import annotations

import json
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

from schemas import native_event
from tests.clients.toolchains import PROGRAMS, python_interpreter

pytestmark = pytest.mark.clients

CLIENT = "axonpush (Python)"
GENERATIONS = {"axonpush-9": "0.0.9", "axonpush-17": "0.0.17", "axonpush-19": "0.0.19"}
TRACE = "9b9a0fdc03ea4bc1aa343f0b325b74e4"
TIMEOUT_S = 120


class Sent:
    """What one SDK sent and got back, and the rows that came of it."""

    def __init__(self, client: str, facts: dict[str, Any], name: str, sql: Any) -> None:
        self.version = GENERATIONS[client]
        self.facts = facts
        self._name = name
        self._sql = sql

    def row(self, what: str) -> dict[str, Any]:
        """The one row of what was published under this name."""
        (found,) = self._sql.wait(f"SELECT * FROM events WHERE name = '{self._name}.{what}'", 1)
        return dict(found)

    def id_of(self, row: dict[str, Any]) -> str:
        """The row's id as this SDK gives it to its caller."""
        text = str(row["event_id"])
        return str(native_event.id_number(uuid.UUID(text).int)) if self.version == "0.0.9" else text

    def error(self, what: str) -> dict[str, Any]:
        return dict(self.facts["errors"][what])


_SENT: dict[str, Sent] = {}


def proven(feature: str, result: str) -> pytest.MarkDecorator:
    """The test for each SDK, each with its line in docs/clients.md."""
    return pytest.mark.parametrize(
        "sent",
        [
            pytest.param(client, marks=pytest.mark.proves(CLIENT, version, feature, result))
            for client, version in GENERATIONS.items()
        ],
        indirect=True,
        ids=list(GENERATIONS.values()),
    )


@pytest.fixture
def sent(request: pytest.FixtureRequest, ready: Any, sql: Any, command: Any, tmp_path: Path) -> Sent:
    """What the SDK of the parameter sent; each runs once, in an interpreter that holds nothing but it."""
    client = request.param
    if client not in _SENT:
        name = uuid.uuid4().hex
        told = {
            "url": ready["url"],
            "key": ready["api_key"],
            "public_token": ready["public_token"],
            "channel": ready["channel"],
            "foreign_channel": command("channels", "create", "--organisation", "elsewhere", "--new-organisation")["id"],
            "limited_key": command("keys", "mint", "--environment", "production", "--quota", "1/min")["key"],
            "trace_id": TRACE,
            "name": name,
        }
        program = [str(python_interpreter(client)), str(PROGRAMS / "axonpush_events.py"), json.dumps(told)]
        done = subprocess.run(
            program, capture_output=True, text=True, check=False, timeout=TIMEOUT_S, cwd=tmp_path, env={}
        )
        assert done.returncode == 0, done.stdout + done.stderr
        _SENT[client] = Sent(client, json.loads(done.stdout.splitlines()[-1]), name, sql)
    return _SENT[client]


@proven("events", "row with name, type, agent, tool, trace, environment and metadata")
def test_a_published_event_becomes_a_row(sent: Sent, ready: Any) -> None:
    """The id that `publish` returns is the row's; agent, tool, trace and metadata stand in columns of their own."""
    row = sent.row("published")
    assert sent.facts["version"] == sent.version
    assert sent.facts["published"] == sent.id_of(row)
    assert (row["event_type"], row["item_type"]) == ("agent.tool_call.start", "native")
    assert (row["channel_id"], row["environment"], row["trace_id"]) == (ready["channel"], "staging", TRACE)
    assert (row["gen_ai_agent"], row["gen_ai_tool"]) == ("researcher", "search")
    assert row["metadata"] == {"framework": "own", "step": {"n": 3}}
    assert json.loads(row["payload"])["payload"]["tool_name"] == "search"


@proven("events, asynchronous client", "the same row")
def test_the_asynchronous_client_works_too(sent: Sent, ready: Any) -> None:
    """Without an environment of its own the key's counts."""
    row = sent.row("async")
    assert (sent.facts["async"], row["environment"]) == (sent.id_of(row), ready["environment"])


@proven("events with a public token", "row in the token's environment")
def test_a_public_token_publishes(sent: Sent, ready: Any) -> None:
    """In whichever header the SDK puts it."""
    row = sent.row("public")
    assert (sent.facts["public"], row["environment"]) == (sent.id_of(row), ready["environment"])


@proven("events with `sync`", "answer after the insert")
def test_sync_is_answered_with_the_row_s_id(sent: Sent) -> None:
    """The answer of a sync request is one the SDK reads as any other."""
    assert sent.facts["stored"] == sent.id_of(sent.row("stored"))


@proven("one event twice under one key", "one row, the first answer again")
def test_a_repeat_is_one_row(sent: Sent) -> None:
    """By the header, or by the newest SDK's own parameter, though it draws new span ids for the second."""
    assert sent.facts["again"] == [sent.id_of(sent.row("again"))] * 2


@proven("log records by its logging handler", "row with severity, body, attributes and service")
def test_a_log_record_becomes_a_log_row(sent: Sent) -> None:
    """Severity, body, attributes, service and the time of the record."""
    row = sent.row("logged")
    assert (row["event_type"], row["severity_number"], row["body"]) == ("app.log", 13, "stock is low: 2 left")
    assert (row["service_name"], row["attributes"]["till"]) == ("shop", "seven")
    assert row["trace_id"]
    assert row["timestamp"] <= row["received_at"]


@proven("refused events", "its own exception for 400, 401, 403, 404, 413, 429")
def test_refusals_are_the_exceptions_of_the_sdk(sent: Sent) -> None:
    """Each with the reason as its text."""
    kinds = {what: sent.error(what)["kind"] for what in sent.facts["errors"]}
    assert kinds == {
        "key": "AuthenticationError",
        "foreign": "ForbiddenError",
        "missing": "NotFoundError",
        "invalid": "ValidationError",
        "large": "AxonPushError",
        "away": "APIConnectionError",
        "limited": "RateLimitError",
    }
    assert (sent.error("large")["status"], sent.error("limited")["retry_after"]) == (413, 60.0)
    assert "axonpush keys mint" in sent.error("key")["text"]
    assert "identifier: expected text" in sent.error("invalid")["text"]
