"""Counts: what unpack and the workers report to the waiting receiver about one body."""

from __future__ import annotations

from typing import Self

import orjson
from pydantic import BaseModel, ConfigDict, Field

MAX_REASON_LENGTH = 500
# Reason for an item type without a worker: this word, a colon and the type. The receiver tells SDKs to stop sending it.
UNSUPPORTED_ITEM_TYPE = "unsupported_item_type"


class Counts(BaseModel):
    """One reply to `Counts-To`, JSON on the wire.

    Only unpack sets `expect`: how many item messages will each be answered with Counts. `accepted` and `rejected` count
    records (events, spans, log records, check-ins; a transaction is one). `invalid` says why the whole body is
    malformed: the receiver answers 400. `stored` is set in the reply after the insert (`sync: true`). `warning`
    describes a problem in something that was accepted.
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
        """Encodes the reply; texts are cut to MAX_REASON_LENGTH characters, counts are not."""
        # Not model_copy: it takes twelve times as long, and every body has two replies.
        short = [reason[:MAX_REASON_LENGTH] for reason in self.reasons[:20]]
        return orjson.dumps(self.__dict__ | {"reasons": short})

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The reverse of encode; raises ValueError."""
        return cls.model_validate_json(data)
