"""What a normaliser says about one message: rows, and what it refused and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from schemas.blocks.rows import Rows

# Refused records of one message that are described one by one; of the others only their number by reason is kept. The
# sender hears one sentence for each reason, so more would be 200,000 sentences for one.
MAX_DESCRIBED: Final = 100


class Invalid(ValueError):
    """The message as a whole is malformed: the sender gets a 400, we keep an outcome and a dead letter."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """One refused record: its place in the body, a reason to group by (`invalid_span_id`), and a sentence."""

    index: int
    reason: str
    detail: str


@dataclass(slots=True)
class Verdict:
    """Rows in the order of the normaliser's columns; `accepted` counts records, which may be fewer than rows.

    `rejections` describes the first refused records and the first of each reason, `more` counts the others by reason.
    """

    rows: Rows = field(default_factory=list)
    accepted: int = 0
    rejections: list[Rejection] = field(default_factory=list)
    warning: str = ""
    more: Counter[str] = field(default_factory=Counter)

    def describes(self, reason: str) -> bool:
        """Whether another record refused for this reason is to be described; else `more` counts it."""
        if len(self.rejections) < MAX_DESCRIBED:
            return True
        return reason not in self.more and all(rejection.reason != reason for rejection in self.rejections)

    def refuse(self, index: int, reason: str, detail: str, quantity: int = 1) -> None:
        """`quantity` records refused for one reason; `detail` says what is wrong with the first, at `index`."""
        if self.describes(reason):
            self.rejections.append(Rejection(index, reason, detail))
            quantity -= 1
        if quantity:
            self.more[reason] += quantity

    def rejected(self) -> Counter[str]:
        """How many records were refused, by reason."""
        if not self.more and len(self.rejections) == 1:
            return Counter((self.rejections[0].reason,))
        return Counter(rejection.reason for rejection in self.rejections) + self.more
