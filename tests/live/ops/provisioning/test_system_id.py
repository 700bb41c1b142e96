"""Broker and tables of two systems are refused before anything is written, by every command that needs both."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from nats.js import JetStreamContext

from ops.cli.servers import open_clickhouse
from ops.provisioning import migrate
from ops.provisioning.cluster_changes import set_state
from ops.provisioning.desired_state import asked_by, open_state
from ops.provisioning.stream_changes import Change, Mode
from ops.provisioning.streams import MIB, Budgets, consumers
from ops.provisioning.system import system_id
from ops.provisioning.system.same_system import Taking, check_same_system, find_system
from ops.provisioning.system.system_id import tables_id
from ops.runtime.failures import Failed
from ops.runtime.settings import Settings
from schemas import headers
from schemas.identifiers import SYSTEM_METADATA
from schemas.subjects import RAW, SOURCES
from tests.brokers import on_broker
from tests.polling import ANSWER_TIMEOUT_S
from tests.servers import NatsProcess, Server
from workers.settings import WorkerSettings
from workers.store.same_system import SystemCheck, WrongSystem
from workers.store.writers import ClickHouseWriter

pytestmark = pytest.mark.live

BUDGETS = Budgets(raw_max_bytes=64 * MIB, items_max_bytes=64 * MIB, dead_max_bytes=64 * MIB, artifacts_max_bytes=MIB)
MINUTE = 1_764_000_000
SOURCE = SOURCES["unpack"]


@dataclass(frozen=True, slots=True)
class Two:
    """Two systems, each with one processed body."""

    first: Settings
    second: Settings

    @property
    def crossed(self) -> Settings:
        """The broker of the first and the tables of the second."""
        return self.first.model_copy(update={"clickhouse_database": self.second.clickhouse_database})


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, clickhouse_server: Server) -> Iterator[Two]:
    """Two brokers and two databases."""
    servers = [NatsProcess(tmp_path_factory.mktemp("nats")) for _ in range(2)]
    try:
        made = []
        for channel, server in enumerate(servers, start=7):
            server.start()
            database = f"test_{uuid.uuid4().hex}"
            made.append(
                Settings(nats_url=server.url, clickhouse_url=clickhouse_server.url, clickhouse_database=database)
            )
            asyncio.run(migrate.migrate(made[-1], BUDGETS, dry_run=False))
            process_one(made[-1], channel)
        yield Two(*made)
    finally:
        for server in servers:
            server.kill()


def process_one(settings: Settings, channel: int) -> None:
    """One body, delivered, and its row in the ledger."""
    told = {headers.RECEIVED_AT: str(MINUTE * 10**9)}

    async def work(js: JetStreamContext) -> None:
        await js.publish(f"raw.sentry.envelope.{channel}", b"x", headers=told)
        subscription = await js.pull_subscribe_bind(consumer=SOURCE.durable, stream=RAW)
        (message,) = await subscription.fetch(1, timeout=ANSWER_TIMEOUT_S)
        await message.ack()

    on_jetstream(settings, work)
    command(
        settings,
        "INSERT INTO taken_rows (minute, channel_id, stage, origin_seq, units) "
        f"VALUES (toDateTime({MINUTE}), {channel}, 'unpack', 1, 1)",
    )


def on_jetstream(settings: Settings, work: object) -> object:
    return on_broker(settings.nats_url, lambda client: work(client.jetstream(timeout=ANSWER_TIMEOUT_S)))  # type: ignore[operator]


def command(settings: Settings, sql: str) -> None:
    client = open_clickhouse(settings)
    client.database = settings.clickhouse_database
    client.command(sql)
    client.close()


def count(settings: Settings, what: str) -> int:
    client = open_clickhouse(settings)
    client.database = settings.clickhouse_database
    number = int(client.query(f"SELECT count() FROM {what}").result_rows[0][0])
    client.close()
    return number


def ids(settings: Settings) -> tuple[str, str | None, set[str]]:
    """The id in the registry, in the tables, and in the durables."""

    async def of_broker(js: JetStreamContext) -> tuple[str, set[str]]:
        store = await open_state(js)
        state = await store.read() if store else None
        metadata = [(one.config.metadata or {}).get(SYSTEM_METADATA, "") for one in await js.consumers_info(RAW)]
        return state.system_id if state else "", set(metadata)

    found = on_jetstream(settings, of_broker)
    assert isinstance(found, tuple)
    client = open_clickhouse(settings)
    in_tables = tables_id(client, settings.clickhouse_database)
    client.close()
    return found[0], in_tables, found[1]


async def forget_durables(js: JetStreamContext) -> None:
    for stream, durables in consumers().items():
        for durable in durables:
            found = (await js.consumer_info(stream, str(durable.durable_name))).config
            await js.add_consumer(stream, found.evolve(metadata={}))


def forget(settings: Settings, *, broker: bool, tables: bool) -> None:
    """As on a system of an older version."""
    if broker:
        asyncio.run(migrate.change_state(settings, {"system_id": ""}))
        on_jetstream(settings, forget_durables)
    if tables:
        command(settings, "ALTER TABLE taken_rows COMMENT COLUMN origin_seq ''")


def test_a_system_has_one_id_everywhere(two: Two) -> None:
    """In the registry, in the tables, and in every durable, where workers read it."""
    in_registry, in_tables, in_durables = ids(two.first)
    assert in_registry == in_tables != ids(two.second)[0]
    assert in_durables == {in_registry}


def test_two_systems_are_refused_before_anything_is_written(two: Two) -> None:
    before = ids(two.first), ids(two.second)
    for dry_run in (True, False):
        with pytest.raises(Failed, match=r"found two: .*correct AXONPUSH_CLICKHOUSE_DATABASE"):
            asyncio.run(migrate.migrate(two.crossed, BUDGETS, dry_run=dry_run))
    assert (ids(two.first), ids(two.second)) == before


def test_another_empty_clickhouse_is_refused(two: Two) -> None:
    """As `up` with only AXONPUSH_NATS_URL would make."""
    other = two.first.model_copy(update={"clickhouse_database": f"test_{uuid.uuid4().hex}"})
    with pytest.raises(Failed, match="has no tables"):
        asyncio.run(migrate.migrate(other, BUDGETS, dry_run=False))
    assert ids(other)[1] is None


def test_commands_refuse_the_tables_of_another_system(two: Two) -> None:
    """A shorter TTL would delete the other's rows; a replay and a drop would too."""
    with pytest.raises(Failed, match="belong to two systems"):
        asyncio.run(set_state(two.crossed, {"clickhouse_ttl_days": 1}, Mode(allow_lowering=True)))
    with pytest.raises(Failed, match="belong to two systems"):
        on_broker(two.first.nats_url, lambda client: check_same_system(client, two.crossed))
    on_broker(two.first.nats_url, lambda client: check_same_system(client, two.first))


