"""What questions read, and that their answers have no duplicates: a database with rows that `migrate` then upgraded.

Rows are stored three times, each time in a part of its own: an older version with other content, then the newest one
twice. Those of the last day are in one part, which no merge has made. Each question is asked with the engine's settings
and with a reader's. The primary key is that of tables made before. An event whose sender gave it another time stands on
two days: two events, in `events` and in every view.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from ops.cli.servers import open_clickhouse
from ops.local.clickhouse_http.access.allowed import READER_DEFAULTS
from ops.provisioning import tables
from ops.provisioning.tables import Migration
from ops.runtime.settings import Settings
from tests.polling import eventually
from tests.servers import Server

pytestmark = pytest.mark.live

FILE = "_questions.sql"
CHANNEL = 7
DAYS = ("2026-01-02", "2026-01-03", "2026-01-04")
# As ops.bench does it: rows of other days and traces, so that indexes have something to leave out. Each of these
# days has as many in two channels: the last rows of the first and the first rows of the second share a granule.
OTHERS = 20_000
OTHER_DAYS = ("2026-01-06", "2026-01-07", "2026-01-08")
OTHER_CHANNELS = (8, 9)
GRANULE = 8_192
DAY_OF_KEY = "intHash32(toDate(timestamp)), "
# What a reader's queries have by default, for FINAL.
LAZY = {name: value for name, value in READER_DEFAULTS.items() if name.endswith("lazy_final")}
NUMBERS: dict[str, dict[str, Any]] = {
    "attributes_int": {"order.items": 3, "least": -(2**63)},
    "attributes_double": {"order.value": 12.5, "tiny": 1e-300, "whole": 3.0, "none": -0.0},
    "attributes_bool": {"order.paid": True, "order.sent": False},
}


def row(number: int, event_type: str, item_type: str, day: str, **columns: Any) -> dict[str, Any]:
    """An event of its day, at its own second."""
    at = f"{day} 23:59:{number:02d}.000000001"
    base = {"organisation": "default", "channel_id": CHANNEL, "event_id": str(uuid.UUID(int=number))}
    base["gen_ai_model"] = ""
    return {**base, "event_type": event_type, "item_type": item_type, "timestamp": at, "received_at": at, **columns}


def events(day: str) -> list[dict[str, Any]]:
    """A request with a call of a model, an error, a log and a check-in; every day has the same event ids."""
    usual = {"resource": {"service.name": "shop", "service.version": "1.0"}, "trace_id": day.replace("-", "") * 4}
    texts = {"attributes_string": {"order.id": f"of {day}", "user.id": f"user of {day}"}}
    tokens = {"gen_ai_operation": "chat", "gen_ai_model": "gpt-4o", "gen_ai_provider": "openai"}
    counts = {"gen_ai_input_tokens": 1_000, "gen_ai_output_tokens": 10}
    request = {"span_id": "1" * 16, "name": "GET /", "span_kind": "server", **usual, **texts, **NUMBERS}
    call = {"span_id": "2" * 16, "parent_span_id": "1" * 16, "name": "chat", **usual, **tokens, **counts}
    check_in = {"name": "nightly", "status": "ok", "metadata": json.dumps({"checkInId": day})}
    return [
        row(1, "app.span", "otlp_span", day, **request),
        row(2, "app.span", "otlp_span", day, **call),
        row(3, "agent.error", "event", day, name="Declined", group_hash=f"group of {day}", **usual, **texts),
        row(4, "app.log", "otlp_log", day, body="declined", **usual, **texts),
        row(5, "custom", "check_in", day, duration_ns=10**9, **check_in),
    ]


# What the older version of a row said; nobody may find a row by it.
REPLACED: dict[str, Any] = {
    **{"name": "replaced", "body": "replaced", "trace_id": "e" * 32, "group_hash": "replaced", "status": "error"},
    **{"attributes_string": {"order.id": "replaced", "user.id": "replaced"}, "attributes_int": {"order.items": 99}},
}


@pytest.fixture(scope="module")
def attributes_before() -> dict[str, list[Any]]:
    """`attributes` of each event as the view of the version before said them."""
    return {}


@pytest.fixture(scope="module")
def client(clickhouse_server: Server, attributes_before: dict[str, list[Any]]) -> Iterator[Client]:
    """A database of the version before, with rows in it, that was then migrated."""
    settings = Settings(clickhouse_url=clickhouse_server.url, clickhouse_database=f"test_{uuid.uuid4().hex}")
    found, database = open_clickhouse(settings), settings.clickhouse_database
    of_questions = next(one.version for one in tables.known() if one.name.endswith(FILE))
    tables.apply(found, database, [_before(one) for one in tables.known() if one.version < of_questions])
    assert DAY_OF_KEY not in one(found, "SHOW CREATE TABLE event_rows")
    _fill(found)
    attributes_before["said"] = _attributes(found)
    pending = tables.pending(tables.known(), tables.applied(found, database), database)
    assert pending[0].name.endswith(FILE)
    tables.apply(found, database, pending)
    unfinished = "SELECT count() FROM system.mutations WHERE database = currentDatabase() AND NOT is_done"
    eventually(lambda: found.query(unfinished).result_rows[0][0] == 0, "the indexes of stored rows to be made")
    yield found
    found.command(f"DROP DATABASE {database}")
    found.close()


def _before(migration: Migration) -> Migration:
    """As it was released: a table of before has no day in its key, and goes without it."""
    return replace(migration, templates=tuple(one.replace(DAY_OF_KEY, "") for one in migration.templates))


def _fill(client: Client) -> None:
    of_days = {day: [_lines(day, version) for version in (1, 2, 2)] for day in DAYS}
    for block in [*of_days[DAYS[0]], *of_days[DAYS[1]], "\n".join(of_days[DAYS[2]])]:
        # As workers insert: equal rows of one insert stay.
        client.raw_insert("event_rows", insert_block=block, fmt="JSONEachRow", settings={"optimize_on_insert": 0})
    for day in OTHER_DAYS:
        client.command(
            f"""INSERT INTO event_rows (organisation, channel_id, event_id, version, event_type, item_type, timestamp,
                                        received_at, trace_id, span_id, name, attributes_string, group_hash)
            SELECT 'default', {OTHER_CHANNELS[0]} + intDiv(number, {OTHERS}),
                   toUUID(UUIDNumToString(murmurHash3_128(number))), 1, 'app.log', 'otlp_log',
                   toDateTime64('{day}', 9, 'UTC') + toIntervalSecond(number % {OTHERS} * 4) AS at, at,
                   concat('{day} ', toString(number)), lower(hex(number)), 'op',
                   map('order.id', concat('{day} ', toString(number)), 'user.id', concat('{day} ', toString(number))),
                   concat('{day} ', toString(number))
            FROM numbers({OTHERS * len(OTHER_CHANNELS)})"""
        )


def _lines(day: str, version: int) -> str:
    changed = REPLACED if version == 1 else {}
    rows = [one | {name: value for name, value in changed.items() if name in one} for one in events(day)]
    return "\n".join(json.dumps(one | {"version": version}) for one in rows)


def _attributes(client: Client) -> list[Any]:
    sql = f"SELECT event_id, timestamp, mapSort(attributes) FROM events WHERE channel_id = {CHANNEL} ORDER BY ALL"
    return list(client.query(sql).result_rows)


@pytest.fixture(params=["engine", "reader"])
def settings(client: Client, request: pytest.FixtureRequest) -> dict[str, str]:
    """Settings of a query. An engine before 26.4 has only its own."""
    if request.param == "engine":
        return {}
    if not one(client, "SELECT count() FROM system.settings WHERE name = 'query_plan_optimize_lazy_final'"):
        pytest.skip("this engine does not know the settings of a reader")
    return LAZY


def one(client: Client, sql: str, settings: Mapping[str, str] | None = None) -> Any:
    """The only value of a query."""
    ((value,),) = client.query(sql, settings=dict(settings or {})).result_rows
    return value


def test_attributes_are_the_same_texts_after_the_upgrade(
    client: Client, attributes_before: dict[str, list[Any]]
) -> None:
    """Numbers, truth values, and those at the ends of their range."""
    assert _attributes(client) == attributes_before["said"]
    found = attributes_before["said"][0][2]
    assert (found["order.items"], found["order.paid"], found["whole"]) == ("3", "true", "3")


@pytest.mark.parametrize(
    ("condition", "index"),
    [
        (f"attributes['order.id'] = 'of {DAYS[0]}'", "index_attributes"),
        ("attributes['order.value'] = '12.5'", "index_attributes"),
        (f"attributes_string['order.id'] = 'of {DAYS[0]}'", "index_attribute_values"),
        (f"user_id = 'user of {DAYS[0]}'", "index_user_id"),
        (f"group_hash = 'group of {DAYS[0]}'", "index_group_hash"),
        (f"trace_id = '{DAYS[0].replace('-', '') * 4}'", "index_trace_id"),
        (f"event_id = '{uuid.UUID(int=1)}'", "index_event_id"),
    ],
)
def test_a_question_for_one_thing_reaches_its_index_in_rows_of_before(
    client: Client, condition: str, index: str
) -> None:
    """Through the view, in the form that people write."""
    found = client.query(f"EXPLAIN indexes = 1 SELECT timestamp FROM events WHERE {condition}").result_rows
    plan = "\n".join(line for (line,) in found)
    granules = re.search(rf"Name: {index}\b.*?Granules: (\d+)/(\d+)", plan, re.DOTALL)
    assert granules, plan
    assert int(granules[1]) < int(granules[2]), plan


@pytest.mark.parametrize(
    ("condition", "of_table"),
    [
        ("attributes['order.id'] = 'replaced'", "attributes_string['order.id'] = 'replaced'"),
        ("attributes['order.items'] = '99'", "attributes_int['order.items'] = 99"),
        ("attributes_string['order.id'] = 'replaced'", ""),
        ("user_id = 'replaced'", ""),
        ("group_hash = 'replaced'", ""),
        (f"trace_id = '{'e' * 32}'", ""),
    ],
)
def test_an_index_does_not_bring_back_what_was_replaced(
    client: Client, settings: dict[str, str], condition: str, of_table: str
) -> None:
    """The older version alone has these values: the index finds its part, and the newer version is in another one."""
    assert one(client, f"SELECT count() FROM event_rows WHERE {of_table or condition}") >= len(DAYS)
    assert one(client, f"SELECT count() FROM events WHERE {condition}", settings) == 0


@pytest.mark.parametrize(
    ("expected", "sql"),
    [
        (15, f"SELECT count() FROM events WHERE channel_id = {CHANNEL}"),
        (3, f"SELECT count() FROM events WHERE attributes['order.paid'] = 'true' AND channel_id = {CHANNEL}"),
        (6, "SELECT count() FROM otel_traces"),
        (6, "SELECT count() FROM otel_logs WHERE Body IN ('declined', 'Declined')"),
        (3, "SELECT count() FROM check_ins"),
        (3, "SELECT runs FROM monitors"),
        (3, f"SELECT sum(times) FROM issues WHERE channel_id = {CHANNEL}"),
        (3, f"SELECT count() FROM issues WHERE channel_id = {CHANNEL}"),
        (3, "SELECT errors FROM releases WHERE version = '1.0'"),
        (6, "SELECT sum(spans) FROM traces"),
        (3, f"SELECT sum(errors) FROM traces WHERE day <= '{DAYS[-1]}'"),
        (3, "SELECT count() FROM traces WHERE spans > 0"),
        (6, "SELECT sum(spans) FROM services WHERE service_name = 'shop'"),
        (3, "SELECT sum(requests) FROM services WHERE service_name = 'shop'"),
        (6, "SELECT sum(spans) FROM operations"),
        (3, "SELECT sum(calls) FROM model_costs"),
        (3_000, "SELECT sum(input_tokens) FROM model_costs"),
        (15, f"SELECT sum(quantity) FROM outcomes WHERE channel_id = {CHANNEL}"),
    ],
)
def test_each_view_counts_an_event_of_a_day_once(
    client: Client, settings: dict[str, str], expected: int, sql: str
) -> None:
    """Three versions of each in three parts, on three days."""
    assert one(client, f"SELECT count() FROM event_rows WHERE channel_id = {CHANNEL}") == 3 * 15
    assert one(client, sql, settings) == expected


@pytest.mark.parametrize(
    "condition",
    [
        "trace_id = '{}'",
        "user_id = '{}'",
        "group_hash = '{}'",
        "attributes['order.id'] = '{}'",
        "trace_id IN ('{}', 'none')",
    ],
)
@pytest.mark.parametrize("number", [100, OTHERS - 1, OTHERS, 2 * OTHERS - 1])
def test_a_reader_reads_little_for_one_thing_wherever_it_is(client: Client, condition: str, number: int) -> None:
    """Also where two channels share a granule: its keys are between those of all their rows, of all days. What is named
    is read twice, the second time with its neighbour, if that begins in the same five minutes. This table's key has no
    day, so one granule of each other day comes to that, and columns of a granule's rows are read again.
    """
    if not one(client, "SELECT count() FROM system.settings WHERE name = 'query_plan_optimize_lazy_final'"):
        pytest.skip("this engine does not know the settings of a reader")
    sql = "SELECT timestamp, name, attributes['order.id'] FROM events WHERE "
    found = client.query(sql + condition.format(f"{OTHER_DAYS[1]} {number}"), settings=LAZY)
    assert [name for _, _, name in found.result_rows] == [f"{OTHER_DAYS[1]} {number}"]
    assert int(found.summary["read_rows"]) <= 6 * GRANULE
    without = client.query(sql + condition.format(f"{OTHER_DAYS[1]} {number}"))
    assert without.result_rows == found.result_rows


def test_a_day_that_is_over_becomes_one_part(client: Client) -> None:
    """Six hours after its last row, as long as it is not larger than what the engine merges at once."""
    made = one(client, "SHOW CREATE TABLE event_rows")
    assert "min_age_to_force_merge_seconds = 21600" in made
    assert "min_age_to_force_merge_on_partition_only = 1" in made
    assert "enable_max_bytes_limit_for_min_age_to_force_merge = 1" in made


@pytest.mark.parametrize("view", ["events", "check_ins", "outcomes"])
def test_conditions_on_the_sort_key_are_tried_first(client: Client, view: str) -> None:
    """The columns of rows that another channel sent are not read."""
    plan = "\n".join(
        line
        for (line,) in client.query(
            f"EXPLAIN actions = 1 SELECT * FROM {view} WHERE channel_id = {CHANNEL}"
        ).result_rows
    )
    assert re.search(r"Prewhere filter", plan), plan
