"""What became of a message, told twice: the reply to the waiting receiver, and outcome rows. Nobody decides here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from nats.errors import Error as NatsError

from schemas.counts import Counts
from schemas.headers import Origin
from schemas.rows import NANOS_PER_SECOND, Row, row_id
from workers import metrics
from workers.consume.message import Entry
from workers.normalise.verdict import Verdict

OUTCOME_COLUMNS: Final = (
    "minute", "organisation", "channel_id", "key_id", "item_type", "outcome", "reason", "source_id", "quantity",
    "version", "stage", "item_index",
)  # fmt: skip
REJECTED: Final = "rejected"
DROPPED: Final = "dropped"
INVALID: Final = "invalid"
DEAD: Final = "dead"
# Of an invalid body: its bytes are not among the dead letters either. Beside `invalid`, no end of its own.
NOT_KEPT: Final = "not_kept"
# What an SDK reports as lost before it reached us: no end of anything we took.
CLIENT_PREFIX: Final = "client_"

_SECONDS_PER_MINUTE: Final = 60


class Outcome(NamedTuple):
    """What became of `quantity` records of one type, if not rows; `reason` is a word to group by."""

    outcome: str
    reason: str
    item_type: str
    quantity: int = 1


def outcome_row(origin: Origin, stage: str, outcome: Outcome) -> Row:
    """A row of `outcome_rows`: its id is a function of message, stage and reason, so a redelivery is the same row."""
    return (
        minute(origin),
        origin.organisation,
        origin.channel_id,
        origin.key_id,
        outcome.item_type,
        outcome.outcome,
        outcome.reason,
        row_id(origin.origin_id, origin.item_index, stage, outcome.reason),
        outcome.quantity,
        origin.version,
        stage,
        origin.item_index,
    )


def minute(origin: Origin) -> int:
    """The minute the body arrived in, in seconds since 1970: what every count is kept under."""
    seconds = origin.received_at_ns // NANOS_PER_SECOND
    return seconds - seconds % _SECONDS_PER_MINUTE


def rejected_rows(origin: Origin, stage: str, verdict: Verdict) -> list[Row]:
    """One outcome row for each reason; the stage is the item type."""
    if not verdict.rejections:
        return []
    return [
        outcome_row(origin, stage, Outcome(REJECTED, reason, stage, quantity))
        for reason, quantity in verdict.rejected().items()
    ]


def of_verdict(stage: str, verdict: Verdict) -> Counts:
    """The reply for a normalised message; each reason once, with its first record's own words."""
    return Counts(
        stage=stage,
        accepted=verdict.accepted,
        rejected=len(verdict.rejections) + verdict.more.total(),
        reasons=_reasons(verdict),
        warning=verdict.warning,
    )


def _reasons(verdict: Verdict) -> list[str]:
    if not verdict.rejections:
        return []
    first: dict[str, str] = {}
    for rejection in verdict.rejections:
        first.setdefault(rejection.reason, rejection.detail)
    return [_sentence(reason, first[reason], quantity) for reason, quantity in verdict.rejected().items()]


def _sentence(reason: str, detail: str, quantity: int) -> str:
    more = f" (and {quantity - 1} more)" if quantity > 1 else ""
    return f"{reason}: {detail}{more}" if detail else f"{reason}{more}"


class Replies:
    """Sends counts to the receiver that waits for them, if one does."""

    def __init__(self, publish: Callable[[str, bytes], Awaitable[None]], worker: str) -> None:
        self._publish = publish
        self._lost = metrics.REPLIES_LOST.labels(worker)

    async def send(self, entry: Entry, counts: Counts) -> None:
        """At most once: a redelivered message was answered before, and a lost reply only means "counts unknown"."""
        origin = entry.origin
        if origin is None or not origin.counts_to or entry.message.deliveries != 1:
            return
        try:
            await self._publish(origin.counts_to, counts.encode())
        except (NatsError, OSError):
            self._lost.inc()
