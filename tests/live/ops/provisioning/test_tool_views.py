"""Views for other tools and for frequent questions, made by `migrate` in a database that already has rows."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from ops.cli.servers import open_clickhouse
from ops.provisioning import tables
from ops.runtime.settings import Settings
from tests.servers import Server

pytestmark = pytest.mark.live

FILE = "_tools.sql"
MAP = "Map(LowCardinality(String), String)"
LOW = "LowCardinality(String)"
# As the exporter's own tables have them, but with UTC: DateTime64(9), DateTime.
TIME = "DateTime64(9, 'UTC')"
SPANS = [
    *(("Timestamp", TIME), ("TraceId", "String"), ("SpanId", "String"), ("ParentSpanId", "String")),
    *(("TraceState", "String"), ("SpanName", LOW), ("SpanKind", LOW), ("ServiceName", LOW)),
    *(("ResourceAttributes", MAP), ("ScopeName", "String"), ("ScopeVersion", "String"), ("SpanAttributes", MAP)),
    *(("Duration", "UInt64"), ("StatusCode", LOW), ("StatusMessage", "String")),
    *(("Events.Timestamp", f"Array({TIME})"), ("Events.Name", f"Array({LOW})"), ("Events.Attributes", f"Array({MAP})")),
    *(("Links.TraceId", "Array(String)"), ("Links.SpanId", "Array(String)"), ("Links.TraceState", "Array(String)")),
    ("Links.Attributes", f"Array({MAP})"),
]
LOGS = [
    *(("Timestamp", TIME), ("TimestampTime", "DateTime('UTC')"), ("TraceId", "String"), ("SpanId", "String")),
    *(("TraceFlags", "UInt8"), ("SeverityText", LOW), ("SeverityNumber", "UInt8"), ("ServiceName", LOW)),
    *(("Body", "String"), ("ResourceSchemaUrl", LOW), ("ResourceAttributes", MAP), ("ScopeSchemaUrl", LOW)),
    *(("ScopeName", "String"), ("ScopeVersion", LOW), ("ScopeAttributes", MAP), ("LogAttributes", MAP)),
    ("EventName", "String"),
]
BOUNDS = [("TraceId", "String"), ("Start", "DateTime('UTC')"), ("End", "DateTime('UTC')")]

TRACE, COSTLY = "a" * 32, "c" * 32
EVENTS = (
    '[{"timeUnixNano":1767355200000000001,"name":"exception",'
    '"attributes":{"exception.type":"KeyError","tries":3,"path":["a"]}}]'
)
LINKED = "b" * 32
LINKS = json.dumps([{"traceId": LINKED, "spanId": "b" * 16, "attributes": {"why": "batch"}}])


def row(number: int, event_type: str, item_type: str, at: str, **columns: Any) -> dict[str, Any]:
    """A row of event_rows with columns that a test does not look at."""
    base = {"organisation": "default", "channel_id": 7, "event_id": str(uuid.UUID(int=number)), "version": 1}
    times = {"timestamp": at, "received_at": at, "gen_ai_model": ""}
    return {**base, **times, "event_type": event_type, "item_type": item_type, **columns}


def span(number: int, at: str, parent: int = 0, **columns: Any) -> dict[str, Any]:
    """A span of OpenTelemetry; its id is its number."""
    ids = {"span_id": f"{number:016x}", "parent_span_id": f"{parent:016x}" if parent else ""}
    return row(number, "app.span", "otlp_span", at, **ids, **columns)


def call(number: int, parent: int, tokens: int, model: str = "gpt-4o-2025-01-31", **columns: Any) -> dict[str, Any]:
    """A span of a model call."""
    fields = {"gen_ai_operation": "chat", "gen_ai_provider": "openai", "gen_ai_model": model, "trace_id": COSTLY}
    counts = {"gen_ai_input_tokens": tokens, "gen_ai_output_tokens": 1}
    return span(number, "2026-01-04 10:00:00", parent, **fields | counts | columns)


ROWS = [
    span(
        *(1, "2026-01-02 12:00:00.000000001"),
        **{"trace_id": TRACE, "name": "GET /cart", "span_kind": "server", "status": "error", "duration_ns": 2_000_000},
        **{"resource": {"service.name": "web"}, "attributes_string": {"http.route": "/cart"}},
        **{"attributes_int": {"items": 3}, "span_events": EVENTS, "span_links": LINKS, "trace_flags": 257},
    ),
    span(2, "2026-01-02 12:00:00.001", 1, trace_id=TRACE, name="SELECT", resource={"service.name": "db"}),
    row(
        *(3, "agent.error", "event", "2026-01-02 12:00:00.0015"),
        **{"trace_id": TRACE, "span_id": f"{2:016x}", "name": "CardDeclined: no money", "severity_number": 17},
        **{"exception_type": "CardDeclined", "exception_message": "no money", "attributes_string": {"plan": "gold"}},
        **{"resource": {"service.name": "web"}, "severity_text": "error"},
    ),
    row(
        *(4, "app.log", "otlp_log", "2026-01-02 12:00:00.002"),
        **{"trace_id": TRACE, "body": "paid nothing", "name": "payment.failed", "attributes_bool": {"late": True}},
    ),
    row(5, "app.log", "attachment", "2026-01-02 12:00:00.002", trace_id=TRACE, name="dump.bin", body="AAAA"),
    row(6, "agent.error", "minidump", "2026-01-02 13:00:00", name="SIGSEGV", body="TURNUA=="),
    row(7, "custom", "check_in", "2026-01-03 01:00:00", name="nightly", status="ok", duration_ns=3_000_000_000),
    row(8, "custom", "check_in", "2026-01-03 02:00:00", name="nightly", status="error", duration_ns=1_000_000_000),
    # Two libraries instrument one call: 11 is around 12, and 13 is around 15 with a request between them.
    call(11, 0, 1_000_000),
    call(12, 11, 1_000_000),
    call(13, 0, 500_000),
    span(14, "2026-01-04 10:00:00", 13, trace_id=COSTLY, name="POST"),
    call(15, 14, 2_000_000, "gpt-4o"),
    call(16, 0, 40, "unknown-model"),
    row(17, "app.log", "otlp_log", "2026-01-04 10:00:00", gen_ai_operation="chat", gen_ai_input_tokens=9),
]


@pytest.fixture(scope="module")
def client(clickhouse_server: Server) -> Iterator[Client]:
    """A database of the version before, with rows in it, that was then migrated."""
    settings = Settings(clickhouse_url=clickhouse_server.url, clickhouse_database=f"test_{uuid.uuid4().hex}")
    found = open_clickhouse(settings)
    of_views = next(one.version for one in tables.known() if one.name.endswith(FILE))
    before = [one for one in tables.known() if one.version < of_views]
    tables.apply(found, settings.clickhouse_database, before)
    fill(found)
    pending = tables.pending(
        tables.known(), tables.applied(found, settings.clickhouse_database), settings.clickhouse_database
    )
    assert pending[0].name.endswith(FILE)
    tables.apply(found, settings.clickhouse_database, pending)
    yield found
    found.command(f"DROP DATABASE {settings.clickhouse_database}")
    found.close()


def fill(client: Client) -> None:
    """ROWS three times: an older version of them, then twice the same, each in a part of its own. Then many spans."""
    old = {"name": "old", "body": "old", "status": "ok", "gen_ai_model": "old"}
    for version, change in ((1, old), (2, {}), (2, {})):
        texts = [
            json.dumps(one | {name: change[name] for name in change if one.get(name)} | {"version": version})
            for one in ROWS
        ]
        client.raw_insert("event_rows", insert_block="\n".join(texts), fmt="JSONEachRow")
    for day in (5, 6, 7):
        client.command(
            f"""INSERT INTO event_rows (organisation, channel_id, event_id, version, event_type, item_type, timestamp,
                                        received_at, trace_id, span_id, name, resource)
            SELECT 'default', if(number < 40000, 8, 9), toUUID(UUIDNumToString(murmurHash3_128(number, {day}))), 1,
                   'app.span', 'otlp_span',
                   toDateTime64('2026-01-0{day}', 9, 'UTC') + toIntervalSecond(number) AS at, at,
                   lower(hex(murmurHash3_128(intDiv(number, 10), {day}))), lower(hex(number)), 'op',
                   map('service.name', if(number % 2, 'odd', 'even'))
            FROM numbers(80000)"""
        )


def rows(client: Client, sql: str) -> list[dict[str, Any]]:
    """The rows of a query by their columns' names."""
    return list(client.query(sql).named_results())


