"""THE table: worker -> normalise function, columns, ClickHouse table. Adding an item type is one more line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from schemas.headers import Origin
from schemas.outcomes import OUTCOME_COLUMNS
from schemas.rows import DEAD_LETTERS_TABLE, EVENTS_TABLE, OUTCOMES_TABLE
from workers.consume.message import Message
from workers.normalise import dead_letter, outcome
from workers.normalise.minidump import error as minidump
from workers.normalise.native import event as native
from workers.normalise.otlp import body as otlp
from workers.normalise.otlp import log_blocks, span_blocks
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
    transaction_blocks,
)
from workers.normalise.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Normaliser:
    """How one worker makes rows. `normalise` is pure and raises Invalid; rows follow `columns`.

    `has_outcomes` False: what it refuses is no new outcome, because the message has one already. `inflates` True: it
    reads bodies as their senders compressed them.
    """

    worker: str
    table: str
    columns: Sequence[str]
    normalise: Callable[[Origin, Message], Verdict]
    has_outcomes: bool = True
    inflates: bool = False


# Layouts of rows that come in blocks, by their kind.
_LAYOUTS: Final = (log_blocks.LAYOUT, span_blocks.LAYOUT, transaction_blocks.LAYOUT)
LAYOUTS: Final = {layout.kind: layout for layout in _LAYOUTS}
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


def normalisers(retention_days: int, max_body_bytes: int) -> dict[str, Normaliser]:
    """Every Normaliser by its worker's name, with the settings their functions need."""
    sentry = {"retention_days": retention_days}
    otlp_settings = {"retention_days": retention_days, "max_body_bytes": max_body_bytes}
    of_types = [
        *(_of_body(worker, partial(function, **sentry), columns) for worker, (function, columns) in _SENTRY.items()),
        *(
            _of_raw_body(worker, partial(function, **otlp_settings), columns)
            for worker, (function, columns) in (_OTLP | _NATIVE).items()
        ),
        Normaliser(
            "outcome",
            OUTCOMES_TABLE,
            OUTCOME_COLUMNS,
            lambda origin, message: outcome.normalise(origin, message.body),
            has_outcomes=False,
        ),
        Normaliser("dead", DEAD_LETTERS_TABLE, dead_letter.COLUMNS, dead_letter.normalise, has_outcomes=False),
    ]
    return {normaliser.worker: normaliser for normaliser in of_types}


def _of_raw_body(worker: str, function: _OfBody, columns: Sequence[str]) -> Normaliser:
    """A body as its sender compressed it; weighing may have inflated it already."""

    def normalise(origin: Origin, message: Message) -> Verdict:
        inflated, message.inflated = message.inflated, None
        return function(origin, message.body, inflated=inflated)

    return Normaliser(worker, EVENTS_TABLE, columns, normalise, inflates=True)


def _of_body(worker: str, function: _OfBody, columns: Sequence[str]) -> Normaliser:
    return Normaliser(worker, EVENTS_TABLE, columns, lambda origin, message: function(origin, message.body))
