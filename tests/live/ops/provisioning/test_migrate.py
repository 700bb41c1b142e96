"""`axonpush migrate` against real servers."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable

import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext

from ops.cli.servers import open_clickhouse
from ops.provisioning import lost_tables, migrate, tables
from ops.provisioning.stream_changes import Change
from ops.provisioning.streams import MIB, Budgets
from ops.runtime.failures import Failed
from ops.runtime.settings import Settings
from schemas.subjects import RAW, SOURCES
from tests.brokers import on_broker
from tests.polling import ANSWER_TIMEOUT_S
from tests.servers import Server, free_port
from tests.unit.ops.provisioning.test_tables import RECORDED_BEFORE

pytestmark = pytest.mark.live

BUDGETS = Budgets(raw_max_bytes=256 * MIB, items_max_bytes=64 * MIB, dead_max_bytes=64 * MIB, artifacts_max_bytes=MIB)


@pytest.fixture
def settings(own_nats_server: Server, clickhouse_server: Server) -> Settings:
    """A broker and a database of this test's own."""
    return Settings(
        nats_url=own_nats_server.url,
        clickhouse_url=clickhouse_server.url,
        clickhouse_database=f"test_{uuid.uuid4().hex}",
    )


@pytest.fixture
def broker(own_nats_server: Server) -> Settings:
    """Only a broker."""
    return Settings(nats_url=own_nats_server.url)


def on_jetstream(settings: Settings, work: Callable[[JetStreamContext], Awaitable[object]]) -> object:
    """Runs `work` on a connection of its own."""
    return on_broker(settings.nats_url, lambda client: work(client.jetstream(timeout=ANSWER_TIMEOUT_S)))


def update_broker(settings: Settings, *, dry_run: bool = False) -> list[Change]:
    """One run for the broker alone."""
    return asyncio.run(migrate.migrate_broker(settings, BUDGETS, dry_run=dry_run))


@pytest.mark.asyncio
async def test_the_second_run_finds_nothing_to_do(settings: Settings) -> None:
    """What the servers report back equals what we asked for, field by field."""
    first = await migrate.migrate(settings, BUDGETS, dry_run=False)
    assert {change.kind for change in first} == {"stream", "bucket", "durable", "database", "tables"}
    assert await migrate.migrate(settings, BUDGETS, dry_run=False) == []


def test_a_dry_run_says_all_and_changes_nothing(settings: Settings) -> None:
    """Twice the same list, and after it still nothing there."""
    first = asyncio.run(migrate.migrate(settings, BUDGETS, dry_run=True))
    assert asyncio.run(migrate.migrate(settings, BUDGETS, dry_run=True)) == first
    assert on_jetstream(settings, lambda js: js.streams_info()) == []
    client = open_clickhouse(settings)
    assert not tables.database_exists(client, settings.clickhouse_database)
    client.close()
    assert asyncio.run(migrate.migrate(settings, BUDGETS, dry_run=False)) == first


@pytest.mark.long
def test_a_new_database_equals_one_that_ran_every_statement(clickhouse_server: Server) -> None:
    """Columns that are dropped later are not made first; what remains is the same, to the last expression."""
    client = open_clickhouse(Settings(clickhouse_url=clickhouse_server.url, clickhouse_database="default"))
    whole, short = f"test_{uuid.uuid4().hex}", f"test_{uuid.uuid4().hex}"
    client.command(f"CREATE DATABASE {whole}")
    client.database = whole
    for migration in tables.known():
        for statement in migration.statements():
            client.command(statement)
    tables.apply(client, short, tables.known())
    made = (
        "SELECT name, replaceAll(create_table_query, database, 'd') FROM system.tables "
        "WHERE database = {d:String} AND name != 'migrations'"
    )
    before, after = (dict(client.query(made, parameters={"d": name}).result_rows) for name in (whole, short))
    client.close()
    assert before.keys() == after.keys()
    assert len(before) > 20
    assert before == after


def test_a_drifted_durable_is_repaired(broker: Settings) -> None:
    """Subscribing with other settings would be ignored by the server; migrate is not."""
    update_broker(broker)
    source = SOURCES["log"]

    async def drift(js: JetStreamContext) -> None:
        found = (await js.consumer_info(source.stream, source.durable)).config
        await js.add_consumer(source.stream, found.evolve(ack_wait=5, max_ack_pending=7, max_deliver=3))

    on_jetstream(broker, drift)
    changes = update_broker(broker)
    assert {(one.name, one.field) for one in changes} == {
        (source.durable, "ack_wait"),
        (source.durable, "max_ack_pending"),
        (source.durable, "max_deliver"),
    }
    assert update_broker(broker) == []


