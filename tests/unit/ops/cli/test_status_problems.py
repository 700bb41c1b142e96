"""What `axonpush status` says of what is wrong, and that it says what to do."""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from ops.cli import status as status_screen
from ops.cli.processes.janitor import check_last_copies
from ops.delivery_report.write_report import page_report
from ops.janitor.trimming import JanitorSettings
from ops.provisioning import lost_tables
from ops.provisioning.cluster_changes import StateReport, _unwanted
from ops.provisioning.desired_state import checked
from ops.provisioning.streams import Budgets
from ops.runtime.failures import Failed
from ops.status.findings import Status, StreamStatus
from ops.status.local_up import LocalUp, running_up
from ops.status.lost_records import held_records, replay_command
from ops.status.quotas import QuotaUse
from ops.status.reconciliation import Account, Reconciliation
from ops.status.report import Observer
from ops.status.servers import ClickHouseState, Disk, ReceiverHealth, RefusedSender
from ops.status.vanished_rows import VanishedRows
from schemas.registry import Key, Organisation
from schemas.subjects import DEAD
from schemas.usage import Unit

NOW = dt.datetime(2026, 11, 27, 12, 0, tzinfo=dt.UTC)


def test_a_replay_of_what_came_without_a_channel_names_none() -> None:
    """Channel 0 stands for it, which no option chooses: with the others alone, its bodies were left out."""
    assert replay_command(NOW, [2, 0]) == "axonpush replay --since '2026-11-27 12:00'"
    assert replay_command(NOW, [2, 7]).endswith(" --channel 2 --channel 7")


def test_a_killed_clickhouse_of_up_is_said_to_come_back() -> None:
    """With one full stop after each sentence."""
    unknown = {"ClickHouse": "expected ClickHouse at http://a:1, could not connect (connection refused)."}
    of_up = Status(unknown=unknown, up=LocalUp("7", "/d/logs", ended=frozenset({"clickhouse"}))).problems[0]
    assert "has ended, or is starting: `up` starts it again" in of_up
    assert "/d/logs" in of_up
    alone = Status(unknown=unknown).problems[0]
    assert "read its log" in alone
    assert ".." not in of_up + alone


def test_more_rows_than_bodies_of_one_system_is_no_loss() -> None:
    """The advice to compare broker and tables led nowhere where both have one id."""
    total = Account(None, received=5, rows=8)
    state = checked({**Budgets().model_dump(), "nats_replicas": 1, "system_id": "a" * 32})
    report = StateReport(state)
    of_one = Status(reconciliation=Reconciliation(total), desired=report).headline
    assert "Broker and tables belong together" in of_one
    assert "migrate" not in of_one
    assert "axonpush migrate --dry-run" in Status(reconciliation=Reconciliation(total)).headline


def test_one_channel_is_one_channel() -> None:
    lost = VanishedRows(missing=3, first_at=NOW, last_at=NOW)
    totals = [Account(None, received=5, rows=2, missing=3), Account(7, received=5, rows=2, missing=3)]
    text = Status(reconciliation=Reconciliation(totals[0], totals[1:], lost)).headline
    assert "(channel 7)" in text


def test_used_quotas_and_archived_channels_are_noted() -> None:
    """`status` said OK and nothing else while senders got 429 and 403."""
    limited = Key(sha256="a" * 64, organisation="acme", environment="production", kind="secret", quota_per_minute=5)
    senders = [
        RefusedSender("quota:key", "acme", "5a8f" + "0" * 12, 0, 3, limited),
        RefusedSender("quota:organisation:rows", "acme", "", 0, 1, Organisation(slug="acme", quota_rows_per_minute=5)),
        RefusedSender("403:archived_channel", "acme", "", 1, 2),
    ]
    status = Status(refused_senders=senders)
    key, organisation, channel = status.notes
    assert "key 5a8f000000000000 has used its quota (--quota): 3 requests refused" in key
    assert "(429)" in key
    assert "organisation acme has used its quota (--quota-rows): 1 request refused" in organisation
    assert "`axonpush organisations limit acme --quota-rows N/min`" in organisation
    assert "channel 1 was used while it was archived: 2 requests refused" in channel
    assert "(403)" in channel
    assert not set(status.notes) & set(status.problems)
    assert status.as_json()["refused_senders"][2]["channel"] == 1


