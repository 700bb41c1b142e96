"""Lines of the reconciliation: what a message counts, and which messages need a line at all."""

from __future__ import annotations

import pytest

from schemas import headers, subjects
from schemas.outcomes import LEDGER_COLUMNS, Outcome, outcome_row
from schemas.subjects import REPLAY, REPLAY_SOURCES
from tests.unit.worker_fakes import Bench, origin
from workers.consume.ledger import ledger_row
from workers.consume.message import Entry, as_original
from workers.unpack.publish import AsReplay, ItemMessage

UNITS = LEDGER_COLUMNS.index("units")


def entry(rows: int = 0, passed_on: int = 0, **outcomes: int) -> Entry:
    """An entry with that many rows, items and outcomes by name."""
    told = [outcome_row(origin(), "event", Outcome(name, "why", "event", number)) for name, number in outcomes.items()]
    message = Bench().message()
    return Entry(message, origin(), rows=[(n,) for n in range(rows)], outcomes=told, passed_on=passed_on)


@pytest.mark.parametrize(
    ("worker", "made", "units"),
    [
        ("unpack", entry(passed_on=3, dropped=2), 5),
        ("unpack", entry(), 0),
        ("unpack", entry(invalid=1), 1),
        ("unpack", entry(passed_on=1, client_discarded=90), 1),
        ("otlp_span", entry(rows=1), 1),
        ("log", entry(rows=7, rejected=2), 9),
        ("event", entry(), 0),
    ],
)
def test_a_line_counts_what_the_message_holds(worker: str, made: Entry, units: int) -> None:
    """Rows, items and ends of items; what an SDK lost by itself never came."""
    row = ledger_row(origin(), worker, made)
    assert row is not None
    assert row[UNITS] == units


def test_a_usual_item_needs_no_line() -> None:
    """It counts one, as unpack has said; replayed, it has a line that supersedes what was said before."""
    for made in (entry(rows=1), entry(rejected=1), entry(dead=1)):
        assert ledger_row(origin(), "event", made) is None
        assert ledger_row(origin(replay_generation=4), "event", made) is not None


def test_rows_of_other_tables_count_nothing() -> None:
    """A count of refused requests is no event; what reads dead letters takes nothing anew."""
    row = ledger_row(origin(), "outcome", entry(rows=3), makes_events=False)
    assert row is not None
    assert row[UNITS] == 0
    assert ledger_row(origin(), "dead", entry(rows=1)) is None


def test_the_later_body_beats_any_replay_of_an_earlier_one() -> None:
    """And of one body the later processing."""
    first, replayed, later = (
        origin(origin_seq=seq, replay_generation=generation).version for seq, generation in ((5, 0), (5, 9), (6, 0))
    )
    assert first < replayed < later
    assert origin(origin_seq=2**44 - 1, replay_generation=headers.MAX_GENERATION).version == 2**64 - 1


def test_a_replayed_message_is_the_message_it_was() -> None:
    """Subject, stream and sequence; the workers after this point know no difference."""
    told = headers.write(origin(), "id-1") | {headers.ORIGIN_SEQ: "41", headers.REPLAY_GENERATION: "3"}
    message = as_original(Bench().message(subject="replay.raw.otlp.logs.7", headers=told, seq=900))
    assert (message.subject, message.stream, message.seq) == ("raw.otlp.logs.7", subjects.RAW, 41)
    assert headers.read(message.headers, message.seq).version == 41 << headers.GENERATION_BITS | 3
    assert as_original(Bench().message(subject="replay.item.event.7")).stream == subjects.ITEMS


async def _published(types: str) -> list[str]:
    found: list[str] = []

    class Keeps:
        async def publish(self, item_messages: list[ItemMessage]) -> None:
            found.extend(item_message.subject for item_message in item_messages)

    told = {headers.REPLAY_TYPES: types} if types else {}
    item_messages = [ItemMessage(subjects.item(name, 7), b"", dict(told)) for name in ("event", "log", "span")]
    await AsReplay(Keeps()).publish(item_messages)  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize(("types", "expected"), [("", ["event", "log", "span"]), ("log,span", ["log", "span"])])
@pytest.mark.asyncio
async def test_items_of_a_replayed_body_go_the_replayed_way(types: str, expected: list[str]) -> None:
    """Only those of the types that were asked for."""
    assert await _published(types) == [f"replay.item.{name}.7" for name in expected]


def test_every_worker_but_that_of_the_dead_can_be_replayed() -> None:
    """Each with a durable of its own, on a stream of its own."""
    assert set(REPLAY_SOURCES) == set(subjects.SOURCES) - {"dead"}
    assert {source.stream for source in REPLAY_SOURCES.values()} == {REPLAY}
    assert not {one.durable for one in REPLAY_SOURCES.values()} & {one.durable for one in subjects.SOURCES.values()}
