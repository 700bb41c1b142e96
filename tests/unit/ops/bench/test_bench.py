"""The bench's own arithmetic and bodies: a figure reckoned wrongly is worse than none. Nothing is timed here."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.bench import report
from ops.bench.bodies import kinds
from ops.bench.bodies import sentry as sentry_bodies
from ops.bench.figures import Figure, FigureTarget, Spread, percentile, rate
from ops.bench.load import LoadPlan, requests
from ops.bench.peers import rotel, tables
from schemas.envelope import body as envelope


def test_ratio_is_taken_turn_by_turn() -> None:
    """A neighbour who slows one turn down slows its baseline down too: pairs agree where medians would not."""
    figure = Figure("x", "1/s", ours=(10.0, 100.0, 40.0), baseline=(20.0, 200.0, 80.0))
    assert figure.ratio == Spread(0.5, 0.5, 0.5)
    assert figure.spread == Spread(40.0, 10.0, 100.0)
    assert Figure("x", "ms", (1.0,)).ratio is None
    with pytest.raises(ValueError, match="shorter"):
        _ = Figure("x", "1/s", (1.0, 2.0), (1.0,)).ratio


@pytest.mark.parametrize(
    ("target", "value", "said"),
    [
        (FigureTarget(0.2, 0.35), 0.35, "aim"),
        (FigureTarget(0.2, 0.35), 0.2, "bar"),
        (FigureTarget(0.2, 0.35), 0.16, "missed by 20%"),
        (FigureTarget(30, 10, "less"), 10, "aim"),
        (FigureTarget(30, 10, "less"), 30, "bar"),
        (FigureTarget(30, 10, "less"), 45, "missed by 50%"),
        (FigureTarget(0.2, 0.35), 0.0, "missed by 100%"),
    ],
)
def test_verdict_names_what_was_reached(target: FigureTarget, value: float, said: str) -> None:
    """At least the aim, at least the bar, or by how much more (or less) it should have been."""
    assert target.verdict(value) == said


def test_target_is_of_the_ratio_where_there_is_a_floor() -> None:
    """A rate alone says nothing on another machine."""
    assert Figure("x", "1/s", (10.0,), (20.0,), target=FigureTarget(0.5, 0.6)).verdict == "bar"
    assert Figure("x", "1/s", (10.0,), target=FigureTarget(5, 10)).verdict == "aim"
    assert Figure("x", "1/s", (10.0,)).verdict == ""


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_percentile_is_one_of_the_values_and_enough_are_below(values: list[float], share: float) -> None:
    """Nearest rank: the smallest value that at least `share` of all do not exceed."""
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)
    assert sum(value < found for value in values) < max(1, share * len(values))


def test_rate_ends_with_the_first_reading_that_holds_all() -> None:
    """The seconds in which nothing came any more do not count; too few is an error, not a rate."""
    assert rate([10.0, 11.0, 12.0, 19.0], [5, 50, 105, 105], 100) == 50.0
    with pytest.raises(ValueError, match="found 100"):
        rate([10.0, 11.0], [5, 105], 101)
    with pytest.raises(ValueError, match="found none"):
        rate([], [], 1)


def _shared_with(one: bytes, other: bytes) -> int:
    """How many bytes stand in the same place in both."""
    return sum(left == right for left, right in zip(one, other, strict=False))


@pytest.mark.parametrize("name", [name for name in kinds.by_name() if name != "large"])
def test_each_body_is_another_one(name: str) -> None:
    """Equal bytes would be one event: what is sent twice is stored once."""
    kind = kinds.by_name()[name]
    made = [kind.make(token) for token in (*kinds.tokens(1, 3), *kinds.tokens(2, 3))]
    assert len(set(made)) == len(made)
    assert max(map(len, made)) < 1.1 * min(map(len, made))
    opened = gzip.decompress if name == "error" else bytes
    [first, again, other] = [opened(kind.make(bytes(15) + bytes([end]))) for end in (1, kinds.VARIANTS + 1, 2)]
    assert len(first) == len(again), "one variant differs in its id only"
    assert name == "tiny" or _shared_with(first, other) < _shared_with(first, again)


def test_error_is_as_large_as_a_real_one_and_whole() -> None:
    """About 30 KB and 5 KB, thirty frames with context, its own id in header and event; one gzip member."""
    [token] = kinds.tokens(7, 1)
    body = kinds.by_name()["error"].make(token)
    plain = gzip.decompress(body)
    assert 25_000 < len(plain) < 35_000
    assert 4_000 < len(body) < 7_000
    header, [item] = envelope.read(plain)
    event = json.loads(bytes(item.payload))
    assert header.event_id == event["event_id"] == token.hex()
    frames = event["exception"]["values"][0]["stacktrace"]["frames"]
    assert len(frames) >= sentry_bodies.FRAMES
    assert all(frame["context_line"] for frame in frames[1:])
    assert len(event["breadcrumbs"]["values"]) == sentry_bodies.BREADCRUMBS


def test_requests_are_whole_and_go_to_every_channel_in_turn() -> None:
    """The generator writes HTTP itself."""
    plan = LoadPlan("tiny", 1, 7, "ak_key", seed=3, count=4, channels=2)
    made = list(requests(plan))
    assert [request.split(b" ", 2)[1] for request in made] == [b"/api/7/envelope/", b"/api/8/envelope/"] * 2
    for request in made:
        head, _, body = request.partition(b"\r\n\r\n")
        assert f"content-length: {len(body)}".encode() in head
        assert b"sentry_key=ak_key" in head
    assert len(set(made)) == 4


def test_page_and_json_hold_every_figure() -> None:
    """What was measured is written, misses too."""
    figures = [
        Figure("one", "1/s", (10.0, 12.0), (20.0, 24.0), "baseline", FigureTarget(0.6, 0.9)),
        Figure("two | three", "ms", (1.0,), note="a note"),
    ]
    page = report.page(figures, {})
    assert (
        "| one | 11.0 (10.0 to 12.0) | 1/s | 22.0 (20.0 to 24.0) (baseline) | 0.50 | 0.60 / 0.90 | missed by 17% |"
        in page
    )
    assert "| two / three | 1.00 | ms |" in page
    assert [figure["verdict"] for figure in report.as_json(figures)["figures"]] == ["missed by 17%", ""]


def test_the_peer_gets_the_bodies_that_we_get_and_has_a_table_for_each() -> None:
    """Or two different things would be compared."""
    assert set(rotel.TABLES) <= set(kinds.by_name())
    schema = tables.SCHEMA.read_text()
    for table in rotel.TABLES.values():
        assert f"CREATE TABLE {table}\n" in schema
