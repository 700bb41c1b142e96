"""The capacity model: its arithmetic by hand, and that docs/capacity.md says what follows from its own numbers."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.bench.capacity import (
    BEGIN,
    DAY_S,
    END,
    PAGE,
    PROCESSES,
    RATES,
    Assumptions,
    Cost,
    block,
    costs_of_page,
    plan,
    processor_figures,
    with_block,
)

GIVEN = Assumptions(mix=(("error", 1.0),))
ERROR = Cost(1, 6_000, 6_000, {"receiver": 120, "worker": 240, "nats": 60, "clickhouse": 480})
SPANS = Cost(500, 400, 80, {"receiver": 2, "worker": 12, "nats": 1, "clickhouse": 24})
COSTS = {"error": ERROR, "spans": SPANS}
TEXT = PAGE.read_text()


def test_one_kind_by_hand() -> None:
    """10,000 errors a second of 6 kB, each a body of its own."""
    found = plan(10_000, COSTS, GIVEN)
    assert found.bodies_s == 10_000
    assert found.wire_bytes_s == 60e6
    assert found.receivers == 4  # 1.2 cores at 0.6 are two: two installations want two each
    assert found.workers == 4
    assert found.installations == 2  # 5,000 bodies a second each
    assert found.brokers == 6
    assert found.broker_disk_bytes == pytest.approx((60e6 + 700 * 10_000) * 0.4 * DAY_S / 2 / 0.7)
    assert found.clickhouse_disk_bytes == pytest.approx(60e6 * 1.5 * 0.4 * 30 * DAY_S * 2 / 0.7)
    assert found.clickhouse_shards == 17  # 93 TB in servers of 8, 70 % full
    assert found.clickhouse_servers == 34


def test_what_is_short_decides() -> None:
    """Cores of ClickHouse where disks are large, cores of brokers where streams are fast."""
    roomy = replace(GIVEN, clickhouse_disk_bytes=1e18, stream_bodies_s=1e9)
    found = plan(100_000, COSTS, roomy)
    assert found.clickhouse_shards == 10  # 48 cores of 16 x 0.3
    assert found.installations == 2  # 6 cores of 8 x 0.5
    assert found.receivers == 20
    assert found.workers == 40


def test_a_mix_is_the_sum_of_its_kinds() -> None:
    """By share of the events."""
    half = replace(GIVEN, mix=(("error", 0.5), ("spans", 0.5)))
    found = plan(1_000, COSTS, half)
    assert found.bodies_s == pytest.approx(501)
    assert found.wire_bytes_s == pytest.approx(500 * 6_000 + 500 * 400)


def test_little_is_still_two_of_each() -> None:
    """One may be away."""
    found = plan(1, COSTS, GIVEN)
    assert (found.receivers, found.workers, found.brokers, found.clickhouse_servers) == (2, 2, 3, 2)


@given(st.floats(1, 1e7), st.floats(1, 10))
def test_more_never_needs_less(events_s: float, times: float) -> None:
    """In no column."""
    less, more = plan(events_s, COSTS, GIVEN), plan(events_s * times, COSTS, GIVEN)
    # A broker's disk shrinks where another installation takes half of its channels.
    for field in dataclasses.fields(less):
        if field.name != "broker_disk_bytes":
            assert getattr(more, field.name) >= getattr(less, field.name), field.name


def test_figures_are_read_from_the_page_and_from_json() -> None:
    """Of what `make bench` writes."""
    page = (
        "| processor, error, nats | 1,488 (480 to 2,000) | s a million rows |  |  |\n| stored, error | 3 | rows/s |\n"
    )
    assert processor_figures(page) == {"error": {"nats": 1_488.0}}
    one = {"name": "processor, spans-json, worker", "spread": {"median": 12.34, "low": 1, "high": 20}}
    other = {"name": "stored, spans", "spread": {"median": 1.0, "low": 1, "high": 1}}
    assert processor_figures(json.dumps({"figures": [one, other]})) == {"spans-json": {"worker": 12.3}}


def test_the_bench_writes_such_figures() -> None:
    """Its names, units and processes are those that are read here."""
    from ops.bench import report
    from ops.bench.figures import Figure

    figure = Figure("processor, error, receiver", "s a million rows", (231.44, 300.0, 1_200.0))
    assert processor_figures(report.page([figure], {})) == {"error": {"receiver": 300.0}}
    assert processor_figures(json.dumps(report.as_json([figure]))) == {"error": {"receiver": 300.0}}


def test_the_tables_survive_the_page() -> None:
    """What is written can be read again, and replaced."""
    text = block({name: COSTS[name] for name in ("error", "spans")}, GIVEN)
    assert costs_of_page(text) == COSTS
    assert with_block(f"a\n{BEGIN}\nold\n{END}\nb\n", text) == f"a\n{text}\nb\n"
    with pytest.raises(ValueError, match="found one or none"):
        with_block("a", text)


def test_the_page_says_what_follows_from_its_numbers() -> None:
    """Nobody edits the result: it is computed from the costs that stand above it."""
    costs = costs_of_page(TEXT)
    assert set(costs) == {kind for kind, _ in Assumptions().mix}
    assert all(set(cost.cpu_s) == set(PROCESSES) for cost in costs.values())
    assert block(costs, Assumptions()) in TEXT
    assert all(f"{rate:,}/s" in TEXT for rate in RATES)


def test_the_page_names_every_assumption() -> None:
    """With the value that the model uses."""
    given, told = Assumptions(), re.sub(r"[*`]", "", TEXT)
    assert sum(share for _, share in given.mix) == pytest.approx(1)
    for said in (
        f"{given.stream_bodies_s:,.0f}",
        f"{given.process_busy:.0%}".replace("%", " %"),
        f"{given.broker_cores} cores",
        f"{given.clickhouse_cores} cores",
        f"{given.clickhouse_disk_bytes / 1e12:.0f} TB",
        f"{given.clickhouse_busy:.0%}".replace("%", " %"),
        f"{given.row_of_packed}",
        f"{given.retention_days:.0f} days, {given.horizon_days:.0f} day",
        f"{given.disk_full:.0%}".replace("%", " %"),
    ):
        assert said in told, said
