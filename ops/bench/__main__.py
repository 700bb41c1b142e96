"""`make bench`: measures this machine. Chooses which figures are measured, in which order."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from rich.console import Console

from ops.bench import machine, mixed, normalising, receiving, report, shapes, storing
from ops.bench.abuse import search as abuse
from ops.bench.asking import issue_lists, questions
from ops.bench.figures import Figure
from ops.bench.peers import engine, rotel
from ops.bench.session import BenchSession
from ops.bench.symbols import resolving
from ops.runtime.failures import Failed

PAGE: Final = machine.ROOT / "docs" / "benchmarks.md"
FULL_BACKLOG: Final = 2_000_000
SHORT_BACKLOG: Final = 300_000
# Rows over which questions are asked.
QUICK_ROWS: Final = (300_000,)
SHORT_ROWS: Final = (3_000_000,)
FULL_ROWS: Final = (3_000_000, 30_000_000)
BUSY: Final = 0.5


def normalise(session: BenchSession) -> None:
    """Measures how fast bytes become insertable rows on one core."""
    for subject in normalising.subjects():
        session.add(normalising.measure(subject, min(1.0, session.seconds / 4), max(3, session.turns)))


GROUPS: Final[dict[str, Callable[[BenchSession], None]]] = {
    "normalise": normalise,
    "receiver": receiving.rates,
    "counts": receiving.counts,
    "receiver-memory": receiving.memory,
    "stored": storing.rates,
    "mixed": mixed.mixed,
    "engine": engine.engine,
    "peers": rotel.spans_and_logs,
    "worker-memory": storing.worker_memory,
    "backlog": storing.backlog,
    "shapes": shapes.shapes,
    "symbols": resolving.symbols,
    "console": issue_lists.lists,
    "questions": questions.questions,
    "abuse": abuse.abuse,
}


def main() -> None:
    """Measures, prints, writes docs/benchmarks.md. Exit codes: 0 done, 1 failed or interrupted, 2 bad usage."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # also stops the processes when interrupted
    errors = Console(stderr=True)
    if machine.busy() > BUSY:
        errors.print(
            f"this machine is busy (load {machine.busy():.1f}): ratios hold, rates are low bounds", style="yellow"
        )
    session = _session(arguments, errors)
    try:
        figures, failures = _measure(session, arguments.only or list(GROUPS), errors)
    except KeyboardInterrupt:
        _print(session, arguments)
        sys.exit("interrupted; what was measured is above, docs/benchmarks.md was not written")
    _print(session, arguments)
    if _writes_page(arguments, failures):
        _write_page(figures, failures, is_whole=not arguments.only)
        errors.print(f"written: {PAGE.relative_to(machine.ROOT)}")
    if failures:
        sys.exit("failed: " + "; ".join(f"{name}: {reason}" for name, reason in failures.items()))
    missed = [figure.name for figure in session.figures if figure.verdict.startswith("missed")]
    if arguments.check and missed:
        sys.exit(f"missed: {'; '.join(missed)}")


def _measure(
    session: BenchSession, chosen: Sequence[str], errors: Console
) -> tuple[dict[str, list[Figure]], dict[str, str]]:
    """The figures of each group, and why a group has none: an hour of others is not lost for it."""
    figures: dict[str, list[Figure]] = {}
    failures: dict[str, str] = {}
    for number, name in enumerate(chosen, 1):
        errors.print(f"[{number}/{len(chosen)}] {name}: {GROUPS[name].__doc__}", style="bold", markup=False)
        before = len(session.figures)
        try:
            GROUPS[name](session)
        except (Failed, RuntimeError) as error:
            failures[name] = str(error)
            errors.print(f"  {name} failed: {error}", style="red", markup=False)
        figures[name] = session.figures[before:]
    return figures, failures


def _writes_page(arguments: argparse.Namespace, failures: Mapping[str, str]) -> bool:
    """A whole run does, or one of the questions alone, whose section is of its own."""
    return not arguments.quick and (not arguments.only or (arguments.only == ["questions"] and not failures))


def _write_page(figures: Mapping[str, list[Figure]], failures: Mapping[str, str], *, is_whole: bool) -> None:
    """Questions that could not be asked keep their section of an earlier run."""
    page = PAGE.read_text()
    if is_whole:
        others = [figure for name, group in figures.items() if name != "questions" for figure in group]
        page = report.with_first_section(page, report.page(others, failures))
    if "questions" not in failures:
        page = report.with_questions(page, figures["questions"])
    PAGE.write_text(page)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description="Measures this machine beside baselines.")
    parser.add_argument("--only", action="append", choices=list(GROUPS), help="only this group of figures; repeatable")
    parser.add_argument(
        "--quick", action="store_true", help="short turns, to check that everything runs; writes no page"
    )
    parser.add_argument(
        "--full",
        action="store_true",
        help=f"a backlog of {FULL_BACKLOG:,} messages and questions over {FULL_ROWS[-1]:,} rows (6 GB of disk)",
    )
    parser.add_argument("--backlog", type=int, help=f"that many messages; else {SHORT_BACKLOG:,}")
    parser.add_argument("--rows", type=int, action="append", help="ask questions over that many rows; repeatable")
    parser.add_argument("--turns", type=int, help="turns of each side, alternating (3)")
    parser.add_argument("--seconds", type=float, help="length of one turn under load (6)")
    parser.add_argument("--bodies", default="", help="only abusive bodies with this text in their name")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a figure misses its limit")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    return parser.parse_args()


def _session(arguments: argparse.Namespace, errors: Console) -> BenchSession:
    backlog = arguments.backlog or (FULL_BACKLOG if arguments.full else 80_000 if arguments.quick else SHORT_BACKLOG)
    return BenchSession(
        seconds=arguments.seconds or (1.5 if arguments.quick else 6.0),
        turns=arguments.turns or (1 if arguments.quick else 3),
        backlog=backlog,
        tell=lambda line: errors.print(f"  {line}", markup=False, highlight=False),
        bodies=arguments.bodies,
        rows=tuple(arguments.rows or (QUICK_ROWS if arguments.quick else FULL_ROWS if arguments.full else SHORT_ROWS)),
    )


def _print(session: BenchSession, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print(json.dumps(report.as_json(session.figures), indent=2))
    elif session.figures:
        report.show(session.figures, Console(width=None if sys.stdout.isatty() else 220))


if __name__ == "__main__":
    main()
