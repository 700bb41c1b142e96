"""Traces and calls of models that go on over midnight: one row, one price. `migrate` upgraded the database.

Every row is stored three times, each time in a part of its own: an older version in another trace, then the newest one
twice.
"""

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

FILE = "_midnight.sql"
FIRST, SECOND, THIRD = "2026-01-02", "2026-01-03", "2026-01-04"
OVER, BEFORE, AFTER, FREED, CALLS = ("a" * 32, "b" * 32, "c" * 32, "d" * 32, "f" * 32)
OTHERS = 30_000


def row(number: int, trace: str, at: str, **columns: Any) -> dict[str, Any]:
    """A span; its id is its number."""
    base = {"organisation": "default", "channel_id": 7, "event_id": str(uuid.UUID(int=number)), "gen_ai_model": ""}
    kind = {"event_type": "app.span", "item_type": "otlp_span", "span_id": f"{number:016x}"}
    return {**base, **kind, "timestamp": at, "received_at": at, "trace_id": trace, **columns}


def call(number: int, at: str, parent: int) -> dict[str, Any]:
    """A call of a model, each with other tokens."""
    model = {"gen_ai_operation": "chat", "gen_ai_provider": "openai", "gen_ai_model": "gpt-4o"}
    parents = {"parent_span_id": f"{parent:016x}"} if parent else {}
    return row(number, CALLS, at, gen_ai_input_tokens=10**number, **model, **parents)


SHOP, BANK = ({"service.name": name} for name in ("shop", "bank"))
ROWS = [
    row(1, OVER, f"{FIRST} 23:59:59.900", name="GET /", duration_ns=2 * 10**9, resource=SHOP),
    row(
        *(2, OVER, f"{SECOND} 00:00:00.000000000"),
        **{"name": "pay", "status": "error", "parent_span_id": f"{1:016x}", "resource": BANK, "channel_id": 8},
    ),
    row(3, OVER, f"{SECOND} 00:00:00.5", event_type="app.log", item_type="otlp_log", body="paid", resource=BANK),
    row(4, BEFORE, f"{FIRST} 23:59:59.999999999", name="last of its day"),
    row(5, AFTER, f"{SECOND} 00:00:00", name="first of its day"),
    row(6, FREED, f"{SECOND} 00:00:01", name="alone since row 4 is in another trace"),
    # 21 is around 22, and 23 around 25 with a span between them; midnight is between the calls.
    call(1, f"{SECOND} 23:59:58", 0) | {"event_id": str(uuid.UUID(int=21)), "span_id": f"{21:016x}"},
    call(2, f"{THIRD} 00:00:01", 21),
    call(3, f"{SECOND} 23:59:58", 0) | {"event_id": str(uuid.UUID(int=23)), "span_id": f"{23:016x}"},
    row(24, CALLS, f"{THIRD} 00:00:00", parent_span_id=f"{23:016x}", name="POST"),
    call(4, f"{THIRD} 00:00:00.1", 24),
]


@pytest.fixture(scope="module")
def columns_before() -> list[tuple[str, str]]:
    """Columns of `traces` as the version before had them."""
    return []


@pytest.fixture(scope="module")
def client(clickhouse_server: Server, columns_before: list[tuple[str, str]]) -> Iterator[Client]:
    """A database of the version before, with rows in it, that was then migrated."""
    settings = Settings(clickhouse_url=clickhouse_server.url, clickhouse_database=f"test_{uuid.uuid4().hex}")
    found, database = open_clickhouse(settings), settings.clickhouse_database
    of_midnight = next(one.version for one in tables.known() if one.name.endswith(FILE))
    tables.apply(found, database, [one for one in tables.known() if one.version < of_midnight])
    _fill(found)
    columns_before += _columns(found)
    pending = tables.pending(tables.known(), tables.applied(found, database), database)
    assert pending[0].name.endswith(FILE)
    tables.apply(found, database, pending)
    yield found
    found.command(f"DROP DATABASE {database}")
    found.close()


def _fill(client: Client) -> None:
    """Row 4 was in the trace FREED: that trace had a row on the day before, and has it no more."""
    for version in (1, 2, 2):
        older = {"trace_id": FREED, "status": "error"} if version == 1 else {}
        lines = [json.dumps(one | older | {"version": version}) for one in ROWS]
        client.raw_insert("event_rows", insert_block="\n".join(lines), fmt="JSONEachRow")
    for day in (FIRST, SECOND, THIRD):
        client.command(
            f"""INSERT INTO event_rows (organisation, channel_id, event_id, version, event_type, item_type, timestamp,
                                        received_at, trace_id, span_id, name)
            SELECT 'default', 9, toUUID(UUIDNumToString(murmurHash3_128(number, '{day}'))), 1, 'app.span', 'otlp_span',
                   toDateTime64('{day}', 9, 'UTC') + toIntervalSecond(number) AS at, at,
                   lower(hex(murmurHash3_128(intDiv(number, 10), '{day}'))), lower(hex(number)), 'op'
            FROM numbers({OTHERS})"""
        )


