"""What the real sentry-python SDK sends today becomes full rows."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from schemas.envelope import body as envelope
from schemas.headers import Origin
from workers.normalise.sentry import event, log, span, transaction

MODULES: dict[str, Any] = {"event": event, "transaction": transaction, "span": span, "log": log}
ORIGIN = Origin("acme", 42, "k1", "production", True, 0, sender_ip="203.0.113.9", origin_id="raw-1", origin_seq=7)

Rows = dict[str, list[dict[str, Any]]]


class Captured(Transport):
    """Keeps serialised envelopes instead of sending them."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[bytes] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.bodies.append(envelope.serialize())


@pytest.fixture
def record() -> Iterator[Callable[..., Rows]]:
    """Run a function with the SDK set up; answer the rows of all it sent, by item type."""

    def run(work: Callable[[], None], **options: Any) -> Rows:
        transport = Captured()
        sentry_sdk.init(
            "https://ak_key@ingest.example.com/42",
            transport=transport,
            release="shop@4.2.0",
            environment="staging",
            server_name="web-1",
            traces_sample_rate=1.0,
            default_integrations=False,
            **options,
        )
        with sentry_sdk.isolation_scope():
            work()
        sentry_sdk.flush()
        return rows_of(transport.bodies)

    yield run
    sentry_sdk.get_client().close()
    sentry_sdk.init()


def rows_of(bodies: list[bytes]) -> Rows:
    """Each item of each envelope through its own normaliser, as unpack would hand it over."""
    found: Rows = {}
    received = replace(ORIGIN, received_at_ns=time.time_ns())
    for body in bodies:
        header, items = envelope.read(body)
        for item in items:
            single = envelope.write_single(header.raw, item.header, item.payload)
            module = MODULES[item.type]
            verdict = module.normalise(replace(received, item_index=item.index), single)
            assert (verdict.rejections, verdict.warning) == ([], "")
            found.setdefault(item.type, []).extend(dict(zip(module.COLUMNS, row, strict=True)) for row in verdict.rows)
    return found


def fail() -> None:
    try:
        int("seven")
    except ValueError as error:
        raise RuntimeError("cart is broken") from error


def capture_failure() -> None:
    sentry_sdk.set_user({"id": 5, "email": "ann@example.com"})
    sentry_sdk.set_tag("shard", 7)
    sentry_sdk.set_extra("cart", {"items": 3})
    sentry_sdk.add_breadcrumb(category="cart", message="opened")
    try:
        fail()
    except RuntimeError:
        sentry_sdk.capture_exception()


def test_exception(record: Callable[..., Rows]) -> None:
    """Name, chain, trace, user, tags, extra, sender: all where a query looks for them."""
    (found,) = record(capture_failure)["event"]
    assert (found["event_type"], found["name"]) == ("agent.error", "RuntimeError: cart is broken")
    assert found["exception_stacktrace"].startswith("ValueError: invalid literal for int()")
    assert found["exception_stacktrace"].endswith(" in fail")
    assert (found["environment"], found["user_id"], found["severity_text"]) == ("staging", "5", "error")
    assert found["resource"]["service.version"] == "shop@4.2.0"
    assert found["resource"]["host.name"] == "web-1"
    assert found["resource"]["telemetry.sdk.name"] == "sentry.python"
    assert found["resource"]["telemetry.sdk.language"] == "python"
    assert found["attributes_string"]["user.email"] == "ann@example.com"
    assert found["attributes_string"]["shard"] == "7"
    assert found["attributes_string"]["extra.cart"] == '{"items":3}'
    assert found["attributes_int"]["breadcrumbs.count"] == 1
    assert len(found["trace_id"]) == 32
    assert found["repairs"] == []


def test_equal_exceptions_share_a_group(record: Callable[..., Rows]) -> None:
    """Two captures of one error GROUP BY to one."""

    def twice() -> None:
        for _ in range(2):
            capture_failure()

    found = record(twice, integrations=[])["event"]
    assert len({row["event_id"] for row in found}) == 2
    assert len({row["group_hash"] for row in found}) == 1