@pytest.mark.asyncio
async def test_a_worker_inserts_into_its_own_tables_only(two: Two) -> None:
    """With the rights of a worker: the columns of a table and the info of a durable."""
    import nats

    from ops.runtime.nats_options import nats_options

    for settings, is_own in ((two.first, True), (two.crossed, False)):
        client = await nats.connect(settings.nats_servers(), **nats_options(settings, "test"))
        writer = ClickHouseWriter(WorkerSettings(**settings.model_dump()))
        check = SystemCheck(client.jetstream(), SOURCE, writer)
        if is_own:
            await check.check()
        else:
            with pytest.raises(WrongSystem):
                await check.check()
        await writer.close()
        await client.close()


@pytest.mark.parametrize(("broker", "tables"), [(True, True), (True, False), (False, True)])
def test_an_older_system_gets_its_id_by_itself(two: Two, broker: bool, tables: bool) -> None:
    """The body in RAW is the one that the tables know. With the other's tables it is not."""
    forget(two.first, broker=broker, tables=tables)
    changes = asyncio.run(migrate.migrate(two.first, BUDGETS, dry_run=False))
    assert {change.kind for change in changes} == {"system id"}
    in_registry, in_tables, in_durables = ids(two.first)
    assert in_registry == in_tables
    assert in_durables == {in_registry}
    assert asyncio.run(migrate.migrate(two.first, BUDGETS, dry_run=True)) == []


