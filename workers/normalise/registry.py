"""THE table: worker -> normalise function, columns, ClickHouse table. Adding an item type is one more line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from schemas.headers import Origin
from schemas.rows import DEAD_LETTERS_TABLE, EVENTS_TABLE, OUTCOMES_TABLE
from workers.consume.message import Letter
from workers.normalise import dead_letter, outcome
from workers.normalise.minidump import error as minidump
from workers.normalise.native import event as native
from workers.normalise.otlp import body as otlp
from workers.normalise.sentry import (
    attachment,
    check_in,
    event,
    feedback,
    log,
    security,
    session,
    span,
    trace_metric,
    transaction,
)
from workers.normalise.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Mill:
    """How one worker makes rows. `normalise` is pure and raises Invalid; rows follow `columns`.

    `has_outcomes` False: what it refuses is no new outcome, because the message has one already. `inflates` True: it
    reads bodies as their senders compressed them.
    """

    worker: str
    table: str
    columns: Sequence[str]
    normalise: Callable[[Origin, Letter], Verdict]
    has_outcomes: bool = True
    inflates: bool = False


# (origin, body) plus settings by keyword -> verdict
_OfBody = Callable[..., Verdict]

_SENTRY: Final[dict[str, tuple[_OfBody, Sequence[str]]]] = {
    "event": (event.normalise, event.COLUMNS),
    "transaction": (transaction.normalise, transaction.COLUMNS),
    "span": (span.normalise, span.COLUMNS),
    "log": (log.normalise, log.COLUMNS),
    "check_in": (check_in.normalise, check_in.COLUMNS),
    "session": (session.normalise, session.COLUMNS),
    "attachment": (attachment.normalise, attachment.COLUMNS),
    "minidump": (minidump.normalise, minidump.COLUMNS),
    "csp": (security.normalise, security.COLUMNS),
    "feedback": (feedback.normalise, feedback.COLUMNS),
    "trace_metric": (trace_metric.normalise, trace_metric.COLUMNS),
}
_OTLP: Final[dict[str, tuple[_OfBody, Sequence[str]]]] = {
    "otlp_log": (otlp.normalise_logs, otlp.LOG_COLUMNS),
    "otlp_span": (otlp.normalise_spans, otlp.SPAN_COLUMNS),
}
_NATIVE: Final[dict[str, tuple[_OfBody, Sequence[str]]]] = {"native": (native.normalise, native.COLUMNS)}


def mills(retention_days: int, max_body_bytes: int) -> dict[str, Mill]:
    """Every Mill by its worker's name, with the settings their functions need."""
    sentry = {"retention_days": retention_days}
    otlp_settings = {"retention_days": retention_days, "max_body_bytes": max_body_bytes}
    found = [
        *(_of_body(worker, partial(function, **sentry), columns) for worker, (function, columns) in _SENTRY.items()),
        *(
            _of_raw_body(worker, partial(function, **otlp_settings), columns)
            for worker, (function, columns) in (_OTLP | _NATIVE).items()
        ),
        Mill(
            "outcome",
            OUTCOMES_TABLE,
            outcome.COLUMNS,
            lambda origin, letter: outcome.normalise(origin, letter.body),
            has_outcomes=False,
        ),
        Mill("dead", DEAD_LETTERS_TABLE, dead_letter.COLUMNS, dead_letter.normalise, has_outcomes=False),
    ]
    return {mill.worker: mill for mill in found}


def _of_raw_body(worker: str, function: _OfBody, columns: Sequence[str]) -> Mill:
    """A body as its sender compressed it; weighing may have inflated it already."""

    def normalise(origin: Origin, letter: Letter) -> Verdict:
        inflated, letter.inflated = letter.inflated, None
        return function(origin, letter.body, inflated=inflated)

    return Mill(worker, EVENTS_TABLE, columns, normalise, inflates=True)


def _of_body(worker: str, function: _OfBody, columns: Sequence[str]) -> Mill:
    return Mill(worker, EVENTS_TABLE, columns, lambda origin, letter: function(origin, letter.body))
