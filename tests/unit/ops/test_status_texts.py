"""What `axonpush status` says of servers that do not answer, of missing rows and of revoked keys."""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import socket
from pathlib import Path

import pytest
from nats.js.api import ConsumerConfig, ConsumerInfo

from ops.cli import servers, status
from ops.cli.servers import open_nats
from ops.cli.unreachable import START_UP, unreachable
from ops.provisioning.cluster_changes import StateReport
from ops.provisioning.desired_state import checked
from ops.provisioning.streams import Budgets
from ops.runtime.failures import Failed
from ops.runtime.settings import Settings
from ops.runtime.stream_state import StreamState
from ops.status.findings import Status, WorkerStatus
from ops.status.local_up import LocalUp, running_up
from ops.status.reconciliation import Account, Reconciliation
from ops.status.report import SETTLED_S, Observer, is_idle, listeners
from ops.status.servers import ClickHouseState, ReceiverHealth, RefusalRate
from ops.status.vanished_rows import VanishedRows
from schemas.subjects import RAW, REPLAY
from tests.servers import HOST

AT = dt.datetime(2026, 11, 26, 21, 49, tzinfo=dt.UTC)


@pytest.mark.asyncio
async def test_a_stopped_broker_is_not_taken_for_one_that_was_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """It accepts connections and says nothing, as after SIGSTOP."""
    monkeypatch.setattr(servers, "CONNECT_TIMEOUT_S", 1.0)
    with socket.socket() as listening:
        listening.bind((HOST, 0))
        listening.listen()
        settings = Settings(nats_url=f"nats://{HOST}:{listening.getsockname()[1]}")
        with pytest.raises(Failed, match="found no answer in time") as raised:
            async with open_nats(settings, "test"):
                pass
    assert "axonpush up" not in str(raised.value)


def test_a_broker_of_a_running_up_says_what_it_means_and_where_to_look() -> None:
    up = LocalUp("123", "/data/logs")
    (text,) = (one for one in Status(unknown={"NATS": "found no answer in time"}, up=up).problems if "broker" in one)
    for word in (
        "no answer in time",
        "senders get 503",
        "nothing that was stored is lost",
        "process 123",
        "/data/logs",
    ):
        assert word in text