def test_a_lost_entry_of_the_registry_is_made_again_with_the_same_id(two: Two) -> None:
    """The durables have it too."""
    before = ids(two.first)
    asyncio.run(migrate.change_state(two.first, {"system_id": ""}))
    asyncio.run(migrate.migrate(two.first, BUDGETS, dry_run=False))
    assert ids(two.first) == before


def test_two_older_systems_are_told_apart_by_their_bodies(two: Two) -> None:
    """Number 1 of both is another body."""
    for one in (two.first, two.second):
        forget(one, broker=True, tables=True)
    with pytest.raises(Failed, match="other bodies under the numbers"):
        asyncio.run(find_system(two.crossed))
    for one in (two.first, two.second):
        asyncio.run(migrate.migrate(one, BUDGETS, dry_run=False))


def test_lost_tables_are_made_again(two: Two) -> None:
    """As after DROP DATABASE: a dry run says it, the adoption makes them, and names the replay."""
    lost = two.first.model_copy(update={"clickhouse_database": f"test_{uuid.uuid4().hex}"})
    before, warned = ids(two.first), list[str]()
    asked = asked_by(lost, BUDGETS)
    for dry_run in (True, False):
        mode = Mode(dry_run=dry_run, adopts_tables=True, warn=warned.append)
        changes = asyncio.run(migrate.migrate_as(lost, asked, mode))
        assert Change("database", lost.clickhouse_database, "", "", "created") in changes
    hints = [text for text in warned if "axonpush replay --since" in text]
    assert len(hints) == 2
    assert f"{RAW} still holds 1 body" in hints[0]
    in_registry, in_tables, in_durables = ids(lost)
    assert in_registry == in_tables != before[0]
    assert in_durables == {in_registry}
    back = Mode(takes_back=True, warn=warned.append)
    asyncio.run(migrate.migrate_as(two.first, asked_by(two.first, BUDGETS), back))
    assert ids(two.first)[0] == ids(two.first)[1] != in_registry


def test_a_lost_ledger_is_made_again_and_all_rows_stay(two: Two) -> None:
    """After DROP TABLE taken_rows: refused with what to do, and an adoption makes that table alone."""
    settings, database = two.second, two.second.clickhouse_database
    command(
        settings,
        "INSERT INTO event_rows (received_at, organisation, channel_id, event_id, source_seq) "
        "SELECT now() - 86400, 'o', 9, generateUUIDv4(), 1",
    )
    command(settings, f"CREATE TABLE {database}.kept ENGINE = Memory AS SELECT * FROM taken_rows")
    command(settings, "DROP TABLE taken_rows")
    asked = asked_by(settings, BUDGETS)
    with pytest.raises(Failed, match="missing beside its other tables"):
        asyncio.run(migrate.migrate_as(settings, asked, Mode()))
    own = Taking(adopts=True, own_tables="here")
    assert asyncio.run(find_system(settings, own)).lost_ledger
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(system_id, "STILL_WRITTEN_S", 0)
        asyncio.run(migrate.migrate_as(settings, asked, Mode(adopts_tables=True)))
    assert ids(settings)[0] == ids(settings)[1]
    assert asyncio.run(migrate.migrate_as(settings, asked, Mode())) == []
    command(settings, f"INSERT INTO taken_rows SELECT * FROM {database}.kept")
    command(settings, f"DROP TABLE {database}.kept")
    assert count(settings, "event_rows WHERE channel_id = 9") == 1
    command(settings, "ALTER TABLE event_rows DELETE WHERE channel_id = 9 SETTINGS mutations_sync = 1")