def test_a_quota_that_is_just_used_up_is_noted_before_a_refusal_is_stored() -> None:
    uses = [
        QuotaUse(of, name, "acme", {Unit.REQUESTS: used}, {Unit.REQUESTS: 5})
        for of, name, used in (("key", "k1", 5), ("key", "k2", 4), ("organisation", "acme", 6), ("key", "k3", 5))
    ]
    notes = Status(quotas=uses, refused_senders=[RefusedSender("quota:key", "acme", "k3", 0, 3)]).notes
    assert [re.split(" has used| used up", note)[0] for note in notes] == ["key k3", "key k1", "organisation acme"]


def test_a_clickhouse_that_hangs_is_not_said_to_come_back_by_itself() -> None:
    silent = {"ClickHouse": "expected an answer of ClickHouse at http://a:1, found no answer in time: it is stopped"}
    up = LocalUp("7", "/d/logs", {"clickhouse": (4711,)})
    text = Status(unknown=silent, up=up).problems[0]
    assert "ClickHouse of this folder's `axonpush up` runs but does not answer (pid 4711)" in text
    assert "kill -9 4711" in text
    assert "by itself" not in text
    slow = {"ClickHouse": "no answer within 8 s"}
    assert "kill -9 4711" in Status(unknown=slow, up=up).problems[0]


