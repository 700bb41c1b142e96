"""Counts: what unpack and the workers tell the waiting receiver about one body."""

from __future__ import annotations

from typing import Self

import orjson
from pydantic import BaseModel, ConfigDict, Field

MAX_REASON_LENGTH = 500
# The reason of an item that has no worker is this word, a colon and its type: the receiver tells SDKs to stop.
UNSUPPORTED_ITEM_TYPE = "unsupported_item_type"


class Counts(BaseModel):
    """One reply to `Counts-To`, JSON on the wire.

    `expect` is set by unpack alone: how many item messages will each answer with a Counts of their own. `accepted` and
    `rejected` count records (events, spans, log records, check-ins; a transaction is one). `invalid` says why the body
    as a whole is malformed: the receiver answers 400. `stored` is set by the reply after the insert (`sync: true`).
    `warning` names something accepted all the same.
    """

    model_config = ConfigDict(frozen=True)

    stage: str
    expect: int | None = None
    accepted: int = 0
    rejected: int = 0
    reasons: list[str] = Field(default_factory=list)
    invalid: str | None = None
    warning: str = ""
    stored: bool = False

    def encode(self) -> bytes:
        """Bytes for the reply; every text is cut to MAX_REASON_LENGTH characters, the counts never."""
        # Every body has two of these: as a copy of the model it took 12 us, this 1.
        short = [reason[:MAX_REASON_LENGTH] for reason in self.reasons[:20]]
        return orjson.dumps(self.__dict__ | {"reasons": short})

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The reverse of encode; raises ValueError."""
        return cls.model_validate_json(data)