def test_the_tables_of_a_running_system_are_not_adopted(two: Two, own_nats_server: Server) -> None:
    """Rows of any age, inserted within the last minutes, as a replay does. What a restore brings is no insert."""
    new = two.second.model_copy(update={"nats_url": own_nats_server.url})
    before, copy = ids(two.second), f"test_{uuid.uuid4().hex}"
    columns = "(received_at, organisation, channel_id, event_id)"
    command(two.second, f"INSERT INTO event_rows {columns} SELECT now() - 86400, 'o', 9, generateUUIDv4()")
    with pytest.raises(Failed, match="expected tables that nobody writes to"):
        asyncio.run(migrate.migrate_as(new, asked_by(new, BUDGETS), Mode(adopts_tables=True)))
    assert ids(two.second) == before
    assert asyncio.run(find_system(new, Taking(adopts=True, own_tables="here"))).is_adopted
    command(two.second, "ALTER TABLE event_rows DELETE WHERE channel_id = 9 SETTINGS mutations_sync = 1")
    database = two.second.clickhouse_database
    command(two.second, f"BACKUP DATABASE {database} TO Disk('backups', '{copy}')")
    command(two.second, f"RESTORE DATABASE {database} AS {copy} FROM Disk('backups', '{copy}')")
    assert asyncio.run(
        find_system(new.model_copy(update={"clickhouse_database": copy}), Taking(adopts=True))
    ).is_adopted
    command(two.second, f"DROP DATABASE {copy}")


@pytest.mark.asyncio
async def test_the_broker_of_a_running_system_is_not_adopted(two: Two) -> None:
    """With an open request, as an idle worker has: `up --adopt-tables` with only the broker's address took it away."""
    other = two.first.model_copy(update={"clickhouse_database": f"test_{uuid.uuid4().hex}"})
    import nats

    client = await nats.connect(two.first.nats_url)
    request = b'{"batch": 1, "expires": 30000000000}'
    await client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{RAW}.{SOURCE.durable}", request, reply=client.new_inbox())
    await client.subscribe("_INBOX.>")
    await client.flush()
    try:
        with pytest.raises(Failed, match=r"found workers \(unpack\) that fetch messages"):
            await migrate.migrate_as(other, asked_by(other, BUDGETS), Mode(adopts_tables=True))
    finally:
        await client.close()
    assert (await find_system(other, Taking(adopts=True))).is_adopted


def test_adopting_takes_the_tables_from_the_system_that_had_them(
    two: Two, own_nats_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a restore beside a new broker: its numbers go on behind those of the tables. If that was a mistake, the
    owner takes them back, at once."""
    new = two.second.model_copy(update={"nats_url": own_nats_server.url})
    with pytest.raises(Failed, match="--adopt-tables"):
        asyncio.run(migrate.migrate(new, BUDGETS, dry_run=False))
    told: list[str] = []
    asked, adopts = asked_by(new, BUDGETS), Mode(adopts_tables=True, warn=told.append)
    monkeypatch.setattr(system_id, "STILL_WRITTEN_S", 0)
    changes = asyncio.run(migrate.migrate_as(new, asked, adopts))
    assert [text for text in told if text.startswith(f"took database {new.clickhouse_database} (")]
    with pytest.raises(Failed, match=r"took these tables .* at 20.* UTC\. By mistake\? `axonpush migrate --take-back`"):
        on_broker(two.second.nats_url, lambda client: check_same_system(client, two.second))
    monkeypatch.undo()
    assert Change("stream", RAW, "last_seq", "0", "1") in changes
    in_registry, in_tables, in_durables = ids(new)
    assert in_registry == in_tables
    assert in_durables == {in_registry}
    assert asyncio.run(migrate.migrate(new, BUDGETS, dry_run=False)) == []
    for mode in (Mode(), adopts):
        with pytest.raises(Failed, match="use --take-back in place"):
            asyncio.run(migrate.migrate_as(two.second, asked, mode))
    asyncio.run(migrate.migrate_as(two.second, asked, Mode(takes_back=True)))
    assert ids(two.second)[0] == ids(two.second)[1] != in_registry
    with pytest.raises(Failed, match="found two"):
        asyncio.run(migrate.migrate(new, BUDGETS, dry_run=False))
