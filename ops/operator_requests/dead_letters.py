"""Retries and drops dead letters of one organisation."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

import structlog

from ops.dead_letters.actions import DeadStream, Filter
from ops.dead_letters.dropping import drop
from ops.operator_requests.who_asks import NotAllowed, own_channels
from ops.replay.control import open_control
from ops.runtime.failures import Failed
from schemas.operator_requests.actions import (
    DROP_DEAD_LETTERS,
    MAX_DEAD_LETTERS,
    RETRY_DEAD_LETTERS,
    ChosenDeadLetters,
)
from schemas.operator_requests.messages import OperatorRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nats.aio.client import Client

    from ops.dead_letters.actions import DeadLetter
    from ops.registry.entries import RegistryEntries
    from ops.runtime.settings import Settings

ACTIONS: Final = frozenset({RETRY_DEAD_LETTERS, DROP_DEAD_LETTERS})
_UNAVAILABLE: Final = "dead letters: expected broker and ClickHouse to answer; `axonpush status` says what is wrong"

log = structlog.get_logger()


class DeadLetterActions:
    """One request of an organisation after the other: two that choose the same dead letters do not meet."""

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        # Whoever asked may not wait any more: half of it would count dead letters as dropped that are still there.
        self._begun: set[asyncio.Task[dict[str, Any]]] = set()

    async def do(self, request: OperatorRequest, entries: RegistryEntries) -> dict[str, Any]:
        """What was done, in numbers. Raises NotAllowed, Failed, NatsError, ValidationError."""
        chosen = ChosenDeadLetters.model_validate(request.given)
        channels = await own_channels(entries, request.organisation, chosen.channels)
        wanted = _filter(chosen, request.organisation, channels)
        try:
            turn = self._turns[request.organisation]
            await turn.acquire()
            work = asyncio.create_task(self._decide(request.action, wanted))
            self._begun.add(work)
            work.add_done_callback(lambda _work: self._end(work, turn))
            return await asyncio.shield(work)
        except Failed as error:  # its text names servers, which is not for every organisation
            log.warning("dead_letters_not_decided", action=request.action, error=str(error))
            raise NotAllowed(503, _UNAVAILABLE) from error

    async def finish(self) -> None:
        """Waits for what has begun."""
        await asyncio.gather(*self._begun, return_exceptions=True)

    def _end(self, work: asyncio.Task[dict[str, Any]], turn: asyncio.Lock) -> None:
        self._begun.discard(work)
        turn.release()
        if not work.cancelled() and (error := work.exception()) is not None:
            log.warning("dead_letters_not_decided", error=type(error).__name__)

    async def _decide(self, action: str, wanted: Filter) -> dict[str, Any]:
        stream = DeadStream(self._client, await open_control(self._client.jetstream(timeout=10)))
        await stream.check_tables(self._settings, needs_clickhouse=False)
        dead_letters = await stream.find(wanted)
        now = dead_letters[:MAX_DEAD_LETTERS]
        counts = {"left": len(dead_letters) - len(now), "gone": _not_there(wanted.seqs, dead_letters)}
        work = self._retry if action == RETRY_DEAD_LETTERS else self._drop
        return (await work(stream, now) if now else {}) | counts

    async def _retry(self, stream: DeadStream, dead_letters: Sequence[DeadLetter]) -> dict[str, Any]:
        generation, impossible = await stream.retry(dead_letters)
        numbers = [dead_letter.seq for dead_letter in impossible]
        return {"retried": len(dead_letters) - len(numbers), "impossible": numbers, "generation": generation}

    async def _drop(self, stream: DeadStream, dead_letters: Sequence[DeadLetter]) -> dict[str, Any]:
        await drop(stream, self._settings, dead_letters)
        return {"dropped": len(dead_letters)}


def _filter(chosen: ChosenDeadLetters, organisation: str, channels: tuple[int, ...]) -> Filter:
    return Filter(
        seqs=chosen.numbers,
        reasons=chosen.reasons,
        stages=chosen.stages,
        types=chosen.item_types,
        channels=channels,
        since=chosen.since,
        until=chosen.before,
        organisations=(organisation,),
    )


def _not_there(numbers: Sequence[int], dead_letters: Sequence[DeadLetter]) -> int:
    there = {seq for dead_letter in dead_letters for seq in dead_letter.seqs}
    return sum(number not in there for number in numbers)
