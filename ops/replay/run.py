"""`axonpush replay`: processes stored bodies of RAW again, beside live traffic. It never makes duplicate rows.

Bodies are published to the stream REPLAY with a new generation. Workers read it through separate durables, so live
messages do not wait behind them. The command limits its rate and pauses while live messages are waiting.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ops.registry.channel_check import check_channels
from ops.replay import reprocess
from ops.replay.control import Choice, Control, ReplayState
from ops.runtime.failures import Failed
from ops.runtime.stream_reader import count, read_messages
from ops.runtime.stream_state import first_seq_since, stream_state
from schemas import subjects
from schemas.subjects import ITEMS, RAW, REPLAY, ROUTES, SOURCES

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js import JetStreamContext

# Default rate: a sixth of what one core normalises, so that live traffic has the rest.
DEFAULT_RATE: Final = 500.0
SAVE_EVERY_S: Final = 1.0
LOOK_EVERY_S: Final = 0.5
# The replay pauses while more live messages than this wait for workers.
MAX_LIVE_PENDING: Final = 1_000
# Maximum published messages that are not processed yet; more would only use disk.
MAX_UNDER_WAY: Final = 2_000

# (bodies done, bodies in total, current activity)
Tell = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class BodiesFound:
    """The result of a dry run: bodies and bytes by (route, channel)."""

    bodies: Counter[tuple[str, int]]
    size_bytes: Counter[tuple[str, int]]


def filters(choice: Choice) -> list[str]:
    """The subjects of RAW that a choice matches; empty if it matches all."""
    routes = choice.routes or (_routes_of(choice.types) if choice.types else [])
    if choice.types and choice.routes:
        carrying = set(_routes_of(choice.types))
        routes = [route for route in choice.routes if route in carrying]
        if not routes:
            raise Failed(f"expected routes that carry {', '.join(choice.types)}, found {', '.join(choice.routes)}")
    if not routes and not choice.channels:
        return []
    channels: list[str] = [str(channel) for channel in choice.channels] or ["*"]
    return [f"raw.{route}.{channel}" for route in routes or ROUTES for channel in channels]


def _routes_of(types: list[str]) -> list[str]:
    """Routes whose bodies may hold items of these types: those that unpack reads, or the worker's own route."""
    streams = {SOURCES[name].stream for name in types}
    own = {
        SOURCES[name].subject.removeprefix("raw.").removesuffix(".*") for name in types if SOURCES[name].stream == RAW
    }
    unpacked = "sentry." if ITEMS in streams or subjects.UNPACK in types else ""
    return [route for route in ROUTES if route in own or (unpacked and route.startswith(unpacked))]


def item_types(choice: Choice) -> tuple[str, ...]:
    """The item types that unpack shall pass on; empty means all."""
    if subjects.UNPACK in choice.types:
        return ()
    return tuple(name for name in choice.types if SOURCES[name].stream == ITEMS)