def test_a_drifted_stream_is_repaired_and_keeps_its_messages(broker: Settings) -> None:
    """An age limit would drop data that no worker has seen: it goes, the messages stay."""
    update_broker(broker)

    async def drift(js: JetStreamContext) -> None:
        await js.publish("raw.event.1", b"kept")
        found = (await js.stream_info(RAW)).config
        await js.update_stream(found.evolve(max_age=3600, duplicate_window=60, max_bytes=64 * MIB))

    on_jetstream(broker, drift)
    assert {one.field for one in update_broker(broker)} == {"max_age", "duplicate_window", "max_bytes"}
    assert update_broker(broker) == []

    async def messages(js: JetStreamContext) -> int:
        return (await js.stream_info(RAW)).state.messages

    assert on_jetstream(broker, messages) == 1


def test_what_cannot_be_changed_in_place_is_said_clearly(broker: Settings) -> None:
    """The broker's refusal names stream, field and both values; nothing is deleted."""

    async def other(js: JetStreamContext) -> None:
        await js.add_stream(name=RAW, subjects=["raw.>"], storage="memory", max_bytes=MIB)

    on_jetstream(broker, other)
    with pytest.raises(Failed, match=r"stream RAW .*storage from memory to file"):
        update_broker(broker)


def test_concurrent_publishes_are_stored_as_one_batch(broker: Settings) -> None:
    """RAW takes atomic batches (ADR-50): receivers group concurrent requests into one."""
    update_broker(broker)

    async def batch(client: Client) -> int:
        headers = {"Nats-Batch-Id": "one", "Nats-Batch-Sequence": "1"}
        await client.publish("raw.event.1", b"first", headers=headers)
        headers = {"Nats-Batch-Id": "one", "Nats-Batch-Sequence": "2", "Nats-Batch-Commit": "1"}
        await client.request("raw.event.1", b"second", headers=headers, timeout=ANSWER_TIMEOUT_S)
        return (await client.jetstream(timeout=ANSWER_TIMEOUT_S).stream_info(RAW)).state.messages

    assert on_broker(broker.nats_url, batch) == 2


def test_a_newer_database_is_refused(settings: Settings) -> None:
    """Old code does not touch a database that newer code has upgraded."""
    migrate.migrate_tables(settings, dry_run=False)
    client = open_clickhouse(settings)
    client.database = settings.clickhouse_database
    client.command("INSERT INTO migrations (version, name, sha256) VALUES (9999, '9999_later.sql', '')")
    client.close()
    with pytest.raises(Failed, match="does not go backwards"):
        migrate.migrate_tables(settings, dry_run=False)


def test_columns_of_a_table_with_rows_are_changed_in_place(settings: Settings) -> None:
    """What reads attributes anew shows it of old rows at once; what is stored with a row, of new rows."""
    known = tables.known()
    client = open_clickhouse(settings)
    tables.apply(client, settings.clickhouse_database, [one for one in known if one.version < 6])
    insert = (
        "INSERT INTO event_rows (organisation, channel_id, event_id, version, event_type, item_type, timestamp, "
        "received_at, attributes_string, attributes_double, group_hash) SELECT 'o', 1, generateUUIDv4(), 1, "
        "'app.span', 'otlp_span', now64(9), now64(9), map('gen_ai.request.messages', 'hello', 'exception.type', 'E'), "
        "map('http.response.status_code', 503.0), 'h'"
    )
    client.command(insert)
    tables.apply(client, settings.clickhouse_database, [one for one in known if 6 <= one.version < 10])
    client.command(insert)
    read = "SELECT gen_ai_input_messages, title, is_error, http_status_code FROM events ORDER BY http_status_code"
    found = client.query(read).result_rows
    assert found == [("hello", "E", True, 0), ("hello", "E", True, 503)]
    # 0010 moves what is computed out of the table: the view has every name, type and value that it had.
    shown = "DESCRIBE TABLE events", "SELECT * FROM events ORDER BY http_status_code FORMAT JSONEachRow"
    before = [client.raw_query(one) for one in shown]
    tables.apply(client, settings.clickhouse_database, [one for one in known if one.version >= 10])
    assert [client.raw_query(one) for one in shown] == before
    columns = "FROM system.columns WHERE database = currentDatabase() AND table = 'event_rows'"
    found = client.query(
        f"SELECT countIf(name LIKE 'gen_ai_%_messages' OR name = 'gen_ai_tool_result') {columns}"
    ).result_rows
    client.close()
    assert found == [(0,)]
    assert migrate.migrate_tables(settings, dry_run=True) == []


