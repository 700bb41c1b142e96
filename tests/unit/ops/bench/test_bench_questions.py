"""Which questions the bench asks, and of what: nothing is timed here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ops.bench import __main__ as bench
from ops.bench import report
from ops.bench.asking.fill import DAYS, Filling
from ops.bench.asking.texts import MANY_MS, ONE_MS, MeasuredQuestion, all_questions
from ops.bench.figures import Figure
from ops.bench.session import BenchSession
from ops.runtime.failures import Failed

NAMED = ("channel", "trace", "event", "order", "user", "issue", "word", "service", "conversation", "interval_s")
VALUES = {name: f"<{name}>" for name in NAMED}


def test_every_query_of_readme_cookbook_and_dashboards_is_asked() -> None:
    """With a value for each parameter; those of the goals have their limits."""
    found = {question.name: question for question in all_questions()}
    begins = [name.partition(":")[0] for name in found]
    assert (begins.count("README"), begins.count("dashboard traces")) == (3, 6)
    assert begins.count("cookbook") > 30
    assert all("{" not in question.of_view(VALUES).replace("{}", "") for question in found.values())
    assert found["one trace"].limit_ms == ONE_MS
    assert found["cookbook: What is the error rate of each release?"].limit_ms == MANY_MS


@pytest.mark.parametrize(
    ("view", "table"),
    [
        ("SELECT 1 FROM events WHERE trace_id = {trace:String}", "SELECT 1 FROM event_rows WHERE trace_id = <trace>"),
        ("SELECT 1 FROM events WHERE attributes['a']", "SELECT 1 FROM event_rows WHERE attributes_string['a']"),
        ("SELECT any(events.title) FROM events", "SELECT any(event_rows.title) FROM event_rows"),
        ("SELECT CAST(metadata.checkInId, 'String') FROM events", ""),
        ("SELECT 1 FROM outcomes", ""),
    ],
)  # fmt: skip
def test_the_baseline_is_the_same_query_of_the_bare_table(view: str, table: str) -> None:
    """None where only the view has the columns."""
    assert MeasuredQuestion("any", view).of_table(VALUES) == table


def test_rows_are_seven_days_with_versions_of_each_kind() -> None:
    """Each number once; then some of each day again, with the same identity."""
    filling = Filling(rows=1_400_000, end_s=1_800_000_000)
    statements = list(filling.statements())
    new = [one for one in statements if "WHERE 1\n" in one]
    assert sum(int(one.partition("numbers(")[2].partition(", ")[2].partition(")")[0]) for one in new) == 1_400_000
    assert len(statements) == len(new) + 3 * DAYS
    assert filling.step_ns * filling.rows == DAYS * 86_400 * 10**9
    assert "+ 3 AS version" in filling.replay()


def test_the_section_of_questions_is_written_in_place_of_the_old_one() -> None:
    """The rest of the page stays."""
    page = report.page([Figure("stored", "1/s", (1.0,))], {})
    once = report.with_questions(page, [Figure("one trace", "ms", (20.0,), note="found\n4 rows")])
    twice = report.with_questions(once, [Figure("one event", "ms", (30.0,))])
    assert "| stored | 1.00 | 1/s |" in twice
    assert "| one trace | 20.0 | ms |" in once
    assert "found 4 rows |" in once
    assert "one trace" not in twice
    assert twice.count("## Questions") == 1


def test_a_group_that_fails_is_named_and_loses_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The page has the figures of the others, the section of questions of an earlier run, and the reason."""

    def broken(session: BenchSession) -> None:
        """Cannot start."""
        raise Failed("expected clickhouse within 60 s, found none")

    def counts(session: BenchSession) -> None:
        """Counts."""
        session.add(Figure("counted", "ms", (2.0,)))

    page = tmp_path / "benchmarks.md"
    page.write_text("# Old\n\n## Questions\n\n| one trace | 20.0 | ms |\n")
    monkeypatch.setattr(bench, "PAGE", page)
    monkeypatch.setattr(bench.machine, "ROOT", tmp_path)
    monkeypatch.setattr(bench, "GROUPS", {"engine": broken, "counts": counts, "questions": broken})
    monkeypatch.setattr(sys, "argv", ["bench"])
    with pytest.raises(SystemExit, match="failed: engine: expected clickhouse"):
        bench.main()
    text = page.read_text()
    assert "Not measured: engine (expected clickhouse within 60 s, found none)." in text
    assert "| counted | 2.00 | ms |" in text
    assert "| one trace | 20.0 | ms |" in text
    assert "# Old" not in text
