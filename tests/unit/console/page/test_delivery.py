"""The reconciliation for one organisation: only its own numbers, from the janitor's report."""

from __future__ import annotations

import json
from typing import Any

import pytest

from console.explore.delivery import OLD_AFTER_S, TELL_EVERY_S, DeliveryReports
from ops.delivery_report import write_report
from ops.delivery_report.write_report import LEAST_PAUSE_S, SAMPLE_S, page_report, pause_after
from ops.status.findings import Status, WorkerStatus
from ops.status.reconciliation import Account, Reconciliation
from schemas.registry import Channel
from schemas.subjects import DELIVERY_LOOK_S, DELIVERY_REPORT_ENTRY, DELIVERY_WANTED_ENTRY
from tests.unit.console.fakes import (
    FOREIGN,
    NOW,
    TOKEN,
    FakeClickHouse,
    FakeStateEntries,
    client,
    directory_of,
    services,
    token,
)

pytestmark = pytest.mark.asyncio
PATH = "/api/0/organizations/{}/delivery/"


def report(at_s: float | None = None) -> bytes:
    """As the janitor writes it: channel 1 is of acme, 9 of others."""
    accounts = [Account(1, received=10, rows=7, dead=2, queued=1), Account(9, received=500, rows=500)]
    total = Account(None, received=510, rows=507, dead=2, queued=1)
    status = Status(
        reconciliation=Reconciliation(total, accounts),
        workers=[WorkerStatus("event", pending=1, oldest_s=2.5, listeners=1)],
        unknown={},
    )
    made = page_report(status, {1: 2, 9: 40}, NOW.timestamp() if at_s is None else at_s)
    return json.dumps(made).encode()


async def asked(path: str, entries: FakeStateEntries, token: str | None = None) -> Any:
    made = services(FakeClickHouse())
    made.reports = DeliveryReports(entries, NOW.timestamp)
    async with client(made, *([token] if token else [])) as asking:
        return await asking.get(path)


async def test_an_organisation_sees_its_own_numbers_only() -> None:
    """Neither those of others nor a total that has them in it."""
    entries = FakeStateEntries()
    entries.entries[DELIVERY_REPORT_ENTRY] = (report(), 1)
    told = (await asked(PATH.format("acme"), entries)).json()
    assert told["total"]["received"] == 10
    assert told["total"]["difference"] == 0
    assert [one["slug"] for one in told["projects"]] == ["web"]
    assert told["deadLetters"] == 2
    assert told["oldestSeconds"] == 2.5
    assert "500" not in json.dumps(told)
    foreign = (await asked(PATH.format("others"), entries, FOREIGN)).json()
    assert (foreign["total"]["received"], foreign["deadLetters"]) == (500, 40)


async def test_a_channel_that_was_removed_is_nobodys() -> None:
    """Its owner is in no registry any more, and its records are not those of the organisation that is left."""
    entries = FakeStateEntries()
    entries.entries[DELIVERY_REPORT_ENTRY] = (report(), 1)
    known = directory_of(Channel(id=1, organisation="acme", slug="web"), token(TOKEN))
    made = services(FakeClickHouse(), known)
    made.reports = DeliveryReports(entries, NOW.timestamp)
    async with client(made) as asking:
        told = (await asking.get(PATH.format("acme"))).json()
    assert told["total"]["received"] == 10


async def test_what_troubles_servers_is_told_without_their_addresses() -> None:
    """The report reaches every organisation."""
    status = Status(unknown={"reconciliation": "expected ClickHouse at http://10.0.0.7:8123 (AXONPUSH_CLICKHOUSE_URL)"})
    told = page_report(status, {}, 0.0)["trouble"]
    assert told
    assert "10.0.0.7" not in told
    assert page_report(Status(unknown={}), {}, 0.0)["trouble"] == ""


async def test_a_look_asks_for_a_report_and_not_with_every_request() -> None:
    """One entry, written again after a while."""
    entries, clock = FakeStateEntries(), [1_000.0]
    reports = DeliveryReports(entries, lambda: clock[0])
    assert await reports.read() == {}
    await reports.read()
    assert entries.entries[DELIVERY_WANTED_ENTRY] == (b"1000", 1)
    clock[0] += TELL_EVERY_S + 1
    await reports.read()
    assert entries.entries[DELIVERY_WANTED_ENTRY] == (b"1016", 2)
    assert TELL_EVERY_S < DELIVERY_LOOK_S / 2, "so that the janitor does not stop between two looks"


@pytest.mark.parametrize("stored", [b"", b"{", b"[]", b"{}"])
async def test_without_a_report_nothing_is_said_to_be_zero(stored: bytes) -> None:
    """No number at all, not a difference of 0."""
    entries = FakeStateEntries()
    entries.entries[DELIVERY_REPORT_ENTRY] = (stored, 1)
    told = (await asked(PATH.format("acme"), entries)).json()
    assert told["total"] is None
    assert told["checkedSeconds"] is None


async def test_an_old_report_says_so() -> None:
    """The janitor may have stopped."""
    entries = FakeStateEntries()
    entries.entries[DELIVERY_REPORT_ENTRY] = (report(NOW.timestamp() - OLD_AFTER_S - 1), 1)
    assert (await asked(PATH.format("acme"), entries)).json()["isOld"]


async def test_a_report_that_takes_long_is_not_called_old() -> None:
    """The janitor that works as it should is not doubted, however slow the servers are."""
    longest_s = write_report._LIMIT_S
    entries = FakeStateEntries()
    age_s = pause_after(longest_s) + longest_s
    entries.entries[DELIVERY_REPORT_ENTRY] = (report(NOW.timestamp() - age_s), 1)
    assert not (await asked(PATH.format("acme"), entries)).json()["isOld"]


async def test_without_the_broker_it_is_a_503() -> None:
    """And never a difference of 0."""
    entries = FakeStateEntries()
    entries.is_away = True
    answer = await asked(PATH.format("acme"), entries)
    assert answer.status_code == 503
    assert "on disk" in answer.json()["detail"]


async def test_dead_letters_and_refusals_are_of_the_own_projects() -> None:
    """Both questions name the organisation and its channels."""
    clickhouse = FakeClickHouse()
    async with client(services(clickhouse)) as asking:
        answer = await asking.get(f"{PATH.format('acme')}problems/", params={"statsPeriod": "24h"})
    times = {"since": "2026-11-26T12:00:00+00:00", "asOf": "2026-11-27T12:00:00+00:00"}
    assert answer.json() == {"refusals": [], "deadLetters": [], **times}
    assert len(clickhouse.asked) == 2
    for sql, parameters in clickhouse.asked:
        assert "organisation = {organisation:String}" in sql
        assert (parameters["organisation"], parameters["channels"]) == ("acme", [1, 2])
        assert parameters["since"] == int(NOW.timestamp()) - 86_400


async def test_a_report_that_costs_much_is_made_less_often() -> None:
    """Looking never becomes the load."""
    assert pause_after(SAMPLE_S) == LEAST_PAUSE_S
    assert pause_after(20.0 + SAMPLE_S) == 100.0
