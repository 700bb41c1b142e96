"""Split, the result of splitting a body, and the functions that all readers of bodies use."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from schemas import encodings, subjects
from schemas.headers import Origin
from schemas.key_masking import mask_keys, mask_keys_in
from workers.consume.message import Message
from workers.normalise.verdict import Invalid

MAX_TYPE_LENGTH: Final = 40
# Each makes a row of outcomes. SDKs have a dozen reasons and two dozen categories; a body has a few of them.
MAX_TYPES: Final = 50
MAX_LOST: Final = 200
OTHER: Final = "other"
ITEM_WORKERS: Final = frozenset(
    source.worker for source in subjects.SOURCES.values() if source.stream == subjects.ITEMS
)

_NOT_A_WORD: Final = re.compile(r"[^A-Za-z0-9_.-]")


# (outcome, reason, item type) of records that an SDK reports as lost before they could reach us.
LostAtClient = tuple[str, str, str]


@dataclass(slots=True)
class Split:
    """One split body: items as (index, worker, one-item envelope), and how many items of each type are dropped.

    `reports` counts client reports, which make no row, as (reason, item type); `lost` has the records in them.
    """

    items: list[tuple[int, str, bytes]] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    reports: Counter[tuple[str, str]] = field(default_factory=Counter)
    lost: Counter[LostAtClient] = field(default_factory=Counter)

    def drop(self, item_type: str) -> None:
        """One item of a type that has no worker. Beyond MAX_TYPES, types are counted together."""
        if len(self.dropped) >= MAX_TYPES and item_type not in self.dropped:
            item_type = OTHER
        self.dropped[item_type] += 1

    def lose(self, lost: LostAtClient, quantity: int) -> None:
        """Records an SDK reports as lost. Beyond MAX_LOST kinds, those of one outcome are counted together."""
        if len(self.lost) >= MAX_LOST and lost not in self.lost:
            lost = (lost[0], OTHER, OTHER)
        self.lost[lost] += quantity

    def plain(self) -> tuple[Any, ...]:
        """As plain values, to send it to another process."""
        return (self.items, dict(self.dropped), dict(self.reports), dict(self.lost))

    @classmethod
    def of_plain(cls, plain: tuple[Any, ...]) -> Split:
        """The reverse of `plain`."""
        items, *counted = plain
        return cls(items, *map(Counter, counted))


# (inflated body, its Origin, limit in bytes for whatever it holds inflated) -> its items. Pure; raises Invalid.
Reader = Callable[[bytes, Origin, int], Split]


def split_body(read: Reader, message: Message, origin: Origin, limit_bytes: int) -> Split:
    """Splits the body of a message and masks keys in its items. Raises Invalid."""
    body, message.inflated = message.inflated, None
    if body is None:
        body = inflate(message.body, origin.content_encoding, limit_bytes)
    split = read(body, origin, limit_bytes)
    split.items = [(index, worker, mask_keys(item)) for index, worker, item in split.items]
    return split


def inflate(body: bytes, encoding: str, limit_bytes: int) -> bytes:
    """`body` without its Content-Encoding. Raises Invalid."""
    try:
        return encodings.inflate(body, encoding, limit_bytes)
    except (encodings.CorruptBody, encodings.TooLarge, encodings.UnsupportedEncoding) as error:
        raise Invalid(str(error)) from error


def word(item_type: str) -> str:
    """A type in a form that is safe in a reason and in a LowCardinality column: short, of few characters."""
    return _NOT_A_WORD.sub("?", mask_keys_in(item_type)[:MAX_TYPE_LENGTH]) or "?"