def test_a_changed_applied_file_is_refused(settings: Settings) -> None:
    """The hash that was applied is kept and compared."""
    migrate.migrate_tables(settings, dry_run=False)
    client = open_clickhouse(settings)
    client.database = settings.clickhouse_database
    client.command("ALTER TABLE migrations UPDATE sha256 = 'other' WHERE version = 1 SETTINGS mutations_sync = 1")
    client.close()
    with pytest.raises(Failed, match=r"0001_events\.sql differs"):
        migrate.migrate_tables(settings, dry_run=True)


def test_a_database_of_earlier_code_goes_on(settings: Settings) -> None:
    """Its table `migrations` has hashes of whole files; migrate finds nothing to do and leaves them."""
    migrate.migrate_tables(settings, dry_run=False)
    client = open_clickhouse(settings)
    client.database = settings.clickhouse_database
    for name, sha256 in RECORDED_BEFORE.items():
        client.command(
            "ALTER TABLE migrations UPDATE sha256 = {sha256:String} WHERE name = {name:String} "
            "SETTINGS mutations_sync = 1",
            parameters={"name": name, "sha256": sha256},
        )
    assert migrate.migrate_tables(settings, dry_run=False) == []
    recorded = {one.name: one.sha256 for one in tables.applied(client, settings.clickhouse_database).values()}
    client.close()
    assert RECORDED_BEFORE.items() <= recorded.items()


def test_a_broker_that_is_away_is_named() -> None:
    """The message says where we looked and what to set."""
    with pytest.raises(Failed, match=r"expected NATS at nats://127\.0\.0\.1:\d+.*AXONPUSH_NATS_URL"):
        update_broker(Settings(nats_url=f"nats://user:secret@127.0.0.1:{free_port()}"))


def test_a_new_stream_goes_on_behind_restored_tables(settings: Settings) -> None:
    """Its next body gets the next number: with an old one, a replay would take restored rows for its own."""
    asyncio.run(migrate.migrate(settings, BUDGETS, dry_run=False))
    book(settings, 4_000)
    planned = asyncio.run(migrate.migrate(settings, BUDGETS, dry_run=True))
    assert planned == [Change("stream", RAW, "last_seq", "0", "4000")]
    assert asyncio.run(migrate.migrate(settings, BUDGETS, dry_run=False)) == planned
    assert asyncio.run(migrate.migrate(settings, BUDGETS, dry_run=False)) == []

    async def publish(js: JetStreamContext) -> int:
        return (await js.publish("raw.event.1", b"x")).seq

    assert on_jetstream(settings, publish) == 4_001


def test_bodies_with_old_numbers_are_said(settings: Settings) -> None:
    """They cannot be renumbered, and a replay of them would do harm."""
    asyncio.run(migrate.migrate(settings, BUDGETS, dry_run=False))
    on_jetstream(settings, lambda js: js.publish("raw.event.1", b"x"))
    book(settings, 4_000)
    with pytest.raises(Failed, match="RAW at 1 with 1 bodies"):
        asyncio.run(migrate.migrate(settings, BUDGETS, dry_run=False))


def book(settings: Settings, seq: int) -> None:
    """What the tables know of a body of this number."""
    client = open_clickhouse(settings)
    client.command(
        f"INSERT INTO {settings.clickhouse_database}.taken_rows (minute, stage, origin_seq, units) "
        f"VALUES (toDateTime('2026-11-20 10:00:00', 'UTC'), 'unpack', {seq}, 1)"
    )
    client.close()


@pytest.mark.long
def test_every_dropped_table_and_view_is_made_again(settings: Settings) -> None:
    """Whatever was dropped has the columns, engine and query that it had; then nothing is left to change.

    But for a comment of tables that are counted: since when they count.
    """
    migrate.migrate_tables(settings, dry_run=False)
    client = open_clickhouse(settings)
    client.database = settings.clickhouse_database
    shape = (
        "SELECT name, replaceRegexpAll(create_table_query, "
        "' COMMENT \\'made again, [^\\']*\\'|UUID \\'[^\\']*\\'', '') FROM system.tables "
        "WHERE database = currentDatabase() ORDER BY name"
    )
    before = dict(client.query(shape).result_rows)
    made = lost_tables.relations_of(tables.known())
    assert set(made) | {"migrations"} == set(before)
    for names in (
        [name for name, one in made.items() if one.kind == "table"],
        list(made),
        ["stored_from_events", "migrations"],
    ):
        for name in names:
            client.command(f"DROP TABLE IF EXISTS {name} SYNC")
        planned = migrate.migrate_tables(settings, dry_run=True)
        assert {change.name for change in planned if change.field == "exists"} == set(names)
        assert migrate.migrate_tables(settings, dry_run=False)
        assert dict(client.query(shape).result_rows) == before
        assert migrate.migrate_tables(settings, dry_run=False) == []
    assert client.query("SELECT count() > 0 FROM model_prices").result_rows == [(1,)]
    client.close()
