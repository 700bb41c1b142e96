"""A delivered message as plain data, and an entry: what a worker made of it. The Batcher acknowledges messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from schemas import headers, subjects
from schemas.blocks.rows import Rows
from schemas.counts import Counts
from schemas.headers import Origin
from schemas.outcomes import LedgerRow, OutcomeRow

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from opentelemetry.trace import SpanContext

# `$JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<consumer sequence>.<time>.<pending>`; with a JetStream domain two
# more tokens stand behind ACK and one at the end.
_TOKENS_WITHOUT_DOMAIN = 9


class Receipt(Protocol):
    """Acknowledges or returns a message to the broker; nats-py's Msg is one."""

    async def ack(self) -> None: ...

    async def nak(self, delay: float | None = None) -> None: ...

    async def in_progress(self) -> None: ...


@dataclass(slots=True, eq=False)
class Message:
    """One delivery of one message. `deliveries` counts from 1; `touched_s` is when the broker was last told that it is
    in progress.

    `inflated` is the decompressed body, between the check of its size and its use.
    """

    subject: str
    headers: Mapping[str, str]
    body: bytes
    stream: str
    seq: int
    deliveries: int
    stored_at_ns: int
    receipt: Receipt
    touched_s: float = 0.0
    inflated: bytes | None = None


@dataclass(frozen=True, slots=True)
class Dead:
    """Why a message becomes a dead letter: a reason to group by, and a sentence.

    `by_sender`: the sent data is invalid, and the sender was told so. Such bytes are kept only while there is room for
    them, and nothing waits for that. All other dead letters are our fault, or ClickHouse's, and are always kept.
    """

    reason: str
    error: str
    by_sender: bool = False


@dataclass(slots=True, eq=False)
class Entry:
    """A message and everything that must be stored before it may be acknowledged.

    `rows` are in the worker's column order. `reply` goes to the waiting receiver at once, `reply_after_insert` when
    everything is stored. `origin` is None if no outcome can be written: unreadable headers. `passed_on` counts the
    messages that were published instead of rows, `ledger` is its row for the reconciliation (ledger.py). `trace` is
    its span, if its request is traced (tracing.py).
    """

    message: Message
    origin: Origin | None = None
    rows: Rows = field(default_factory=list)
    outcomes: list[OutcomeRow] = field(default_factory=list)
    size_bytes: int = 0
    dead: Dead | None = None
    reply: Counts | None = None
    reply_after_insert: Counts | None = None
    passed_on: int = 0
    ledger: LedgerRow | None = None
    trace: SpanContext | None = None
    _shared_body: tuple[bytes, str, bytes] | None = field(default=None, init=False, repr=False)

    def share_body(self, text: str) -> bool:
        """Lets go of the message's body if it is `text`, which a row holds anyway, between a few other bytes.

        Most of the memory of an error that waits for its insert is its payload: once in its row and once in its body,
        which only a dead letter needs.
        """
        body, middle = self.message.body, text.encode()
        for end in (len(body) - 1, len(body)):
            if body.endswith(middle, 0, end):
                self._shared_body = (body[: end - len(middle)], text, body[end:])
                self.message.body = b""
                return True
        return False

    def take_back_body(self) -> None:
        """Gives the message its body again, for a dead letter."""
        if self._shared_body is not None:
            before, text, behind = self._shared_body
            self.message.body = before + text.encode() + behind
            self._shared_body = None


def from_nats(message: Msg) -> Message:
    """A message pulled from a JetStream consumer as a Message. Raises ValueError for any other message.

    Reads the reply subject itself: nats-py's `metadata` makes a datetime for each message and drops its nanoseconds.
    The body is taken out of `message`, which lives until it is acknowledged, so that it can be let go of before that.
    """
    tokens = message.reply.split(".")
    first = 2 if len(tokens) == _TOKENS_WITHOUT_DOMAIN else 4
    if tokens[:2] != ["$JS", "ACK"] or len(tokens) < first + 7:
        raise ValueError(f"expected a message of a JetStream consumer, found the reply subject {message.reply!r}")
    body, message.data = message.data, b""
    return Message(
        subject=message.subject,
        headers=message.headers or {},
        body=body,
        stream=tokens[first],
        seq=int(tokens[first + 3]),
        deliveries=int(tokens[first + 2]),
        stored_at_ns=int(tokens[first + 5]),
        receipt=message,
    )


def as_original(message: Message) -> Message:
    """Gives a message of REPLAY its original subject, stream and sequence, so that it makes the same rows.

    An item's sequence in ITEMS is not known any more; the sequence of its body in RAW identifies it.
    """
    message.stream, message.subject = subjects.original(message.subject)
    origin_seq = message.headers.get(headers.ORIGIN_SEQ, "")
    if origin_seq.isascii() and origin_seq.isdigit():
        message.seq = int(origin_seq)
    return message


def item_type(message: Message) -> str:
    """One word for what the message is, from its subject: `event`, `sentry_envelope`, `otlp_logs`."""
    tokens = message.subject.split(".")
    return "_".join(tokens[1:-1]) or "unknown"


def channel_id(message: Message) -> int:
    """The channel at the end of the subject; 0 if there is none."""
    last = message.subject.rpartition(".")[2]
    return int(last) if last.isascii() and last.isdigit() else 0
