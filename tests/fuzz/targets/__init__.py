"""THE table of fuzz targets by name. A new family is one module with TARGETS, and one line here."""

from __future__ import annotations

from typing import Final

from tests.fuzz.target import Target
from tests.fuzz.targets import artifacts, clickhouse, console, otlp, receiver, sentry, stacktraces, twins

TABLE: Final[dict[str, Target]] = {
    target.name: target
    for target in (
        *artifacts.TARGETS,
        *clickhouse.TARGETS,
        *console.TARGETS,
        *otlp.TARGETS,
        *receiver.TARGETS,
        *sentry.TARGETS,
        *stacktraces.TARGETS,
        *twins.TARGETS,
    )
}