@pytest.mark.parametrize(
    ("view", "columns"), [("otel_traces", SPANS), ("otel_logs", LOGS), ("otel_traces_trace_id_ts", BOUNDS)]
)
def test_columns_are_those_of_the_exporters_tables(client: Client, view: str, columns: list[tuple[str, str]]) -> None:
    """Names, types, order."""
    assert [found[:2] for found in client.query(f"DESCRIBE {view}").result_rows] == columns


def test_a_span_is_one_row_in_the_exporters_words(client: Client) -> None:
    """Of three stored rows the newest; kinds, states, attributes of all types, events and links."""
    found, below = rows(client, f"SELECT * FROM otel_traces WHERE TraceId = '{TRACE}' ORDER BY Timestamp")
    assert (found["SpanName"], found["SpanKind"], found["StatusCode"]) == ("GET /cart", "Server", "Error")
    assert (found["ServiceName"], found["ResourceAttributes"]) == ("web", {"service.name": "web"})
    assert found["SpanAttributes"] == {"http.route": "/cart", "items": "3"}
    assert (found["Duration"], below["ParentSpanId"]) == (2_000_000, found["SpanId"])
    assert (below["SpanKind"], below["StatusCode"]) == ("Unspecified", "Unset")
    assert found["Events.Name"] == ["exception"]
    assert found["Events.Attributes"] == [{"exception.type": "KeyError", "tries": "3", "path": '["a"]'}]
    assert found["Links.TraceId"] == [LINKED]
    assert found["Links.Attributes"] == [{"why": "batch"}]
    sql = f"SELECT toUnixTimestamp64Nano(`Events.Timestamp`[1]) FROM otel_traces WHERE TraceId = '{TRACE}' LIMIT 1"
    assert client.query(sql).result_rows == [(1767355200000000001,)]


