"""The bench of readable stack traces, with a small map: each figure is measured of an error that was resolved."""

from __future__ import annotations

import pytest

from ops.bench.session import BenchSession
from ops.bench.symbols import artifacts, resolving

SMALL = 3_100


def test_every_figure_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bench itself fails if the first error is not resolved."""
    for module in (artifacts, resolving):
        monkeypatch.setattr(module, "SEGMENTS", SMALL)
    monkeypatch.setattr(artifacts, "SOURCES", 10)
    for name, value in {"MAPS": 2, "RELEASES": 5, "BUNDLED_FILES": 10}.items():
        monkeypatch.setattr(resolving, name, value)
    artifacts.mappings.cache_clear()
    session = BenchSession(seconds=0.01, turns=1, backlog=1, tell=lambda _: None)
    resolving.symbols(session)
    artifacts.mappings.cache_clear()
    assert len(session.figures) == 6
    assert all(figure.spread.low > 0 for figure in session.figures)
    [processor] = [figure for figure in session.figures if figure.name.startswith("processor")]
    assert processor.ratio is not None
    assert processor.ratio.median > 1
