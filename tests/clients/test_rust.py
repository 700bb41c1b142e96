"""Rust: a crash of a program under Sentry's SDK with its minidump feature, and OpenTelemetry's SDK over HTTP.

What else Sentry's SDK for Rust sends, and the pins of both, are in test_sentry_sdks.py and programs/rust-shops.
"""

from __future__ import annotations

import base64
import os
import signal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.clients.otel_processes import Facts, facts_of, otel_environment
from tests.clients.sentry_clients import RUST, run, text_pin
from tests.clients.toolchains import rust_program

pytestmark = pytest.mark.clients

OTLP = text_pin("rust-shops/Cargo.toml", r'dependencies.opentelemetry-otlp\]\s*version = "=([^"]+)')


@pytest.mark.proves(RUST.name, RUST.version, "crash: event and minidump in one envelope", "one row, `agent.error`")
def test_a_crash_of_rust_is_one_row(ready: Any, sql: Any, tmp_path: Path, drained: Any) -> None:
    """The reporter's event says who and where, the dump says what: both are in the one row."""
    release = f"shop@1.0.0+{uuid4().hex}"
    dsn = ready["dsn"].replace(ready["public_token"], ready["api_key"])
    program = rust_program("rust-shops", "sentry-rust")
    run([program, dsn, release, "crash"], exit_code=-signal.SIGSEGV, CRASHES=str(tmp_path))
    query = f"SELECT * FROM events WHERE release = '{release}'"
    sql.wait(query, 1)
    drained()
    (row,) = sql.rows(query)
    assert (row["event_type"], row["item_type"], row["environment"]) == ("agent.error", "minidump", "staging")
    assert (row["severity_number"], row["host_name"]) == (21, "till-7")
    assert row["exception_type"] == "SIGSEGV / SEGV_MAPERR"
    assert os.fspath(program) in row["exception_stacktrace"]
    assert base64.b64decode(row["body"]).startswith(b"MDMP")
    assert (row["user_id"], row["user_email"], row["attributes"]["till"]) == ("u-42", "ada@example.com", "seven")
    assert "added 3 apples" in row["payload"]
    assert (row["sdk_name"], row["sdk_version"]) == (RUST.sdk, RUST.version)


def proves(feature: str, result: str) -> pytest.MarkDecorator:
    """A claim for OpenTelemetry's exporter."""
    return pytest.mark.proves("opentelemetry-otlp (Rust)", OTLP, feature, result)


@pytest.fixture(scope="module")
def shop(system: Any) -> Facts:
    """What one run of the program says it sent, with gzip."""
    env = otel_environment(system.ready, "till-rust", OTEL_EXPORTER_OTLP_COMPRESSION="gzip")
    return facts_of([rust_program("rust-shops", "otel-rust")], env)


@proves("spans with an exception, protobuf with gzip", "a row each")
def test_spans_of_rust_become_rows(sql: Any, shop: Facts) -> None:
    """HTTP columns, typed attributes, the failed query and its error."""
    rows = sql.wait(f"SELECT * FROM events WHERE item_type = 'otlp_span' AND trace_id = '{shop['trace_id']}'", 2)
    spans = {row["span_id"]: row for row in rows}
    root, query = spans[shop["root"]], spans[shop["query"]]
    assert (root["name"], root["span_kind"], root["parent_span_id"]) == ("POST /pay", "server", "")
    assert (root["http_method"], root["http_route"], root["http_status_code"]) == ("POST", "/pay", 502)
    assert (root["service_name"], root["attributes"]["tags"]) == ("till-rust", '["a","b"]')
    assert (root["attributes_double"]["ratio"], root["attributes_bool"]["cached"]) == (0.25, False)
    assert (query["parent_span_id"], query["db_system"]) == (root["span_id"], "postgresql")
    assert (query["status"], query["status_message"]) == ("error", "refused")
    assert query["exception_message"] == "no payment of 3"
    assert not any(row["repairs"] for row in rows)


@proves("log within a span, with an event name", "one row, linked to the span")
def test_a_log_of_rust_becomes_a_row(sql: Any, shop: Facts) -> None:
    """Body, severity, event name, typed attributes, and the span it was written in."""
    query = f"SELECT * FROM events WHERE item_type = 'otlp_log' AND trace_id = '{shop['trace_id']}'"
    (row,) = sql.wait(query, 1)
    assert (row["body"], row["severity_number"], row["name"]) == ("stock is low: 2", 13, "stock.low")
    assert (row["span_id"], row["service_name"]) == (shop["root"], "till-rust")
    assert (row["attributes"]["sku"], row["attributes_int"]["left"]) == ("A-1", 2)
    assert not row["repairs"]