def test_the_lock_tells_whether_up_runs(tmp_path: Path) -> None:
    """Not the file, which a killed `up` leaves; and only for the broker of this folder."""
    assert running_up(tmp_path) is None
    (tmp_path / "lock").write_text("4711")
    assert running_up(tmp_path) is None
    (tmp_path / "ready.json").write_text(
        json.dumps({"nats_url": "nats://a:1", "clickhouse_url": "http://127.0.0.1:8123"})
    )
    with (tmp_path / "lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        found = running_up(tmp_path)
        assert found is not None
        assert (found.pid, found.logs) == ("4711", str(tmp_path.resolve() / "logs"))
        assert Observer(Settings(nats_url="nats://a:1"), tmp_path)._up() == found
        assert Observer(Settings(nats_url="nats://b:1"), tmp_path)._up() is None


def test_a_refused_password_is_not_a_clickhouse_that_is_away() -> None:
    """Only this command's password is wrong."""
    error = PermissionError("Code: 516. Authentication failed")
    why = unreachable("ClickHouse", "http://a:8123", "AXONPUSH_CLICKHOUSE_URL", error)
    text = " ".join(Status(unknown={"ClickHouse": why, "refusals": why}).problems)
    assert why not in text, "one cause is said once"
    assert "AXONPUSH_CLICKHOUSE_PASSWORD" in text
    assert "does not answer" not in text
    assert START_UP not in text


def test_missing_rows_come_with_the_command() -> None:
    """To copy, with each channel."""
    accounts = [Account(2, received=5, missing=3), Account(3, received=5, rows=5), Account(9, received=1, missing=1)]
    total = Account(None, received=11, rows=5, missing=4)
    found = Reconciliation(total, accounts, VanishedRows(4, 0, 0, AT, AT), held_since=AT)
    text = Status(reconciliation=found).problems[0]
    assert "`axonpush replay --since '2026-11-26 21:49' --channel 2 --channel 9`" in text


def test_a_revoked_key_that_is_used_is_noted() -> None:
    """It is no problem of the system, so it does not change the exit code."""
    found = Status(refusals=[RefusalRate("401:revoked_key", 2.1, 1), RefusalRate("413:too_large", 1.0)])
    (note,) = found.notes
    assert "21 requests" in note
    assert note.startswith("a revoked key is still used")
    assert note.endswith("`axonpush refusals` shows which key")
    (note_of_three,) = Status(refusals=[RefusalRate("401:revoked_key", 0.3, 3)]).notes
    assert note_of_three.startswith("3 revoked keys are still used: 3 requests were refused")
    assert note_of_three.endswith("shows which keys")
    assert note not in found.problems
    assert Status(refusals=[RefusalRate("413:too_large", 1.0)]).notes == []


def test_the_reconciliation_leaves_out_what_is_zero(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Eleven columns do not fit 80; `difference` is shown always, and what is missing if something is."""
    whole = Account(2, received=5, rows=4, dropped=1)
    status._print_reconciliation(Status(reconciliation=Reconciliation(whole, [whole])))
    shown = capsys.readouterr().out
    for word in ("channel", "received", "= rows", "+ dropped", "difference"):
        assert word in shown
    for word in ("merged", "expired", "queued", "missing"):
        assert word not in shown
    lost = Account(2, received=5, rows=4, missing=1)
    status._print_reconciliation(Status(reconciliation=Reconciliation(lost, [lost])))
    assert "of it missing" in capsys.readouterr().out


def numbers(channel: int | None, **counts: int) -> Account:
    return Account(channel, **counts)


def test_records_without_a_result_come_with_the_whole_command() -> None:
    """Since the first body that RAW holds, and only the channels that lack something."""
    accounts = [numbers(2, received=5, rows=3), numbers(3, received=5, rows=5)]
    found = Reconciliation(numbers(None, received=10, rows=8), accounts, held_since=AT)
    text = Status(reconciliation=found).headline
    assert text.startswith("PROBLEM: 2 received records are unaccounted for")
    assert "`axonpush replay --since '2026-11-26 21:49' --channel 2`" in text
    gone = Status(reconciliation=Reconciliation(found.total, accounts)).headline
    assert "does not hold their bodies" in gone
    assert "axonpush replay" not in gone


def test_more_results_than_bodies_is_a_problem() -> None:
    """Two systems in one database, for instance; a replay would delete rows of the other."""
    found = Reconciliation(numbers(None, received=5, rows=8), [numbers(2, received=5, rows=8)], held_since=AT)
    text = Status(reconciliation=found).headline
    assert text.startswith("PROBLEM: 3 records more are stored or counted than were received")
    assert "do not replay" in text


@pytest.mark.parametrize("rows", [3, 8])
def test_a_difference_while_messages_are_under_way_is_no_problem_and_is_said(rows: int) -> None:
    """Numbers of broker and ClickHouse are read one after the other."""
    receivers = [ReceiverHealth("a", "a:1", {})]
    moving = Reconciliation(numbers(None, received=5, rows=rows), is_idle=False)
    found = Status(reconciliation=moving, receivers=receivers)
    assert found.problems == []
    assert found.headline == "OK: everything received is accounted for, or is being processed now"
    settled = Status(reconciliation=Reconciliation(numbers(None, received=5, rows=5)), receivers=receivers)
    assert settled.headline == "OK: everything received is accounted for"


def stream(name: str, last_seq: int, age_s: float = 0.0, messages: int = 0) -> StreamState:
    last_at = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=age_s)
    return StreamState(name, messages, 0, 0, 1, last_seq, None, {}, last_at)


def test_a_system_is_idle_when_nothing_came_waits_or_is_replayed() -> None:
    old, new = stream(RAW, 9, 2 * SETTLED_S), stream(RAW, 9, SETTLED_S / 2)
    assert is_idle({RAW: old}, old, 0)
    assert not is_idle({RAW: old}, old, 1)
    assert not is_idle({RAW: new}, new, 0)
    assert not is_idle({RAW: old}, stream(RAW, 10), 0)
    assert not is_idle({RAW: old, REPLAY: stream(REPLAY, 3, messages=1)}, old, 0)


def test_two_systems_are_the_first_problem_and_nothing_is_reconciled() -> None:
    """Whatever else is wrong: all other numbers mix two systems."""
    observer = Observer(Settings(clickhouse_database="events"), Path("none"))
    state = checked({**Budgets().model_dump(), "nats_replicas": 1, "system_id": "a" * 32})
    found = Status(
        desired=StateReport(state),
        clickhouse=ClickHouseState("25.8", system_id="b" * 32, knows_system=True),
        reconciliation=Reconciliation(numbers(None, received=5, missing=5)),
    )
    observer._compare_systems(found)
    assert "aaaaaaaa" in found.headline
    assert "bbbbbbbb" in found.headline
    assert found.reconciliation is None
    assert "not known: reconciliation" not in " ".join(found.problems)
    found.clickhouse = ClickHouseState("25.8", system_id=None, knows_system=False)
    found.wrong_system = ""
    observer._compare_systems(found)
    assert not found.wrong_system, "this user may not read it"


def test_a_dropped_table_is_the_headline_and_its_errors_are_not_repeated() -> None:
    """Whatever fails because of it has one cause."""
    state = ClickHouseState("25.1", missing_tables=["event_rows"], missing_views=["events"])
    told = "Unknown table event_rows (ClickHouse's code 60): if it is one of ours"
    found = Status(clickhouse=state, receivers=[ReceiverHealth("r", "a", {})], unknown={"reconciliation": told})
    assert found.headline.startswith("PROBLEM: table event_rows does not exist")
    assert "rows wait in the broker; Rows that event_rows held are gone" in found.headline
    assert "only in a backup. `axonpush migrate` makes it again" in found.headline
    assert any("view events is missing: `axonpush migrate` makes it again" in text for text in found.problems)
    assert not any("not known" in text for text in found.problems)


def test_rows_of_channels_that_the_registry_does_not_know_are_a_note() -> None:
    """As after a lost broker; not where the registry could not be read, and not for a channel that lost its rows."""
    accounts = [Account(1, rows=3), Account(2, rows=1), Account(3), Account(0, rows=1)]
    found = Reconciliation(Account(None), accounts)
    (note,) = Status(reconciliation=found, registry_channels=frozenset({1})).notes
    assert "rows of channel 2, which the registry does not know" in note
    assert "axonpush registry import FILE" in note
    assert Status(reconciliation=found, registry_channels=frozenset({1, 2})).notes == []
    assert Status(reconciliation=found).notes == []


@pytest.mark.parametrize(
    ("names", "named", "meanwhile"),
    [
        (["event_rows"], "table event_rows does not exist", "rows wait in the broker"),
        (["trace_bounds"], "table trace_bounds does not exist", "rows wait in the broker"),
        (
            ["errors_from_events"],
            "materialized view errors_from_events does not exist",
            "Rows are stored, but error_rows lacks those that came since",
        ),
        (
            ["issue_changes"],
            "table issue_changes does not exist",
            "What people and programs write to issue_changes is refused, and nothing keeps it",
        ),
        (
            ["issue_day_rows"],
            "table issue_day_rows does not exist",
            "Lists of issues are slower, because they read all errors",
        ),
        (
            ["outcome_rows", "stored_from_events", "alert_rule_rows"],
            "table outcome_rows, materialized view stored_from_events, table alert_rule_rows do not exist",
            "rows wait in the broker; What people and programs write to alert_rule_rows is refused",
        ),
        (["migrations"], "table migrations does not exist", ""),
    ],
)
def test_what_was_dropped_is_called_what_it_is(names: list[str], named: str, meanwhile: str) -> None:
    """And only for tables that workers fill do rows wait: nothing keeps what people wrote to the others."""
    found = Status(clickhouse=ClickHouseState("25.1", missing_tables=names))
    assert found.headline.startswith(f"PROBLEM: {named}: someone dropped")
    assert meanwhile in found.headline
    assert ("rows wait" in found.headline) == ("rows wait" in meanwhile)
    assert f"`axonpush migrate` makes {'it' if len(names) == 1 else 'them'} again" in found.headline


def of_new_tables(made_at: dt.datetime | None, held_since: dt.datetime | None = AT) -> str:
    accounts = [numbers(2, received=41, rows=2), numbers(3, received=5, rows=5)]
    found = Reconciliation(numbers(None, received=46, rows=7), accounts, held_since=held_since)
    return Status(reconciliation=found, clickhouse=ClickHouseState("25.1", made_at=made_at)).headline


def test_tables_that_are_younger_than_the_bodies_in_raw_are_no_bug() -> None:
    """As after a lost ClickHouse. It says since when, how many records are not there, and how they come back."""
    text = of_new_tables(AT + dt.timedelta(hours=7))
    assert text.startswith("PROBLEM: the tables are new since 2026-11-27 04:49 UTC, and 39 received records are not in")
    assert "`axonpush replay --since '2026-11-26 21:49'` makes rows" in text, "refusals came without a channel"
    assert "bug" not in text
    one = Reconciliation(numbers(None, received=1), [numbers(2, received=1)], held_since=AT)
    newer = ClickHouseState("25.1", made_at=AT + dt.timedelta(hours=1))
    assert "1 received record is not in them" in Status(reconciliation=one, clickhouse=newer).headline


@pytest.mark.parametrize("made_at", [AT, AT - dt.timedelta(days=9), None])
def test_other_records_without_a_result_may_be_a_bug(made_at: dt.datetime | None) -> None:
    """Tables that were there before the oldest body knew all of them."""
    assert "39 received records are unaccounted for" in of_new_tables(made_at)
    assert "if the number stays, this is a bug" in of_new_tables(made_at)
    assert "does not hold their bodies" in of_new_tables(AT + dt.timedelta(hours=1), held_since=None)


def after_a_lost_table(lost_before: int, age_s: float = 120.0, oldest_s: float | None = None) -> Status:
    made_at = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=age_s)
    found = Reconciliation(
        numbers(None, received=46, rows=7),
        [numbers(2, received=41, rows=2)],
        is_idle=False,
        held_since=AT,
        lost_before=lost_before,
    )
    state = ClickHouseState("25.1", made_again={"outcome_rows": made_at})
    workers = [WorkerStatus("event", listeners=1, oldest_s=oldest_s)]
    receivers = [ReceiverHealth("r1", "host:8080", {"broker": True})]
    return Status(reconciliation=found, clickhouse=state, workers=workers, receivers=receivers)


def test_records_that_were_lost_with_a_table_are_a_problem_also_under_load() -> None:
    """With one event a second it said OK, and nothing of the table."""
    (text,) = after_a_lost_table(2).problems
    assert "table outcome_rows was lost, and made again, empty, at" in text
    assert "2 records that came before have no result" in text
    assert "`axonpush replay --since '2026-11-26 21:49'`" in text, "refusals without a channel are in no channel"
    assert "bug" not in text
    for waits in (after_a_lost_table(2, age_s=3.0), after_a_lost_table(2, oldest_s=119.0)):
        assert "look again soon" in waits.headline
        assert waits.headline.startswith("PROBLEM")


def test_after_a_replay_the_table_still_says_since_when_it_counts() -> None:
    """What was refused is in no sum."""
    status = after_a_lost_table(0)
    assert status.problems == []
    (note,) = status.notes
    assert "older refusals are in it only if `axonpush replay --since '2026-11-26 21:49'` was run since" in note


def test_times_of_the_tables_are_texts_for_scripts() -> None:
    """`status --json` is written as JSON."""
    state = ClickHouseState("25.1", newest_at=AT, made_at=AT).as_json()
    assert (state["newest_at"], state["made_at"]) == (AT.isoformat(), AT.isoformat())
    assert ClickHouseState("25.1").as_json()["made_at"] is None
    assert json.dumps(state)


def test_a_worker_between_two_fetches_listens() -> None:
    """One look may come when no request is open; only what neither look saw is a worker that is away."""
    fetching, between = (
        ConsumerInfo("a", "RAW", ConsumerConfig(), dt.datetime.now(dt.UTC), num_waiting=number) for number in (2, 0)
    )
    assert listeners(fetching, between) == listeners(between, fetching) == 2
    assert listeners(None, between) == listeners(between, between) == listeners(None, None) == 0