def test_message_with_a_stack(record: Callable[..., Rows]) -> None:
    """A message is a log; its attached stack is readable, without an exception being made up."""

    def work() -> None:
        sentry_sdk.capture_message("hello", level="warning")

    (found,) = record(work, attach_stacktrace=True)["event"]
    assert (found["event_type"], found["body"], found["severity_number"]) == ("app.log", "hello", 13)
    assert " in work" in found["exception_stacktrace"]
    assert found["exception_type"] == ""


def test_transaction_with_child_spans(record: Callable[..., Rows]) -> None:
    """The tree hangs together by ids and its times nest."""

    def work() -> None:
        with (
            sentry_sdk.start_transaction(name="checkout", op="task"),
            sentry_sdk.start_span(op="db", name="SELECT 1") as query,
        ):
            query.set_data("rows", 3)

    root, query = record(work)["transaction"]
    assert (root["name"], root["span_op"], root["item_type"]) == ("checkout", "task", "transaction")
    assert (query["name"], query["span_op"], query["item_type"]) == ("SELECT 1", "db", "span")
    assert (query["trace_id"], query["parent_span_id"]) == (root["trace_id"], root["span_id"])
    assert query["timestamp"] >= root["timestamp"]
    assert query["duration_ns"] <= root["duration_ns"]
    assert query["attributes_int"]["rows"] == 3
    assert root["repairs"] == query["repairs"] == []


def test_structured_logs(record: Callable[..., Rows]) -> None:
    """The SDK's own logger and the standard library's."""

    def work() -> None:
        sentry_sdk.logger.warning("cart has {n} items", n=3)
        sentry_sdk.logger.fatal("over")

    warning, fatal = record(work, enable_logs=True)["log"]
    assert (warning["body"], warning["severity_number"], warning["severity_text"]) == ("cart has 3 items", 13, "warn")
    assert warning["attributes_string"]["sentry.message.template"] == "cart has {n} items"
    assert warning["attributes_int"]["sentry.message.parameter.n"] == 3
    assert (warning["environment"], warning["resource"]["host.name"]) == ("staging", "web-1")
    assert fatal["severity_number"] == 21
    assert warning["repairs"] == fatal["repairs"] == []


def test_logging_integration_renders_params(record: Callable[..., Rows]) -> None:
    """A logged error is an event whose template groups and whose text reads."""
    from sentry_sdk.integrations.logging import LoggingIntegration

    def work() -> None:
        logging.getLogger("shop.cart").error("bad %s", "thing")

    (found,) = record(work, integrations=[LoggingIntegration()])["event"]
    assert (found["body"], found["scope_name"]) == ("bad thing", "shop.cart")
    assert found["attributes_string"]["sentry.message.template"] == "bad %s"


def test_streamed_spans(record: Callable[..., Rows]) -> None:
    """The streaming mode sends v2 containers and no transaction."""
    if not hasattr(sentry_sdk, "traces"):
        pytest.skip("this sentry-sdk has no span streaming")

    def work() -> None:
        with (
            sentry_sdk.traces.start_span(name="root"),
            sentry_sdk.traces.start_span(name="kid", attributes={"a": 1, "b": 1.5, "c": True, "d": ["x"]}),
        ):
            pass

    found = record(work, _experiments={"trace_lifecycle": "stream"})
    assert "transaction" not in found
    rows = {row["name"]: row for row in found["span"]}
    kid, root = rows["kid"], rows["root"]
    assert (kid["trace_id"], kid["parent_span_id"]) == (root["trace_id"], root["span_id"])
    assert (kid["attributes_int"]["a"], kid["attributes_double"]["b"], kid["attributes_bool"]["c"]) == (1, 1.5, True)
    assert kid["attributes_string"]["d"] == '["x"]'
    assert root["attributes_bool"]["sentry.is_segment"] is True
    assert root["resource"]["service.version"] == "shop@4.2.0"
    assert (root["environment"], root["status"], root["repairs"]) == ("staging", "ok", [])
