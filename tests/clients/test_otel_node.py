"""@opentelemetry/sdk-node with its protobuf and its JSON exporters: the same spans and logs make the same columns."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import pytest

from tests.clients.otel_processes import Facts, facts_of
from tests.clients.sentry_clients import npm_pin
from tests.clients.toolchains import npm_project, require_node

pytestmark = pytest.mark.clients

# What says when and how a record came; all else has to be equal.
ODD = "odd numbers"
OF_THE_DELIVERY = "event_id, trace_id, received_at, observed_at, payload, version, source_seq"


def send(ready: Facts, kind: str, start_ms: int) -> str:
    """Runs the program with exporters of one kind; returns the id of the trace it made."""
    project, trace_id = npm_project("otel-node"), uuid4().hex
    address = (ready["url"], ready["api_key"], str(ready["channel"]))
    facts_of([require_node(), project / "send.mjs", kind, *address, trace_id, str(start_ms)], cwd=project)
    return trace_id


def proves(feature: str, result: str) -> pytest.MarkDecorator:
    """A claim for the SDK of Node."""
    version = npm_pin("otel-node", "@opentelemetry/sdk-node")
    return pytest.mark.proves("@opentelemetry/sdk-node", version, feature, result)


@pytest.fixture(scope="module")
def sent() -> Any:
    """Sends with both exporters, once; returns the two trace ids."""
    made: dict[str, str] = {}

    def both(ready: Facts) -> dict[str, str]:
        start_ms = time.time_ns() // 1_000_000
        return made or made.update({kind: send(ready, kind, start_ms) for kind in ("proto", "json")}) or made

    return both


@proves("the same spans and logs in protobuf and in JSON, gzip", "equal rows")
def test_protobuf_and_json_make_the_same_columns(ready: Any, sql: Any, sent: Any) -> None:
    """Every column of spans and of the linked log, but for what differs between two deliveries of anything."""
    query = f"SELECT * EXCEPT ({OF_THE_DELIVERY}) FROM events WHERE trace_id = '%s' AND name != '{ODD}'"
    proto, json = (sql.wait(f"{query % trace_id} ORDER BY item_type, span_id", 3) for trace_id in sent(ready).values())
    differing = [
        {name: (one[name], other[name]) for name in one if one[name] != other[name]}
        for one, other in zip(proto, json, strict=True)
    ]
    assert differing == [{}, {}, {}]
    assert [row["item_type"] for row in proto] == ["otlp_log", "otlp_span", "otlp_span"]


@proves("spans with an exception and a link", "a row each")
def test_spans_of_node_become_rows(ready: Any, sql: Any, sent: Any) -> None:
    """Times of JavaScript dates, numbers of both kinds, status, exception and link arrive as they were set."""
    query = "SELECT * FROM events WHERE item_type = 'otlp_span' AND trace_id = '%s' ORDER BY span_id"
    for trace_id in sent(ready).values():
        root, child, _odd = sql.wait(query % trace_id, 3)
        assert (root["name"], root["span_kind"], child["parent_span_id"]) == ("POST /pay", "server", root["span_id"])
        assert (root["duration_ns"], child["duration_ns"]) == (9_000_000, 3_000_000)
        assert (root["http_method"], root["http_status_code"], root["http_route"]) == ("POST", 502, "/pay")
        assert (root["service_name"], root["release"], root["user_id"]) == ("till-js", "4.5.6", "u-7")
        assert (root["attributes_int"]["whole"], root["attributes_double"]["ratio"]) == (3, 0.25)
        assert root["attributes_bool"] == {"cached": False}
        assert root["attributes"]["tags"] == '["a","b"]'
        assert "ab" * 16 in root["span_links"]
        assert (child["status"], child["status_message"], child["db_system"]) == ("error", "refused", "postgresql")
        assert (child["exception_type"], child["exception_message"]) == ("TypeError", "card is not a function")


@proves("NaN as an attribute in JSON", "kept as empty, named in `repairs`")
def test_numbers_that_json_cannot_say_are_named(ready: Any, sql: Any, sent: Any) -> None:
    """NaN survives in protobuf; JSON.stringify makes it null, which the row's repairs tell. 1e21 survives in both."""
    query = f"SELECT attributes, repairs FROM events WHERE name = '{ODD}' AND trace_id = '%s'"
    proto, json = (sql.wait(query % trace_id, 1)[0] for trace_id in sent(ready).values())
    assert [float(row["attributes"]["huge"]) for row in (proto, json)] == [1e21, 1e21]
    assert (proto["attributes"]["missing"], json["attributes"]["missing"]) == ("nan", "")
    assert "double_null" in json["repairs"]
    assert "double_null" not in proto["repairs"]


@proves("logs, one within a span", "a row each, linked to the span")
def test_logs_of_node_become_rows(ready: Any, sql: Any, sent: Any) -> None:
    """Body, severity, typed attributes and event name; the one written inside a span is linked to it."""
    scope = "item_type = 'otlp_log' AND scope_name = 'till.pay'"
    for trace_id in sent(ready).values():
        (refused,) = sql.wait(f"SELECT * FROM events WHERE {scope} AND trace_id = '{trace_id}'", 1)
        assert (refused["body"], refused["severity_number"]) == ("payment refused \U0001f4b3", 17)
        assert refused["span_id"] == f"{1:016x}"
        assert refused["attributes"] == {"sku": "A-1", "left": "3", "price": "2.5", "gift": "true"}
    done = sql.wait(f"SELECT * EXCEPT ({OF_THE_DELIVERY}) FROM events WHERE {scope} AND trace_id = ''", 2)
    assert done[0] == done[1]
    assert (done[0]["name"], done[0]["body"]) == ("pay.done", '{"items":[1,"two",{"three":3.5}]}')
