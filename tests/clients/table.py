"""docs/clients.md: which client was seen to do what. Tests claim it with `@pytest.mark.proves`; passing is the proof.

`proves(client, version, feature, result)`, all texts. A client whose tests did not all pass keeps its old lines.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "clients.md"
BEGIN, END = "<!-- clients: begin -->", "<!-- clients: end -->"
HEADING = ("| client | version | sends | what comes of it |", "|---|---|---|---|")
LAST = "test_clients_table.py"

Line = tuple[str, str, str, str]


@dataclass
class Proofs:
    """What this run's tests claim, by test, and which of them passed."""

    claims: dict[str, list[Line]] = field(default_factory=dict)
    passed: set[str] = field(default_factory=set)
    is_whole: bool = False

    def lines(self, old: Iterable[Line]) -> list[Line]:
        """The table as this run knows it; `old` lines stand for clients that did not run, or not wholly."""
        proven, unproven = self._by_client()
        kept = [line for line in old if line[0] in unproven or (line[0] not in proven and not self.is_whole)]
        fresh = [line for client, lines in proven.items() if client not in unproven for line in lines]
        return sorted({*kept, *fresh}, key=lambda line: (line[0].lower(), *line[1:]))

    def _by_client(self) -> tuple[dict[str, set[Line]], set[str]]:
        proven: dict[str, set[Line]] = defaultdict(set)
        unproven = set()
        for test, claimed in self.claims.items():
            for line in claimed:
                proven[line[0]].add(line)
                if test not in self.passed:
                    unproven.add(line[0])
        return proven, unproven


PROOFS = pytest.StashKey[Proofs]()


def proofs(config: pytest.Config) -> Proofs:
    """Of this run."""
    return config.stash.setdefault(PROOFS, Proofs())


def read_lines() -> list[Line]:
    """The committed table."""
    rows = _between(PAGE.read_text())[1].splitlines()
    return list(_cells(row for row in rows if row.startswith("| ") and row not in HEADING))


def written(lines: Iterable[Line]) -> str:
    """The page with these lines as its table."""
    before, _, after = _between(PAGE.read_text())
    rows = (f"| {' | '.join(line)} |" for line in lines)
    return before + "\n".join((BEGIN, *HEADING, *rows, END)) + after


def _between(text: str) -> tuple[str, str, str]:
    before, begin, rest = text.partition(BEGIN)
    table, end, after = rest.partition(END)
    assert begin, f"{PAGE} has no line {BEGIN}"
    assert end, f"{PAGE} has no line {END}"
    return before, table, after


def _cells(rows: Iterable[str]) -> Iterator[Line]:
    for row in rows:
        client, version, feature, result = (cell.strip() for cell in row.strip("|").split("|"))
        yield client, version, feature, result


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Collect the claims before any test is deselected, and let the test of the table run last."""
    found = proofs(config)
    for item in items:
        found.claims[item.nodeid] = [mark.args for mark in item.iter_markers("proves")]
    folder = Path(__file__).parent
    collected = {item.path for item in items}
    found.is_whole = collected >= set(folder.glob("test_*.py"))
    items.sort(key=lambda item: item.path.name == LAST)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember what passed."""
    report = yield
    if call.when == "call" and report.passed:
        proofs(item.config).passed.add(item.nodeid)
    return report