class Replay:
    """One replay from plan to end. `stop` interrupts it; `resume` continues it later."""

    def __init__(self, client: Client, control: Control, tell: Tell, stop: asyncio.Event) -> None:
        self._client = client
        self._js = client.jetstream(timeout=10)
        self._control = control
        self._tell = tell
        self._stop = stop
        # When the oldest body came that RAW holds, at the time of the plan; None if it holds none.
        self.raw_since: dt.datetime | None = None

    async def plan(self, choice: Choice, rate: float) -> ReplayState:
        """The bodies to replay, as a state without generation that is not stored yet."""
        subject_filters = filters(choice)
        state = await stream_state(self._client, RAW)
        await self._check_channels(choice)
        first = max(state.first_seq, await first_seq_since(self._js, RAW, choice.since))
        end = min(state.last_seq + 1, await first_seq_since(self._js, RAW, choice.until))
        total = await count(self._js, RAW, range(first, end), subject_filters)
        self.raw_since = state.first_at
        return ReplayState(
            generation=0,
            choice=choice,
            rate=rate,
            first_seq=first,
            next_seq=first,
            end_seq=max(first, end),
            total=total,
            updated_at=_now(),
        )

    async def _check_channels(self, choice: Choice) -> None:
        """Raises Failed for a channel that does not exist and of which RAW holds nothing."""
        if choice.channels:
            subjects = (await stream_state(self._client, RAW, by_subject=True)).by_subject
            numbers = {int(last) for last in (subject.rpartition(".")[2] for subject in subjects) if last.isdigit()}
            await check_channels(self._client, choice.channels, numbers, "body")

    async def last(self) -> ReplayState | None:
        """The newest unfinished replay."""
        replays = await self._control.replays()
        return replays[-1] if replays else None

    async def look(self, state: ReplayState) -> BodiesFound:
        """The dry run: counts matching bodies by route and channel, from headers only."""
        bodies, seen = BodiesFound(Counter(), Counter()), 0
        subject_filters = filters(state.choice)
        async for stored in read_messages(self._js, RAW, _left(state), subjects=subject_filters, headers_only=True):
            place = (subjects.route_of(stored.subject), int(stored.subject.rpartition(".")[2]))
            bodies.bodies[place] += 1
            bodies.size_bytes[place] += stored.size_bytes
            seen += 1
            self._tell(seen, state.total, "counting")
            if self._stop.is_set():
                break
        return bodies

    async def run(self, state: ReplayState) -> ReplayState:
        """Publishes the rest of `state` (with a new generation if it has none) and waits until workers have processed
        it.

        Returns the final state; progress is stored regularly. Raises Failed, NatsError.
        """
        if not state.generation:
            state = state.model_copy(update={"generation": await self._control.next_generation()})
        else:
            await self._check_still_there(state)
        state = await self._save(state)
        state = await self._publish(state)
        if state.next_seq >= state.end_seq:
            await self._settle(state)
        return await self._save(state)

    async def _check_still_there(self, state: ReplayState) -> None:
        raw = await stream_state(self._client, RAW)
        if state.next_seq < min(raw.first_seq, state.end_seq):
            raise Failed(
                f"expected body {state.next_seq} of the interrupted replay, found {raw.first_seq} to be the oldest "
                f"one left: the janitor has trimmed the rest. Start a new replay with --since."
            )

    async def _publish(self, state: ReplayState) -> ReplayState:
        pace, saved_s = _Pace(state.rate), time.monotonic()
        subject_filters, types = filters(state.choice), item_types(state.choice)
        next_seq, published = state.next_seq, state.published
        async for stored in read_messages(self._js, RAW, _left(state), subjects=subject_filters):
            await self._wait_for_turn(pace, published, state.total)
            message = reprocess.reprocessed(stored, state.generation, types=types)
            if self._stop.is_set() or not await reprocess.publish(self._js, message, self._stop):
                break
            next_seq, published = stored.seq + 1, published + 1
            self._tell(published, state.total, "replaying")
            if time.monotonic() - saved_s > SAVE_EVERY_S:
                state = await self._save(state.model_copy(update={"next_seq": next_seq, "published": published}))
                saved_s = time.monotonic()
        else:
            next_seq = state.end_seq
        return state.model_copy(update={"next_seq": next_seq, "published": published})

    async def _wait_for_turn(self, pace: _Pace, published: int, total: int) -> None:
        """Waits as the rate requires, and while too many live or replayed messages are pending."""
        await pace.wait()
        while not self._stop.is_set() and pace.should_look():
            live, under_way = await self.live_pending(), (await stream_state(self._client, REPLAY)).messages
            if live <= MAX_LIVE_PENDING and under_way <= MAX_UNDER_WAY:
                pace.looked()
                return
            what = f"{live} live messages" if live > MAX_LIVE_PENDING else f"workers ({under_way} under way)"
            self._tell(published, total, f"waiting for {what}")
            await asyncio.sleep(LOOK_EVERY_S)

    async def live_pending(self) -> int:
        """Live messages of RAW and ITEMS that no worker has received yet."""
        return await live_pending(self._js)

    async def _settle(self, state: ReplayState) -> None:
        """Waits until no replayed message is pending: all its rows are stored then."""
        saved_s = time.monotonic()
        while not self._stop.is_set() and (left := (await stream_state(self._client, REPLAY)).messages):
            self._tell(state.published, state.total, f"waiting for workers ({left} under way)")
            await asyncio.sleep(0.1)
            if time.monotonic() - saved_s > SAVE_EVERY_S:
                await self._save(state)
                saved_s = time.monotonic()

    async def _save(self, state: ReplayState) -> ReplayState:
        state = state.model_copy(update={"updated_at": _now()})
        await self._control.save(state)
        return state


async def live_pending(js: JetStreamContext) -> int:
    """Live messages of RAW and ITEMS that no worker has received yet."""
    sources = [source for source in SOURCES.values() if source.stream in {RAW, ITEMS}]
    infos = await asyncio.gather(*(js.consumer_info(source.stream, source.durable) for source in sources))
    return sum(info.num_pending or 0 for info in infos)


class _Pace:
    """Spreads publishes evenly at `rate` per second (0 = no limit), and says when to check the load of workers."""

    def __init__(self, rate: float) -> None:
        self._interval_s = 1 / rate if rate > 0 else 0.0
        self._due_s = time.monotonic()
        self._look_due_s = 0.0

    async def wait(self) -> None:
        now_s = time.monotonic()
        if self._due_s > now_s:
            await asyncio.sleep(self._due_s - now_s)
        # Time lost in a pause is not caught up in a burst.
        self._due_s = max(self._due_s, now_s) + self._interval_s

    def should_look(self) -> bool:
        return time.monotonic() >= self._look_due_s

    def looked(self) -> None:
        self._look_due_s = time.monotonic() + LOOK_EVERY_S


def _left(state: ReplayState) -> range:
    return range(state.next_seq, state.end_seq)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
