"""The abuse bench's own arithmetic and bodies. What they cost is measured by `make bench --only abuse`, not here."""

from __future__ import annotations

import asyncio
import gzip
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ops.bench.abuse import report
from ops.bench.abuse import search as abuse
from ops.bench.abuse.bodies import KINDS, mutate
from ops.bench.abuse.search import AbuseFigure, Good
from ops.bench.abuse.shape import MAX_BODY_BYTES, AbuseKind, nest, repeat, repeat_numbered
from ops.bench.abuse.site import CODINGS, BodyCost, encode_all
from ops.bench.encoding_writer import column_types, encoded_bytes
from ops.bench.instrumented import SharedFigures, watch
from ops.bench.session import BenchSession
from ops.runtime.failures import Failed
from schemas import subjects
from schemas.encodings import inflate
from schemas.envelope import body as envelope
from schemas.outcomes import LEDGER_COLUMNS, OUTCOME_COLUMNS
from schemas.rows import LEDGER_TABLE, OUTCOMES_TABLE
from tests.unit.worker_fakes import RECEIVED_AT_NS, origin
from workers.normalise.registry import normalisers
from workers.unpack.readers import READERS


def small(kind: AbuseKind) -> AbuseKind:
    """The same, but quickly made."""
    shape = kind.shape
    return replace(kind, shape=replace(shape, size_bytes=min(shape.size_bytes, 5_000), text=min(shape.text, 300)))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_kind_makes_the_same_bytes_each_time(kind: AbuseKind) -> None:
    """And not nothing: a figure of tomorrow is about the same body."""
    one = small(kind)
    body = one.make(one.shape)
    assert body == one.make(one.shape)
    assert len(body) > 10


def test_kinds_have_names_of_their_own_and_routes_that_exist() -> None:
    """A body that goes nowhere would look cheap."""
    assert len({kind.name for kind in KINDS}) == len(KINDS)
    assert {kind.route for kind in KINDS} - {"event.batch"} <= set(subjects.ROUTES)


@pytest.mark.parametrize(
    "name",
    [
        "event: tags of names",
        "items: headers alone",
        "transaction: spans, the least",
        "logs: attributes",
        "client reports: a reason each",
    ],
)
def test_envelopes_are_taken_apart(name: str) -> None:
    """They get past the envelope, to where they cost something."""
    (kind,) = (small(kind) for kind in KINDS if kind.name == name)
    body = kind.make(kind.shape)
    _, items = envelope.read(body)
    assert items
    assert READERS[kind.route](body, origin(), MAX_BODY_BYTES)


@given(st.sampled_from(KINDS), st.integers(0, 2**32))
def test_a_mutation_stays_within_what_a_body_may_be(kind: AbuseKind, seed: int) -> None:
    """And the same seed makes the same one."""
    for _ in range(20):
        found = mutate(kind, random.Random(seed))
        assert found == mutate(kind, random.Random(seed))
        assert 1_000 <= found.shape.size_bytes < MAX_BODY_BYTES
        assert min(found.shape.text, found.shape.width, found.shape.depth) >= 1
        kind = found
        seed += 1


def test_units_are_repeated_up_to_the_size() -> None:
    """At least once, and never beyond by more than one."""
    assert repeat(b"ab", 7, b",") == b"ab,ab"
    assert repeat(b"abc", 1) == b"abc"
    assert repeat_numbered(lambda n: b"%02d" % n, 9, b",") == b"00,01,02"
    assert nest(b"[", b"x", b"]", 3) == b"[[[x]]]"


def test_the_smallest_form_is_sent_first() -> None:
    """All of them are the same body."""
    body = b"abc" * 1_000
    found = encode_all(body)
    assert [len(wire) for _, wire in found] == sorted(len(wire) for _, wire in found)
    assert {name for name, _ in found} == set(CODINGS)
    assert {inflate(wire, coding, MAX_BODY_BYTES) for coding, wire in found} == {body}


def cost(cpu_s: float = 0.4, held_s: float = 0.0, **changes: Any) -> BodyCost:
    made = BodyCost(100, 2_000_000, "br", 200, True, 0.1, cpu_s - 0.1, 0.0, held_s, 5_000_000)
    return replace(made, **changes)


KIND = AbuseKind("a kind", "otlp.logs", "x", lambda _: b"")
GOOD = Good(0.01, 0.02, cost())