def test_the_process_of_the_clickhouse_of_up_is_known_while_it_lives(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("7")
    with (tmp_path / "lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for pids, pid in (([os.getpid()], (os.getpid(),)), ([], ()), (["x"], ()), ([2**22 + 1], ())):
            (tmp_path / "ready.json").write_text(json.dumps({"pids": {"clickhouse": pids}}))
            found = running_up(tmp_path)
            assert found
            assert found.pids.get("clickhouse", ()) == pid


def test_rows_of_status_are_not_wider_than_a_screen_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """One long error made every row of the table 340 characters wide."""
    status_screen._print_servers(Status(unknown={"reconciliation": "words " * 60, "quotas": "short"}))
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) < 160
    assert "…" in shown
    assert "short" in shown


def dead(messages: int, newest_s: float | None) -> Status:
    receivers = [ReceiverHealth("r1", "host:8080", {"broker": True})]
    stream = StreamStatus(DEAD, messages, 100, 1000, 0.1, 0.0, newest_s, newest_s)
    return Status(streams=[stream], receivers=receivers)


def test_messages_that_die_are_in_the_headline_and_older_dead_letters_in_a_note() -> None:
    """All of them are accounted for, so status said OK and nothing else while half of the events became no rows."""
    dying, older, none = dead(3, 49.0), dead(1, 86_400.0), dead(0, None)
    assert dying.headline == "OK: everything received is accounted for, but messages die: see the first NOTE"
    assert dying.notes[0].startswith("3 messages that could not become rows are in DEAD (the newest for 49 s).")
    assert "`axonpush dead list`" in dying.notes[0]
    assert older.headline == none.headline == "OK: everything received is accounted for"
    assert older.notes[0].startswith("1 message that could not become rows is in DEAD")
    assert none.notes == []
    lost = Status(streams=dying.streams, unknown={"ClickHouse": "no answer within 8 s"})
    assert lost.headline.startswith("PROBLEM: ClickHouse")


def test_a_lost_table_with_the_id_is_not_called_another_system() -> None:
    """It said that the database has no tables, and to correct an address that was right; `migrate` alone refuses it."""
    wrong = "the broker at a:4222 belongs to system 1, and database axonpush has no tables. Correct …"
    lost = Status(wrong_system=wrong, clickhouse=ClickHouseState("25.1", missing_tables=["taken_rows"]))
    assert not any("has no tables" in text for text in lost.problems)
    assert lost.headline.startswith("PROBLEM: table taken_rows does not exist")
    assert "`axonpush migrate --adopt-tables` makes it again" in lost.headline
    other = Status(wrong_system=wrong, clickhouse=ClickHouseState("25.1", missing_tables=["event_rows"]))
    assert wrong in other.problems
    assert lost_tables.refusal([made("taken_rows")]).endswith(lost_tables.WITHOUT_ID)
    assert "`axonpush migrate` makes it again" in lost_tables.refusal([made("event_rows")])


def made(name: str) -> lost_tables.Made:
    return next(one for one in lost_tables._every().values() if one.name == name)


@pytest.mark.parametrize(
    ("found", "wanted", "text"),
    [(30, 0, "after 30 days, the system should keep them for ever"), (30, 90, "keep them 90 days"), (90, 90, ""),
     (90, 30, ""), (0, 90, ""), (30, None, "")],
)  # fmt: skip
def test_a_ttl_that_someone_shortened_is_a_problem(found: int, wanted: int | None, text: str) -> None:
    """Rows go, and nothing said so but `migrate --dry-run`."""
    state = checked({**Budgets().model_dump(), "nats_replicas": 1, "clickhouse_ttl_days": wanted})
    status = Status(clickhouse=ClickHouseState("25.1", ttl_days=found), desired=StateReport(state))
    told = [one for one in status.problems if "deletes rows" in one]
    assert len(told) == bool(text)
    assert all(text in one for one in told)
    assert _unwanted([0, found, 0], 0) == found
    assert _unwanted([], 0) is None


def test_a_full_disk_of_the_broker_says_what_senders_get() -> None:
    disks = [Disk("broker", ".axonpush/nats", 0)]
    (text,) = (one for one in Status(local_disks=disks).problems if "disk" in one)
    assert "senders get 503" in text
    assert "inserted by themselves" not in text


def test_bodies_that_may_be_the_last_copy_of_rows_are_kept() -> None:
    """`janitor --once --allow-lowering` removed them beside a status that advised to replay them."""
    minute = NOW.replace(tzinfo=None)  # as the driver gives it
    missing = VanishedRows(missing=3, first_at=minute, last_at=minute)
    of_channel = Account(7, received=5, rows=2, missing=3)
    found = Reconciliation(replace(of_channel, channel=None), [of_channel], missing, held_since=NOW)
    assert held_records(replace(found, held_since=NOW + dt.timedelta(seconds=59)))
    text = held_records(found)
    assert text.startswith("3 records have no row")
    assert "`axonpush replay --since '2026-11-27 12:00' --channel 7`" in text
    assert held_records(replace(found, held_since=NOW + dt.timedelta(hours=1))) == ""
    assert held_records(replace(found, held_since=None)) == ""
    assert held_records(Reconciliation(Account(None, received=5, rows=5), held_since=NOW)) == ""
    lacking = Account(None, received=5, rows=2)
    new_tables = Reconciliation(lacking, [replace(lacking, channel=7)], held_since=NOW, is_idle=True)
    assert held_records(new_tables).startswith("3 records have no row")
    under_load = replace(new_tables, is_idle=False, lost_before=2)
    assert held_records(under_load).startswith("2 records have no row")


@pytest.mark.asyncio
async def test_nothing_is_removed_while_nobody_knows_whether_rows_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A silent ClickHouse may be the lost one whose rows only RAW can make again."""

    async def silent(_: Observer) -> Status:
        return Status()

    monkeypatch.setattr(Observer, "status", silent)
    with pytest.raises(Failed, match=r"found no numbers \(no answer\).*Nothing was removed"):
        await check_last_copies(JanitorSettings(), Path("data"))


@pytest.mark.asyncio
async def test_two_systems_are_not_called_a_silent_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both answered, and it said that one does not."""

    async def both(_: Observer) -> Status:
        return Status(
            wrong_system="broker and tables belong to two systems: a and b",
            unknown={"reconciliation": "broker and tables belong to two systems"},
        )

    monkeypatch.setattr(Observer, "status", both)
    with pytest.raises(Failed, match=r"^broker and tables belong to two systems: a and b\. Nothing was removed"):
        await check_last_copies(JanitorSettings(), Path("data"))
    assert page_report(await both(Observer.__new__(Observer)), {}, 0.0)["trouble"].startswith("broker and tables")
