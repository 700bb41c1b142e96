"""Which broker and which tables belong together: decided before anything is written."""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import replace

import pytest
from nats.js.api import ConsumerConfig, ConsumerInfo, SequenceInfo

from ops.provisioning.cluster_tables import Cluster
from ops.provisioning.desired_state import checked
from ops.provisioning.migrate import id_changes
from ops.provisioning.streams import Budgets
from ops.provisioning.system.running import fetching_workers, newest_insert
from ops.provisioning.system.same_system import compared, id_of_durables
from ops.provisioning.system.system_id import (
    STILL_WRITTEN_S,
    BrokerSide,
    Evidence,
    IdsOfTables,
    SystemId,
    TablesSide,
    decide,
    mismatch,
    tables_ids,
    write_system_id,
)
from ops.runtime.failures import Failed
from ops.runtime.settings import Settings
from schemas.identifiers import SYSTEM_METADATA, system_comment, system_in
from schemas.registry import DesiredState
from schemas.subjects import RAW, SOURCES

OURS, OTHERS = "a" * 32, "b" * 32


def broker(system_id: str = "", last_seq: int = 0, *, has_delivered: bool = False) -> BrokerSide:
    return BrokerSide("nats://broker:4222", system_id, last_seq, has_delivered)


def tables(system_id: str = "", highest: int = 0, *, exists: bool = True) -> TablesSide:
    return TablesSide("http://clickhouse:8123", "axonpush", exists, system_id, highest)


NEW_BROKER, OLD_BROKER = broker(), broker(OURS, 90, has_delivered=True)
OLD_BROKER_WITHOUT_ID = broker("", 90, has_delivered=True)


def made(
    one: BrokerSide,
    other: TablesSide,
    evidence: Evidence = Evidence.NONE,
    *,
    adopts: bool = False,
    takes_back: bool = False,
) -> SystemId:
    return decide(one, other, evidence, adopts=adopts, takes_back=takes_back)


def test_both_sides_of_a_system_have_one_id() -> None:
    found = made(OLD_BROKER, tables(OURS, 90))
    assert (found.system_id, id_changes(found)) == (OURS, [])


@pytest.mark.parametrize("other", [tables(exists=False), tables()])
def test_a_new_system_gets_an_id(other: TablesSide) -> None:
    """Another one each time; it is no change to show."""
    first, second = made(NEW_BROKER, other), made(NEW_BROKER, other)
    assert len({first.system_id, second.system_id}) == 2
    assert id_changes(first) == []


