"""The counts of a normalised message, for the reply to the waiting receiver and for outcome rows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nats.errors import Error as NatsError

from schemas.counts import Counts
from schemas.headers import Origin
from schemas.outcomes import REJECTED, Outcome, OutcomeRow, outcome_row
from workers import metrics
from workers.consume.message import Entry
from workers.normalise.verdict import Verdict


def rejected_rows(origin: Origin, stage: str, verdict: Verdict) -> list[OutcomeRow]:
    """One outcome row for each reason; the stage is the item type."""
    if not verdict.rejections:
        return []
    return [
        outcome_row(origin, stage, Outcome(REJECTED, reason, stage, quantity))
        for reason, quantity in verdict.rejected().items()
    ]


def of_verdict(stage: str, verdict: Verdict) -> Counts:
    """The reply for a normalised message; each reason once, with the detail of its first record."""
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