def rows(client: Client, sql: str) -> list[dict[str, Any]]:
    """The rows of a query by their columns' names."""
    return list(client.query(sql).named_results())


@pytest.mark.parametrize("condition", ["", f" AND day = '{FIRST}'", f" AND day <= '{SECOND}'", " AND spans > 1"])
def test_a_trace_over_midnight_is_one_row_on_the_day_on_which_it_began(client: Client, condition: str) -> None:
    """With all that belongs to it, whatever the question names."""
    (found,) = rows(client, f"SELECT * FROM traces WHERE trace_id = '{OVER}'{condition}")
    assert (str(found["day"]), found["root_name"], found["root_service"]) == (FIRST, "GET /", "shop")
    assert (found["spans"], found["failed_spans"], found["errors"], found["logs"]) == (2, 1, 0, 1)
    assert (found["services"], found["channels"]) == (["bank", "shop"], [7, 8])
    assert (str(found["started_at"])[:22], found["duration_ms"]) == (f"{FIRST} 23:59:59.90", 2000.0)


def test_the_next_day_does_not_show_it_again(client: Client) -> None:
    """Only traces that began there: the first nanosecond of a day is of that day, the last of the day before is not."""
    found = rows(client, f"SELECT trace_id FROM traces WHERE day = '{SECOND}' AND channels != [9] ORDER BY started_at")
    assert [one["trace_id"] for one in found] == [AFTER, FREED, CALLS]
    found = rows(client, f"SELECT trace_id FROM traces WHERE day = '{FIRST}' AND channels != [9] ORDER BY started_at")
    assert [one["trace_id"] for one in found] == [OVER, BEFORE]
    assert rows(client, f"SELECT * FROM traces WHERE day = '{THIRD}' AND channels != [9]") == []


def test_all_traces_together_have_each_span_once(client: Client) -> None:
    """As the view of spans has them."""
    (counts,) = rows(
        client,
        "SELECT (SELECT sum(spans) FROM traces) AS spans, (SELECT count() FROM otel_traces) AS of_otel, "
        "(SELECT count() FROM traces) AS traces, (SELECT uniqExact(trace_id) FROM events) AS ids",
    )
    assert counts["spans"] == counts["of_otel"] == 3 * OTHERS + 10
    assert counts["traces"] == counts["ids"]


def test_calls_inside_of_others_are_paid_once_over_midnight(client: Client) -> None:
    """On the day of the inner one, by its tokens; a condition on `day` does not change that."""
    found = rows(client, "SELECT day, calls, input_tokens FROM model_costs ORDER BY day")
    assert [(str(one["day"]), one["calls"], one["input_tokens"]) for one in found] == [(THIRD, 2, 10**2 + 10**4)]
    for day, tokens in ((SECOND, []), (THIRD, [10**2 + 10**4])):
        found = rows(client, f"SELECT input_tokens FROM model_costs WHERE day = '{day}'")
        assert [one["input_tokens"] for one in found] == tokens


@pytest.mark.parametrize("view", ["traces", "model_costs"])
def test_a_condition_on_the_day_reaches_the_partitions_of_every_part(client: Client, view: str) -> None:
    """The days beside it are read, others are not: there are rows of three days, and this one comes after them."""
    found = client.query(f"EXPLAIN indexes = 1 SELECT * FROM {view} WHERE day = '2026-01-05'").result_rows
    plan = "\n".join(line for (line,) in found)
    granules = re.findall(r"Min-Max\b.*?Granules: (\d+)/(\d+)", plan, re.DOTALL)
    assert len(granules) == 3, plan
    assert [int(read) < int(there) for read, there in granules] == [True, True, True], plan
    assert sorted(int(read) > 0 for read, _ in granules) == [False, False, True], plan


def test_the_columns_are_those_of_before(client: Client, columns_before: list[tuple[str, str]]) -> None:
    """Names, types, order."""
    assert len(columns_before) == 14
    assert _columns(client) == columns_before


def _columns(client: Client) -> list[tuple[str, str]]:
    return [(name, kind) for name, kind, *_ in client.query("DESCRIBE traces").result_rows]
