"""How far the rows are complete: everything that was received before that time is in ClickHouse.

Rows come later than what they tell, by however much the workers are behind. At each look we note the time and the last
message of RAW. When the workers of RAW have acknowledged it, the bodies from before are rows or items; the last item of
that moment is noted too. When the workers of ITEMS have acknowledged that, everything from before the time is a row.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import nats.errors
import structlog
from nats.js.errors import Error as JetStreamError

from ops.runtime.ack_floor import acknowledged_up_to
from ops.runtime.stream_state import stream_state
from schemas.subjects import ITEMS, RAW, SOURCES, UNPACK

if TYPE_CHECKING:
    from nats.aio.client import Client

# The workers that make the rows of each kind of question.
WORKERS: Final[Mapping[str, tuple[str, ...]]] = {
    "errors": (UNPACK, "otlp_log", "otlp_span", "native", "event", "minidump"),
    "spans": (UNPACK, "otlp_span", "native", "transaction", "span"),
    "logs": (UNPACK, "otlp_log", "native", "log", "event"),
    "check_ins": (UNPACK, "check_in"),
}
# Looks that are remembered; where workers are behind for longer, some between are left out.
MAX_LOOKS: Final = 400
_TIMEOUT_S: Final = 5.0

log = structlog.get_logger()


@dataclass(slots=True)
class _Look:
    """At `at_s` RAW ended with `raw_seq`. `items_seq` is set once its bodies are unpacked: where ITEMS ended then."""

    at_s: float
    raw_seq: int
    items_seq: int | None = None


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Where streams end, and up to where each worker has acknowledged its stream."""

    raw_last: int
    items_last: int
    by_worker: Mapping[str, int]


@dataclass(slots=True)
class _Progress:
    """Of one kind of rows."""

    workers: tuple[str, ...]
    complete_until_s: float = 0.0
    looks: deque[_Look] = field(default_factory=deque)

    def note(self, at_s: float, acknowledged: Acknowledged) -> None:
        """One look: settles earlier ones, and remembers this one."""
        self.looks.append(_Look(at_s, acknowledged.raw_last))
        raw_done = min((acknowledged.by_worker[name] for name in self._of(RAW)), default=acknowledged.raw_last)
        items_done = min((acknowledged.by_worker[name] for name in self._of(ITEMS)), default=acknowledged.items_last)
        for look in self.looks:
            if look.items_seq is None and look.raw_seq <= raw_done:
                look.items_seq = acknowledged.items_last
        while self.looks and (seq := self.looks[0].items_seq) is not None and seq <= items_done:
            self.complete_until_s = self.looks.popleft().at_s
        if len(self.looks) > MAX_LOOKS:
            self.looks = deque(look for number, look in enumerate(self.looks) if number % 2 == 0 or number < 2)

    def _of(self, stream: str) -> Iterable[str]:
        return (name for name in self.workers if SOURCES[name].stream == stream)


class IngestProgress:
    """The progress of each kind of rows. `look` asks the broker; 0 until the first rows are known to be complete."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._kinds = {kind: _Progress(workers) for kind, workers in WORKERS.items()}

    async def look(self, now_s: float) -> None:
        """Asks the broker; what it does not answer is asked again at the next look."""
        try:
            acknowledged = await self._acknowledged()
        except (TimeoutError, nats.errors.Error, JetStreamError) as error:
            log.warning("ingest_progress_unknown", error=type(error).__name__)
            return
        self.note(now_s, acknowledged)

    def note(self, now_s: float, acknowledged: Acknowledged) -> None:
        """One look for all kinds."""
        for progress in self._kinds.values():
            progress.note(now_s, acknowledged)

    def complete_until_s(self, kind: str) -> float:
        """Rows of this kind that were received before are stored."""
        return self._kinds[kind].complete_until_s

    async def _acknowledged(self) -> Acknowledged:
        """The ends of the streams are read before the workers' places in them, and ITEMS after RAW's workers.

        An item is published before its body is acknowledged: an end of ITEMS that is read later has it.
        """
        raw_last = (await stream_state(self._client, RAW)).last_seq
        of_raw = await self._floors(RAW, raw_last)
        items_last = (await stream_state(self._client, ITEMS)).last_seq
        of_items = await self._floors(ITEMS, items_last)
        return Acknowledged(raw_last, items_last, of_raw | of_items)

    async def _floors(self, stream: str, last_seq: int) -> dict[str, int]:
        js = self._client.jetstream(timeout=_TIMEOUT_S)
        wanted = {name for names in WORKERS.values() for name in names if SOURCES[name].stream == stream}
        workers = sorted(wanted)
        infos = await asyncio.gather(*(js.consumer_info(stream, SOURCES[name].durable) for name in workers))
        return {name: acknowledged_up_to(last_seq, info) for name, info in zip(workers, infos, strict=True)}