def test_errors_and_logs_stand_in_their_trace_and_files_do_not(client: Client) -> None:
    """An error of Sentry has its exception among the attributes, and its title as text."""
    error, log = rows(client, f"SELECT * FROM otel_logs WHERE TraceId = '{TRACE}' ORDER BY Timestamp")
    assert (error["Body"], error["SeverityNumber"], error["EventName"]) == ("CardDeclined: no money", 17, "")
    assert error["LogAttributes"] == {
        "exception.type": "CardDeclined",
        "exception.message": "no money",
        "plan": "gold",
    }
    assert (error["SpanId"], error["ServiceName"]) == (f"{2:016x}", "web")
    assert (log["Body"], log["EventName"], log["LogAttributes"]) == ("paid nothing", "payment.failed", {"late": "true"})
    dumps = rows(
        client, "SELECT Body FROM otel_logs WHERE Timestamp >= '2026-01-02 12:30:00' AND TraceId = '' ORDER BY 1"
    )
    assert [dump["Body"] for dump in dumps] == ["", "SIGSEGV"]


def test_a_traces_time_holds_all_its_spans(client: Client) -> None:
    """Tools ask for it and then read this time only."""
    times = f"SELECT min(Start), max(End) FROM otel_traces_trace_id_ts WHERE TraceId = '{TRACE}'"
    assert [tuple(map(str, found)) for found in client.query(times).result_rows] == [
        ("2026-01-02 12:00:00", "2026-01-02 12:00:01")
    ]


HOUR = "Timestamp >= '2026-01-06 03:00:00' AND Timestamp < '2026-01-06 03:10:00'"


@pytest.mark.parametrize(
    ("question", "index"),
    [
        ("otel_traces WHERE TraceId = lower(hex(murmurHash3_128(4, 6)))", "index_trace_id"),
        (f"otel_traces WHERE ServiceName = 'odd' AND {HOUR}", "PrimaryKey"),
        (f"otel_logs WHERE ServiceName = 'odd' AND {HOUR}", "PrimaryKey"),
        ("otel_logs WHERE toDateTime('2026-01-06 03:00:00') <= TimestampTime", "Min-Max"),
        ("traces WHERE day = '2026-01-06'", "Min-Max"),
        ("operations WHERE day = '2026-01-06' AND channel_id = 8", "Min-Max"),
        ("services WHERE day = '2026-01-06'", "Min-Max"),
        ("model_costs WHERE day = '2026-01-04'", "Min-Max"),
    ],
)
def test_a_condition_reaches_the_index_of_the_table(client: Client, question: str, index: str) -> None:
    """Through the view: fewer granules than the table has."""
    plan = "\n".join(line for (line,) in client.query(f"EXPLAIN indexes = 1 SELECT * FROM {question}").result_rows)
    of_index = re.search(rf"(?:Name: )?{index}\b.*?Granules: (\d+)/(\d+)", plan, re.DOTALL)
    assert of_index, plan
    assert int(of_index[1]) < int(of_index[2]), plan