def test_a_body_is_beside_as_much_good_data() -> None:
    """What a request costs at least, and each megabyte; both bars count."""
    assert GOOD.of(2_000_000) == pytest.approx(0.05)
    assert AbuseFigure(KIND, cost(1.0), GOOD.of(2_000_000)).times == pytest.approx(20)
    assert not AbuseFigure(KIND, cost(0.99), 0.05).is_missed
    assert AbuseFigure(KIND, cost(1.01), 0.05).is_missed
    assert AbuseFigure(KIND, cost(0.1, held_s=0.051), 0.05).is_missed
    assert cost().per_sent_kb_s == pytest.approx(4)
    assert cost().per_mb_s == pytest.approx(0.2)


def test_the_tables_show_the_worst_and_what_misses() -> None:
    """Ten of them, the costliest for each kilobyte sent first; good data is beside; a body given up says so."""
    console = Console(record=True, width=250)
    seen = [AbuseFigure(replace(KIND, name=f"kind {n:02}"), cost(n / 10 + 0.1), 0.05) for n in range(15)]
    seen.append(AbuseFigure(replace(KIND, name="endless"), cost(20.5, is_cut=True), 0.05))
    report.show(seen, {"error": GOOD}, console)
    text = console.export_text()
    worst, _, rest = text.partition("Good data")
    names = [line.split("│")[1].split("(")[0].strip() for line in worst.splitlines() if "│" in line]
    assert names == ["endless", *(f"kind {n:02}" for n in range(14, 5, -1))]
    assert "more than 20.500" in worst
    assert "error" in rest
    assert "6 of 16 miss the bar" in rest


def test_bodies_are_chosen_by_name() -> None:
    """A part of it; one that fits none is a mistake, not an empty table."""

    def session(bodies: str, seconds: float = 6.0) -> BenchSession:
        return BenchSession(seconds, 1, 1, print, bodies=bodies)

    assert len(abuse.choose_kinds(session(""))) == len(KINDS)
    assert 20 <= len(abuse.choose_kinds(session("", seconds=1.0))) < 30
    assert {kind.name.partition(":")[0] for kind in abuse.choose_kinds(session("sessions"))} == {"sessions"}
    with pytest.raises(Failed, match="nonsense"):
        abuse.choose_kinds(session("nonsense"))


# --- watched processes


def test_a_board_is_read_by_another(tmp_path: Path) -> None:
    """What one process writes, the other reads, and the other way round."""
    watching = SharedFigures.create(tmp_path / "board")
    watched = SharedFigures(tmp_path / "board")
    watched.write(0.5, 12.25, 3)
    watching.begin()
    assert watching.read() == watched.read() == (0.5, 12.25, 1, 3)
    assert not watching.has_begun
    watched.write(0.0, 12.5, 1)
    assert watching.has_begun


@pytest.mark.asyncio
async def test_what_holds_the_loop_is_seen(tmp_path: Path) -> None:
    """Processor time between two turns; after a new beginning it is forgotten."""

    def work() -> None:
        for _ in range(20):
            gzip.compress(bytes(1_000_000))

    async def scene() -> tuple[float, float]:
        watching = asyncio.create_task(watch(SharedFigures(path)))
        await asyncio.sleep(0.01)
        work()
        await asyncio.sleep(0.01)
        held_s = board.read()[0]
        board.begin()
        while not board.has_begun:
            await asyncio.sleep(0.001)
        after_s = board.read()[0]
        watching.cancel()
        return held_s, after_s

    path = tmp_path / "board"
    board = SharedFigures.create(path)
    held_s, after_s = await scene()
    assert held_s > 10 * after_s, (held_s, after_s)
    assert board.read()[1] >= held_s


# --- encoding


def test_every_column_a_worker_writes_has_a_type() -> None:
    """Read from the table files: a new column is in them, or this fails."""
    types = column_types()
    written = [(normaliser.table, normaliser.columns) for normaliser in normalisers(30, MAX_BODY_BYTES).values()]
    for table, columns in (*written, (OUTCOMES_TABLE, OUTCOME_COLUMNS), (LEDGER_TABLE, LEDGER_COLUMNS)):
        assert set(columns) <= set(types[table]), table


def test_rows_are_encoded_as_the_client_does() -> None:
    """Each row adds its bytes."""
    row = (RECEIVED_AT_NS // 10**9, "acme", 7, "unpack", 5, 0, 0, 1)
    one, ten = (encoded_bytes(LEDGER_TABLE, LEDGER_COLUMNS, [row] * number) for number in (1, 1_000))
    assert ten > 20 * one
