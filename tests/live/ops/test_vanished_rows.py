"""Rows that are gone from ClickHouse: replaced by another body, expired, or missing. Each is told from the others."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator

import pytest
from clickhouse_connect.driver.client import Client

from ops.cli.servers import open_clickhouse
from ops.provisioning import migrate
from ops.runtime.settings import Settings
from ops.status import vanished_rows
from ops.status.reconciliation import ReconciledTotals, read_totals
from tests import databases
from tests.servers import Server

pytestmark = pytest.mark.live

CHANNEL = 7
NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
_COLUMNS = (
    "organisation", "channel_id", "event_id", "version", "item_type", "timestamp", "received_at", "source_seq",
    "source_item", "source_ordinal",
)  # fmt: skip


@pytest.fixture
def tables(clickhouse_server: Server) -> Iterator[Client]:
    """The tables in a database of this test's own."""
    settings = Settings(clickhouse_url=clickhouse_server.url, clickhouse_database=databases.take(clickhouse_server))
    migrate.migrate_tables(settings, dry_run=False)
    found = open_clickhouse(settings)
    found.database = settings.clickhouse_database
    yield found
    found.close()
    databases.give_back(clickhouse_server, settings.clickhouse_database)


def store(client: Client, seq: int, ids: list[uuid.UUID], generation: int = 0, at: dt.datetime = NOW) -> None:
    """The rows of one body: one for each id."""
    version = seq << 20 | generation
    rows = [("default", CHANNEL, event_id, version, "event", at, NOW, seq, 0, i) for i, event_id in enumerate(ids)]
    client.insert("event_rows", rows, column_names=_COLUMNS)


def gone(client: Client, ttl_days: int = 0, until_s: float = float("inf")) -> tuple[int, int, int, int, int]:
    """(stored, rows, missing, expired, unexamined) of the channel."""
    totals: ReconciledTotals = read_totals(client, 1, ttl_days, until_s)
    found = totals.vanished.get(CHANNEL, vanished_rows.VanishedRows())
    return totals.stored[CHANNEL], totals.rows.get(CHANNEL, 0), found.missing, found.expired, found.unexamined


def delete(client: Client, where: str) -> None:
    client.command(f"DELETE FROM event_rows WHERE {where}")


def test_a_row_that_a_newer_body_replaced_is_not_missing(tables: Client) -> None:
    """Before ClickHouse merges the parts, and after: the older row is gone for good, its identity is there."""
    one, two = uuid.uuid4(), uuid.uuid4()
    store(tables, 1, [one, two])
    store(tables, 2, [one])
    assert gone(tables) == (3, 2, 0, 0, 0)
    tables.command("OPTIMIZE TABLE event_rows FINAL")
    assert gone(tables) == (3, 2, 0, 0, 0)


def test_a_deleted_row_is_missing(tables: Client) -> None:
    """One of three; then all of them, which is three and not nothing."""
    ids = [uuid.uuid4() for _ in range(3)]
    store(tables, 1, ids)
    delete(tables, f"event_id = '{ids[1]}'")
    assert gone(tables) == (3, 2, 1, 0, 0)
    delete(tables, "1")
    assert gone(tables) == (3, 0, 3, 0, 0)


def test_a_truncated_table_is_all_missing(tables: Client) -> None:
    """However it was emptied; the bodies' time is known, for a replay."""
    store(tables, 1, [uuid.uuid4() for _ in range(4)])
    tables.command("TRUNCATE TABLE event_rows")
    assert gone(tables) == (4, 0, 4, 0, 0)
    found = read_totals(tables, 1).vanished[CHANNEL]
    assert found.first_at is not None
    assert found.last_at is not None
    assert abs(found.first_at.replace(tzinfo=dt.UTC) - NOW) < dt.timedelta(minutes=2)


def test_of_two_bodies_with_one_record_one_row_is_missing(tables: Client) -> None:
    """Merged first, deleted then: there was one row, and one is missing."""
    one = uuid.uuid4()
    store(tables, 1, [one])
    store(tables, 2, [one])
    tables.command("OPTIMIZE TABLE event_rows FINAL")
    delete(tables, f"event_id = '{one}'")
    assert gone(tables) == (2, 0, 1, 0, 0)


def test_an_older_row_does_not_stand_for_a_deleted_newer_one(tables: Client) -> None:
    """ClickHouse shows the older row again when the newer one is deleted before they are merged."""
    one = uuid.uuid4()
    store(tables, 1, [one])
    store(tables, 2, [one])
    delete(tables, "source_seq = 2")
    assert gone(tables) == (2, 1, 1, 0, 0)


def test_a_dropped_day_is_missing_and_expired_once_the_ttl_says_so(tables: Client) -> None:
    """The same loss has another name where rows of that day expire."""
    old = NOW - dt.timedelta(days=9)
    store(tables, 1, [uuid.uuid4(), uuid.uuid4()], at=old)
    store(tables, 2, [uuid.uuid4()])
    tables.command(f"ALTER TABLE event_rows DROP PARTITION '{old:%Y-%m-%d}'")
    assert gone(tables) == (3, 1, 2, 0, 0)
    assert gone(tables, ttl_days=30) == (3, 1, 2, 0, 0)
    assert gone(tables, ttl_days=5) == (3, 1, 0, 2, 0)


def test_a_replay_that_moves_a_row_loses_nothing(tables: Client) -> None:
    """A changed normaliser gives it another timestamp; the row of the first processing is deleted."""
    one = uuid.uuid4()
    store(tables, 1, [one])
    tables.insert(
        "taken_rows",
        [(NOW.replace(second=0), "default", CHANNEL, "event", 1, 0, 5, 1)],
        column_names=(
            "minute",
            "organisation",
            "channel_id",
            "stage",
            "origin_seq",
            "item_index",
            "generation",
            "units",
        ),
    )
    store(tables, 1, [one], generation=5, at=NOW - dt.timedelta(days=1))
    delete(tables, f"version = {1 << 20}")
    assert gone(tables) == (1, 1, 0, 0, 0)
    delete(tables, "1")
    assert gone(tables) == (1, 0, 1, 0, 0)


def test_a_second_delivery_changes_nothing(tables: Client) -> None:
    """The same body inserted twice, in other pieces."""
    ids = [uuid.uuid4() for _ in range(3)]
    store(tables, 1, ids)
    store(tables, 1, ids[:2])
    assert gone(tables) == (3, 3, 0, 0, 0)
    delete(tables, f"event_id = '{ids[0]}'")
    assert gone(tables) == (3, 2, 1, 0, 0)


def test_without_time_what_is_gone_is_said_to_be_unexamined(tables: Client) -> None:
    """It is neither called merged nor missing."""
    store(tables, 1, [uuid.uuid4()])
    delete(tables, "1")
    assert gone(tables, until_s=0) == (1, 0, 0, 0, 1)


def test_rows_stored_before_this_version_count_as_merged(tables: Client) -> None:
    """Nothing is known of their identities: no alarm after an upgrade, as before."""
    store(tables, 1, [uuid.uuid4()])
    delete(tables, "1")
    tables.command(
        "INSERT INTO stored_rows (minute, organisation, channel_id, source_seq, source_item, generation, ordinals) "
        "SELECT minute, organisation, channel_id, 2, source_item, generation, ordinals FROM stored_rows"
    )
    assert gone(tables) == (2, 0, 1, 0, 0)
