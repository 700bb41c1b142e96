"""Fakes at the workers' own seams: a clock turned by hand, a Writer, a broker that writes down what it hears."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from schemas import headers
from schemas.counts import Counts
from schemas.headers import Origin
from schemas.rows import Row
from workers.consume.counts import Replies
from workers.consume.message import Dead, Message
from workers.store.batcher import Batcher, BatchLimits, Outlets
from workers.store.clickhouse_errors import BadData
from workers.store.dead_letters import DeadLetterNotStored
from workers.store.insert import Inserter

TABLE = "event_rows"
COLUMNS = ("value",)
RECEIVED_AT_NS = 1_763_700_000_000_000_000


async def settled() -> None:
    """Lets every task run until all of them wait for something."""
    for _ in range(50):
        await asyncio.sleep(0)


class FakeClock:
    """Time that stands still until a test turns it."""

    def __init__(self) -> None:
        self._now_s = 1000.0
        self.sleeps_s: list[float] = []
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now_s(self) -> float:
        return self._now_s

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        self.sleeps_s.append(seconds)
        self._sleepers.append((self._now_s + seconds, future))
        await future

    def pass_by(self, seconds: float) -> None:
        """Time goes on; whoever sleeps until then wakes at the next turn."""
        self._now_s += seconds

    async def turn(self, seconds: float) -> None:
        """Passes `seconds` and lets everybody who wakes run."""
        self.pass_by(seconds)
        due = [(at_s, future) for at_s, future in self._sleepers if at_s <= self._now_s]
        self._sleepers = [(at_s, future) for at_s, future in self._sleepers if at_s > self._now_s]
        for _, future in due:
            if not future.done():
                future.set_result(None)
        await settled()


@dataclass
class FakeReceipt:
    """What the broker heard about one message, in order."""

    journal: list[str]
    name: str
    heard: list[str] = field(default_factory=list)

    async def ack(self) -> None:
        self._hear("ack")

    async def nak(self, delay: float | None = None) -> None:
        self._hear(f"nak {delay:g}")

    async def in_progress(self) -> None:
        self._hear("in_progress")

    def _hear(self, word: str) -> None:
        self.heard.append(word)
        self.journal.append(f"{word} {self.name}")


class FakeWriter:
    """Keeps rows; `closed` makes inserts wait, `errors` are raised one by one, `is_bad` refuses rows for ever."""

    def __init__(self, journal: list[str]) -> None:
        self.journal = journal
        self.stored: dict[str, list[Row]] = {}
        self.inserts: list[tuple[str, int]] = []
        self.errors: list[Exception] = []
        self.is_bad: Callable[[Row], bool] = lambda _row: False
        self.gate = asyncio.Event()
        self.gate.set()

    async def insert(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        self.inserts.append((table, len(rows)))
        await self.gate.wait()
        if self.errors:
            raise self.errors.pop(0)
        if any(self.is_bad(row) for row in rows):
            raise BadData("text is not a number", "Cannot parse 'x'", 72)
        self.stored.setdefault(table, []).extend(rows)
        self.journal.append(f"insert {table} {len(rows)}")


class FakeDeadLetters:
    """Keeps dead letters, unless it is full."""

    def __init__(self, journal: list[str]) -> None:
        self.journal = journal
        self.stored_dead: list[tuple[Message, Dead]] = []
        self.is_full = False

    async def store(self, message: Message, dead: Dead) -> None:
        if self.is_full:
            raise DeadLetterNotStored("maximum bytes exceeded")
        self.stored_dead.append((message, dead))
        self.journal.append(f"dead {dead.reason}")


class Bench:
    """A Batcher with fakes all round it, and a journal of everything in the order it happened."""

    def __init__(self, **limits: float) -> None:
        self.journal: list[str] = []
        self.clock = FakeClock()
        self.writer = FakeWriter(self.journal)
        self.dead_letters = FakeDeadLetters(self.journal)
        self.replies: list[Counts] = []
        self.outlets = Outlets(
            Inserter(self.writer, self.clock, jitter=lambda: 1.0),
            self.dead_letters,
            Replies(self._reply, "event"),
            self.clock,
        )
        self.batcher = Batcher("event", TABLE, COLUMNS, self.outlets, BatchLimits(**limits))  # type: ignore[arg-type]
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Bench:
        self._running = asyncio.create_task(self.batcher.run())
        await settled()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._running is not None
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    async def _reply(self, _subject: str, data: bytes) -> None:
        self.replies.append(Counts.decode(data))
        self.journal.append("reply")

    def message(self, name: str = "m", body: bytes = b"{}", **changes: object) -> Message:
        """A delivered message; `changes` are fields of Message, or of Origin for its headers."""
        known = {key: changes.pop(key) for key in ("deliveries", "subject", "headers", "seq") if key in changes}
        return Message(
            subject=str(known.get("subject", "item.event.7")),
            headers=known.get("headers", headers.write(origin(**changes), f"id-{name}")),  # type: ignore[arg-type]
            body=body,
            stream="ITEMS",
            seq=int(str(known.get("seq", 5))),
            deliveries=int(str(known.get("deliveries", 1))),
            stored_at_ns=RECEIVED_AT_NS + 1,
            receipt=FakeReceipt(self.journal, name),
        )


def origin(**changes: object) -> Origin:
    """An Origin as the receiver would write it."""
    fields: dict[str, object] = {
        "organisation": "acme",
        "channel_id": 7,
        "key_id": "0123456789abcdef",
        "environment": "production",
        "environment_from_event": False,
        "received_at_ns": RECEIVED_AT_NS,
        "counts_to": "_INBOX.r.1",
        "origin_id": "raw-1",
    }
    return Origin(**(fields | changes))  # type: ignore[arg-type]


def heard(message: Message) -> list[str]:
    """What the broker heard about a message."""
    assert isinstance(message.receipt, FakeReceipt)
    return message.receipt.heard
