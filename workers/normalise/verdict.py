"""What a normaliser says about one message: rows, and what it refused and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from schemas.headers import Origin
from schemas.rows import Row


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
    """Rows in the order of the normaliser's columns; `accepted` counts records, which may be fewer than rows."""

    rows: list[Row] = field(default_factory=list)
    accepted: int = 0
    rejections: list[Rejection] = field(default_factory=list)
    warning: str = ""


# (what the message's headers say, its body) -> rows and refusals. Pure: no clock, no I/O, no random. Raises Invalid.
Normalise = Callable[[Origin, bytes], Verdict]