@pytest.mark.parametrize("number", [0, 40_000, 79_999])
@pytest.mark.parametrize("day", [5, 6, 7])
def test_a_trace_reads_its_own_granules_of_its_own_day(client: Client, number: int, day: int) -> None:
    """Whatever else is stored: the granules with its rows, one that a bloom filter takes for such, and those beside
    them, which may have rows of the same five minutes. No setting is needed: the key has a number for the day.
    """
    sql = f"SELECT timestamp FROM events WHERE trace_id = lower(hex(murmurHash3_128(toUInt64({number // 10}), {day})))"
    found = client.query(sql)
    assert len(found.result_rows) == 10
    assert int(found.summary["read_rows"]) <= 6 * 8_192


def test_doubles_in_parts_and_partitions_are_counted_once(client: Client) -> None:
    """As `events` counts them."""
    (counts,) = rows(
        client,
        "SELECT (SELECT count() FROM otel_traces) AS spans, "
        "(SELECT count() FROM events WHERE event_type = 'app.span') AS of_events, "
        "(SELECT sum(spans) FROM operations) AS of_operations, (SELECT sum(spans) FROM traces) AS of_traces, "
        "(SELECT count() FROM otel_logs) AS logs",
    )
    assert counts["spans"] == counts["of_events"] == counts["of_operations"] == counts["of_traces"] == 240_008
    assert counts["logs"] == 4


def test_a_job_is_one_row_with_its_last_run(client: Client) -> None:
    """Two runs of one monitor."""
    (found,) = rows(client, "SELECT * FROM monitors")
    assert (found["monitor"], found["runs"], found["ok_runs"], found["failed_runs"]) == ("nightly", 2, 1, 1)
    assert (found["last_status"], str(found["last_ok_at"])[:19]) == ("error", "2026-01-03 01:00:00")
    assert found["longest_ms"] == 3000.0


def test_a_trace_is_one_row_with_its_root(client: Client) -> None:
    """Spans, errors and logs of every service in it."""
    (found,) = rows(client, f"SELECT * FROM traces WHERE trace_id = '{TRACE}'")
    assert (found["root_name"], found["root_service"], found["services"]) == ("GET /cart", "web", ["db", "web"])
    assert (found["spans"], found["failed_spans"], found["errors"], found["logs"]) == (2, 1, 1, 2)
    assert found["duration_ms"] == 2.0
    assert found["channels"] == [7]


def test_a_service_is_a_row_for_each_day(client: Client) -> None:
    """Requests are server spans and transactions."""
    (found,) = rows(client, "SELECT * FROM services WHERE service_name = 'web'")
    assert (found["requests"], found["failed_requests"], found["errors"], found["p95_ms"]) == (1, 1, 1, 2.0)
    assert len(rows(client, "SELECT * FROM services WHERE service_name = 'odd' AND channel_id = 8")) == 3


def test_model_calls_inside_of_others_are_paid_once(client: Client) -> None:
    """The inner ones count. A price of a model is also one of its dated versions; without a price dollars are NULL."""
    found = rows(client, "SELECT * FROM model_costs WHERE day = '2026-01-04' ORDER BY model")
    assert [(one["model"], one["calls"], one["input_tokens"], one["dollars"]) for one in found] == [
        ("gpt-4o", 1, 2_000_000, 5.00001),
        ("gpt-4o-2025-01-31", 1, 1_000_000, 2.50001),
        ("unknown-model", 1, 40, None),
    ]
    client.command("INSERT INTO model_prices (model, input_price, output_price) VALUES ('unknown-model', 10, 0)")
    (priced,) = rows(client, "SELECT dollars FROM model_costs WHERE model = 'unknown-model'")
    assert priced["dollars"] == 0.0004