def test_an_interrupted_first_migration_goes_on() -> None:
    """The broker had its id already, ClickHouse was away."""
    assert made(broker(OURS), tables(exists=False)).system_id == OURS
    assert made(broker(OURS), tables()).system_id == OURS


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (NEW_BROKER, tables(OTHERS, 70)),  # only AXONPUSH_CLICKHOUSE_URL was exported
        (NEW_BROKER, tables(OTHERS)),  # the same, of a system that has stored nothing yet
        (NEW_BROKER, tables("", 70)),  # the same, of an older version
        (OLD_BROKER, tables(exists=False)),  # only AXONPUSH_NATS_URL was exported
        (OLD_BROKER_WITHOUT_ID, tables(exists=False)),
        (OLD_BROKER, tables()),
        (OLD_BROKER_WITHOUT_ID, tables()),
        (OLD_BROKER, tables(OTHERS, 70)),
        (OLD_BROKER, tables("", 70)),  # nothing can be compared
        (OLD_BROKER_WITHOUT_ID, tables("", 91)),
        (OLD_BROKER_WITHOUT_ID, tables(OTHERS, 70)),
        (broker("", 3), tables("", 70)),
    ],
)
def test_what_does_not_plainly_belong_together_is_refused(
    one: BrokerSide, other: TablesSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With both sides, what to correct, and the flag; the flag gives both sides a new id, which refuses the owner."""
    monkeypatch.setenv("AXONPUSH_NATS_URL", one.address)
    with pytest.raises(Failed, match="Nothing was changed") as raised:
        made(one, other)
    text = str(raised.value)
    for word in ("nats://broker:4222", "http://clickhouse:8123", "AXONPUSH_NATS_URL", "--adopt-tables"):
        assert word in text
    for system_id in filter(None, (one.system_id, other.system_id)):
        assert system_id[:8] in text
    adopted = made(one, other, adopts=True)
    assert adopted.is_adopted
    assert adopted.system_id not in {OURS, OTHERS, ""}
    assert {change.wanted for change in id_changes(adopted)} == {"a new id"}


def test_the_bodies_prove_an_older_system() -> None:
    """Neither side has an id, or one side only: what RAW holds is what the tables know."""
    assert made(OLD_BROKER_WITHOUT_ID, tables("", 90), Evidence.SAME).system_id
    assert made(OLD_BROKER, tables("", 90), Evidence.SAME).system_id == OURS
    assert made(OLD_BROKER_WITHOUT_ID, tables(OURS, 90), Evidence.SAME).system_id == OURS
    with pytest.raises(Failed, match="other bodies under the numbers"):
        made(OLD_BROKER_WITHOUT_ID, tables("", 90), Evidence.OTHER)
    with pytest.raises(Failed, match="two: "):
        made(OLD_BROKER, tables(OTHERS, 90), Evidence.SAME)


def test_numbers_prove_an_older_system_whose_bodies_were_trimmed() -> None:
    """A quiet system: RAW is empty, and has counted on to what the tables know."""
    assert made(OLD_BROKER_WITHOUT_ID, tables("", 90)).system_id
    assert made(OLD_BROKER_WITHOUT_ID, tables("", 40)).system_id


def test_an_id_that_is_new_to_one_side_is_a_change_to_show() -> None:
    (change,) = id_changes(made(OLD_BROKER, tables("", 90), Evidence.SAME))
    assert (change.name, change.found, change.wanted) == ("tables", "none", OURS[:8])


def test_bodies_are_compared_by_channel_and_minute() -> None:
    """One number that means something else is enough; numbers that one side does not know say nothing."""
    held = {1: (7, 60), 2: (7, 120), 3: (8, 120)}
    assert compared(held, {1: {(7, 60)}, 3: {(8, 120)}}) is Evidence.SAME
    assert compared(held, {}) is Evidence.NONE
    assert compared(held, {9: {(7, 60)}}) is Evidence.NONE
    assert compared(held, {1: {(7, 60)}, 2: {(7, 180)}}) is Evidence.OTHER
    assert compared(held, {2: {(9, 120)}}) is Evidence.OTHER
    assert compared(held, {1: {(7, 60), (7, 600)}}) is Evidence.OTHER, "two systems have written into the tables"


class Commands:
    """A client that notes statements."""

    def __init__(self) -> None:
        self.database = ""
        self.sent: list[str] = []

    def command(self, statement: str) -> None:
        self.sent.append(statement)


def test_the_id_is_written_on_every_server_of_a_cluster() -> None:
    """Into the tables that hold rows, and into those over all servers, which workers describe."""
    alone, all_servers = Commands(), Commands()
    write_system_id(alone, "events", None, OURS)  # type: ignore[arg-type]
    write_system_id(all_servers, "events", Cluster("c", "events"), OURS)  # type: ignore[arg-type]
    assert alone.sent == [f"ALTER TABLE taken_rows COMMENT COLUMN origin_seq '{system_comment(OURS)}'"]
    assert len(all_servers.sent) == 2
    for statement, table in zip(all_servers.sent, ("`events`.taken_rows_local", "`events`.taken_rows"), strict=True):
        assert statement.startswith(f"ALTER TABLE {table} ON CLUSTER `c` COMMENT COLUMN origin_seq ")


def durable(metadata: dict[str, str] | None) -> ConsumerInfo:
    config = ConsumerConfig(metadata=metadata)
    return ConsumerInfo("d", "RAW", config, dt.datetime.now(dt.UTC))


def test_a_lost_entry_of_the_registry_is_found_in_the_durables() -> None:
    """Only if all say the same: some may be made anew, or be another's."""
    ours, others = durable({SYSTEM_METADATA: OURS, "_nats.ver": "2"}), durable({SYSTEM_METADATA: OTHERS})
    assert id_of_durables([ours, ours]) == OURS
    assert id_of_durables([ours, others]) == id_of_durables([ours, durable(None)]) == id_of_durables([]) == ""


def test_the_comment_of_a_column_holds_the_id() -> None:
    assert system_in(system_comment(OURS)) == OURS
    assert system_in("") == system_in("number in RAW") == ""


@pytest.mark.parametrize(("in_tables", "word"), [(OTHERS, OTHERS[:8]), (None, "no tables"), ("", "does not say")])
def test_commands_say_which_two_systems_they_see(in_tables: str | None, word: str) -> None:
    text = mismatch(state(OURS, "axonpush"), in_tables, Settings(clickhouse_database="events"))
    for expected in (
        OURS[:8],
        word,
        "AXONPUSH_CLICKHOUSE_URL",
        "events",
        "this system is axonpush",
    ):
        assert expected in text
    assert "axonpush migrate" in mismatch(state(OURS, "events"), in_tables, Settings(clickhouse_database="events"))
    for unknown in (state(""), None):
        assert mismatch(unknown, in_tables, Settings()) == mismatch(state(OURS), OURS, Settings()) == ""


def state(system_id: str, database: str = "") -> DesiredState:
    given = {"nats_replicas": 1, "system_id": system_id, "clickhouse_database": database}
    return checked({**Budgets().model_dump(), **given})


def test_the_database_of_the_system_is_named() -> None:
    """Another AXONPUSH_CLICKHOUSE_DATABASE in this shell is the usual cause."""
    one = BrokerSide("nats://broker:4222", OURS, 90, has_delivered=True, database="events")
    with pytest.raises(Failed, match=r"system is events: correct AXONPUSH_CLICKHOUSE_DATABASE \(axonpush\)") as raised:
        made(one, tables(exists=False))
    assert "--adopt-tables" not in str(raised.value), "it would make this mistake last"
    for in_tables in (OTHERS, None):
        assert "--adopt-tables" not in mismatch(state(OURS, "events"), in_tables, Settings())


@pytest.mark.parametrize(
    ("named", "tells_of_own"),
    [((), False), (("AXONPUSH_NATS_URL",), True), (("AXONPUSH_NATS_URL", "AXONPUSH_CLICKHOUSE_URL"), False)],
)
def test_only_variables_that_are_set_are_to_be_corrected(
    named: tuple[str, ...], tells_of_own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any, both servers are those of the data folder."""
    for variable in ("AXONPUSH_NATS_URL", "AXONPUSH_CLICKHOUSE_URL"):
        monkeypatch.delenv(variable, raising=False)
    for variable in named:
        monkeypatch.setenv(variable, "set")
    with pytest.raises(Failed, match="--adopt-tables") as raised:
        made(OLD_BROKER, tables(exists=False))
    text = str(raised.value)
    assert ("Correct " in text) == bool(named)
    assert ("a server of its own" in text) == tells_of_own
    for variable in ("AXONPUSH_NATS_URL", "AXONPUSH_CLICKHOUSE_URL"):
        assert (variable in text) == (variable in named)


AT = dt.datetime(2026, 11, 20, 10, 0, 30, tzinfo=dt.UTC)


def written(seconds: int | None, previous_id: str = "") -> TablesSide:
    return TablesSide("http://clickhouse:8123", "axonpush", True, OTHERS, 70, AT, seconds, previous_id)


def test_the_tables_of_a_running_system_are_not_taken() -> None:
    """An insert of the last minutes: somebody writes. After the wait it is allowed, and without any insert.

    The time at which the wait is over is named: an age alone changes from one message to the next.
    """
    for seconds in (0, STILL_WRITTEN_S - 1):
        with pytest.raises(Failed, match=r"inserted at 10:00:30 UTC .*Nothing was changed.*stop the workers") as raised:
            made(NEW_BROKER, written(seconds), adopts=True)
        text = str(raised.value)
        assert OTHERS[:8] in text
        assert "after 10:05:30 UTC" in text
        assert "--take-back" not in text, "these tables were never this broker's"
    for old in (STILL_WRITTEN_S, None):
        assert made(NEW_BROKER, written(old), adopts=True).is_adopted


FETCHING = BrokerSide("nats://b", OURS, 90, True, "events", fetching=("event", "log", "otlp_span", "session"))


@pytest.mark.parametrize("other", [tables(exists=False), tables(), tables(OTHERS, 70), tables("", 70)])
def test_the_broker_of_a_running_system_is_not_taken(other: TablesSide, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever other tables there are: its workers have theirs. It is said whose it is, where, and what to do."""
    monkeypatch.setenv("AXONPUSH_NATS_URL", "nats://b")
    with pytest.raises(Failed, match="whose system does not run, found workers") as raised:
        made(FETCHING, other, adopts=True)
    text = str(raised.value)
    for word in ("event, log, otlp_span and 1 more", "nats://b", OURS[:8], "events", "unset AXONPUSH_NATS_URL"):
        assert word in text
    assert "Nothing was changed" in text
    assert made(replace(FETCHING, fetching=()), other, adopts=True).is_adopted


def test_a_running_system_without_a_body_is_not_joined_either() -> None:
    """It looks like a new one; an interrupted first migration has no workers that fetch."""
    idle = BrokerSide("nats://b", OURS, fetching=("event",))
    for other in (tables(exists=False), tables()):
        for adopts in (False, True):
            with pytest.raises(Failed, match="whose system does not run"):
                made(idle, other, adopts=adopts)
        assert made(replace(idle, fetching=()), other).system_id == OURS
        assert made(replace(idle, system_id=""), other).is_new, "an older system, whose workers cannot compare"


def test_what_another_system_took_is_taken_back_at_once() -> None:
    """Although rows were just inserted and workers run; only by a broker that had these tables, or the reverse."""
    taken = written(0, previous_id=OURS)
    back = made(FETCHING, taken, takes_back=True)
    assert back.is_adopted
    assert back.system_id not in {OURS, OTHERS, ""}, "who took it is refused from then on"
    stolen_broker = replace(FETCHING, system_id="c" * 32, previous_id=OTHERS)
    assert made(stolen_broker, written(0), takes_back=True).is_adopted
    for one, other in ((FETCHING, written(0)), (NEW_BROKER, taken), (NEW_BROKER, tables(exists=False))):
        with pytest.raises(Failed, match="--take-back: expected tables that belonged"):
            made(one, other, takes_back=True)
    for adopts in (False, True):
        with pytest.raises(Failed, match="use --take-back in place of --adopt-tables"):
            made(FETCHING, taken, adopts=adopts)


def test_a_lost_folder_of_up_is_put_back_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty tables instead of a disk that is not mounted would hide all rows, so this is said before the flag."""
    monkeypatch.delenv("AXONPUSH_NATS_URL", raising=False)
    one = replace(OLD_BROKER, bodies=7, folder="/d/nats")
    with pytest.raises(Failed, match=r"First put ClickHouse's folder /d/clickhouse back") as raised:
        made(one, replace(tables(exists=False), folder="/d/clickhouse"))
    text = str(raised.value)
    assert text.index("put ClickHouse's folder") < text.index("Nothing was changed") < text.index("--adopt-tables")
    assert "new passwords" in text
    assert "RAW still holds 7 of them" in text


def test_a_lost_ledger_beside_its_rows_is_no_new_system() -> None:
    """Only `taken_rows` is gone: with the words of lost tables, `status` would never have balanced again."""
    lost = replace(tables(exists=False), others=1)
    for one in (NEW_BROKER, OLD_BROKER, broker(OURS)):
        with pytest.raises(Failed, match=r"expected table taken_rows in .* missing beside its other tables") as raised:
            made(one, lost)
        assert "RESTORE TABLE axonpush.taken_rows" in str(raised.value)
        again = made(one, lost, adopts=True)
        assert again.is_adopted
        assert again.lost_ledger


def test_a_lost_broker_of_up_is_put_back_first() -> None:
    one = BrokerSide("nats://b", folder="/d/nats")
    with pytest.raises(Failed, match="First put the broker's folder /d/nats back") as raised:
        made(one, replace(tables(OTHERS, 70), folder="/d/clickhouse"))
    assert "registry import" in str(raised.value)


@pytest.mark.parametrize(
    ("inserts", "restores", "newest"),
    [
        ([], [], 0),
        ([100, 103], [], 103),
        ([100, 103], [(102, 103)], 100),
        ([100, 104], [(99, 103)], 0),  # the second after the end may be the restore's
        ([100, 105], [(99, 103)], 105),
    ],
)
def test_a_restore_is_no_insert(inserts: list[int], restores: list[tuple[int, int]], newest: int) -> None:
    assert newest_insert(inserts, restores) == newest


class Durables:
    """A broker whose durables look different each time; counts the looks."""

    def __init__(self, *looks: ConsumerInfo) -> None:
        self._looks = list(looks)
        self.asked = 0

    async def consumers_info(self, stream: str, offset: int = 0) -> list[ConsumerInfo]:
        if stream != RAW or offset:
            return []
        self.asked += 1
        return [self._looks[min(self.asked, len(self._looks)) - 1]]


def seen(waiting: int, delivered: int) -> ConsumerInfo:
    at = SequenceInfo(delivered, delivered)
    now = dt.datetime.now(dt.UTC)
    return ConsumerInfo(SOURCES["unpack"].durable, RAW, ConsumerConfig(), now, num_waiting=waiting, delivered=at)


@pytest.mark.parametrize(
    ("looks", "found", "asked"),
    [
        ([seen(1, 5)], ("unpack",), 1),  # an idle worker has an open request
        ([seen(0, 5), seen(0, 5), seen(1, 5)], ("unpack",), 3),
        ([seen(0, 5), seen(0, 6)], ("unpack",), 2),  # a busy one gets messages
        ([seen(0, 5)], (), 5),
    ],
)
def test_a_worker_that_runs_is_seen(looks: list[ConsumerInfo], found: tuple[str, ...], asked: int) -> None:
    broker_now = Durables(*looks)

    async def no_pause(_seconds: float) -> None:
        """The looks alone count."""

    assert asyncio.run(fetching_workers(broker_now, pause=no_pause)) == found  # type: ignore[arg-type]
    assert broker_now.asked == asked


def test_after_lost_tables_the_replay_is_named() -> None:
    """Only if there is something to replay, and nothing in the tables."""
    one = BrokerSide("nats://b", OURS, 90, has_delivered=True, bodies=7, oldest_at="2026-11-20T10:00:00Z")
    hint = made(one, tables(exists=False), adopts=True).hint
    assert "7 bodies" in hint
    assert "`axonpush replay --since 2026-11-20T10:00:00Z`" in hint
    assert made(one, tables(OTHERS, 70), adopts=True).hint == made(OLD_BROKER, tables(), adopts=True).hint == ""


class Described:
    """The columns of the ledger with their comments."""

    def __init__(self, statements: list[str]) -> None:
        quoted = [statement.split("COMMENT COLUMN ")[1].partition(" ") for statement in statements]
        self.result_rows = [(name, comment.strip("'")) for name, _, comment in quoted]
        self.column_names = ["name", "comment"]

    def query(self, _sql: str) -> Described:
        return self


def test_a_taken_system_is_told_who_took_it_and_how_to_take_it_back() -> None:
    """It was advised to adopt the tables, as after a restore; the tables remember better."""
    sent = Commands()
    write_system_id(sent, "axonpush", None, OTHERS, OURS)  # type: ignore[arg-type]
    found = tables_ids(Described(sent.sent), "axonpush")  # type: ignore[arg-type]
    assert found
    assert (found.current, found.previous) == (OTHERS, OURS)
    assert found.taken_at.startswith("20")
    text = mismatch(state(OURS, "axonpush"), OTHERS, Settings(), found)
    for words in (f"({OTHERS[:8]}) took these tables", found.taken_at, "By mistake? `axonpush migrate --take-back`"):
        assert words in text
    assert "--adopt-tables" not in text
    stolen_broker = state(OTHERS).model_copy(update={"previous_system_id": OURS})
    assert "took this broker" in (text := mismatch(stolen_broker, OURS, Settings(), IdsOfTables(OURS, "")))
    assert "--take-back" in text
    strangers = mismatch(state(OURS, "axonpush"), OTHERS, Settings(), IdsOfTables(OTHERS, "c" * 32))
    assert "--take-back" not in strangers


def test_tables_that_an_older_version_took_are_known() -> None:
    """It wrote no time."""
    statements = [
        f"COMMENT COLUMN origin_seq '{system_comment(OTHERS)}'",
        f"COMMENT COLUMN generation 'tables were taken from system {OURS}'",
    ]
    assert tables_ids(Described(statements), "axonpush") == IdsOfTables(OTHERS, OURS)  # type: ignore[arg-type]


def test_the_taker_is_told_what_it_took() -> None:
    taken = replace(tables(OTHERS, 40), rows=46)
    assert made(broker("", 0), taken, adopts=True).took == f"took database axonpush (46 rows) from system {OTHERS[:8]}"
    lost = made(broker(OURS, 9, has_delivered=True), tables(exists=False), adopts=True).took
    assert f"was of system {OURS[:8]}" in lost
    own = made(replace(broker(OURS, 9, has_delivered=True), folder="n"), replace(taken, folder="c"), adopts=True)
    assert own.took == ""
    assert made(broker(OURS), tables(OURS)).took == ""
