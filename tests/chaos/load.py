"""Senders from outside: they repeat the same bytes until somebody takes them, and remember what was acknowledged."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import aiohttp

from tests.chaos.bodies import KINDS, Kind, Parcel, poisons

ATTEMPT_TIMEOUT_S = 15.0
PAUSE_S = 0.1
ACCEPTED = 200


class Load:
    """Load on one channel over `urls`, from a thread of its own, until `stop`.

    `acknowledged` holds the marks of every record for which a 200 came; `uncertain` those whose last attempt got no
    answer, which may or may not be rows; `statuses` counts every answer, `latencies_s` has how long each 200 took.
    """

    def __init__(
        self,
        urls: list[str],
        channel: int,
        key: str,
        *,
        senders: int = 12,
        rate_s: float = 150.0,
        repeat: float = 0.0,
        with_poison: bool = False,
        kinds: Sequence[Kind] = KINDS,
    ) -> None:
        self._urls = urls
        self._channel = channel
        self._headers = {"x-axonpush-channel": str(channel), "x-api-key": key}
        self._sentry_auth = {"x-sentry-auth": f"Sentry sentry_version=7, sentry_client=chaos/1, sentry_key={key}"}
        self._senders = senders
        self._interval_s = senders / rate_s
        self._repeat = repeat
        self._with_poison = with_poison
        self._kinds = kinds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self.acknowledged: set[str] = set()
        self.uncertain: set[str] = set()
        self.refused: set[str] = set()
        self.statuses: Counter[int | str] = Counter()
        self.latencies_s: list[float] = []
        self.poisoned = 0

    def start(self) -> Load:
        self._thread.start()
        return self

    def stop(self) -> Load:
        """Returns when every sender has heard about its last body, or given it up."""
        self._stopped.set()
        self._thread.join()
        return self

    async def _run(self) -> None:
        numbers = itertools.count()
        timeout = aiohttp.ClientTimeout(total=ATTEMPT_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            await asyncio.gather(*(self._sender(session, numbers) for _ in range(self._senders)))

    async def _sender(self, session: aiohttp.ClientSession, numbers: Iterator[int]) -> None:
        while not self._stopped.is_set():
            began = time.monotonic()
            for item_message in self._next(next(numbers)):
                await self._deliver(session, item_message)
                if random.random() < self._repeat:
                    await self._deliver(session, item_message)
            await asyncio.sleep(max(0.0, self._interval_s - (time.monotonic() - began)))

    def _next(self, number: int) -> list[Parcel]:
        mark = f"chaos-{self._channel}-{number}"
        if self._with_poison and number % 50 == 0:
            found = poisons(self._channel, mark)
            self.poisoned += len(found)
            return found
        return [self._kinds[number % len(self._kinds)](self._channel, mark)]

    async def _deliver(self, session: aiohttp.ClientSession, item_message: Parcel) -> None:
        """Until a final answer: 200, or a 4xx that is not 429. At the end of the load it gives up on no answer."""
        for attempt in itertools.count():
            status = await self._post(session, item_message, self._urls[attempt % len(self._urls)])
            self.statuses[status] += 1
            if status == ACCEPTED:
                self.acknowledged.update(item_message.marks)
                self.uncertain.difference_update(item_message.marks)
                return
            if isinstance(status, int) and 400 <= status < 500 and status != 429:
                self.refused.update(item_message.marks)
                return
            self.uncertain.update(item_message.marks)
            if self._stopped.is_set() and attempt > 50:
                return
            await asyncio.sleep(PAUSE_S)

    async def _post(self, session: aiohttp.ClientSession, item_message: Parcel, url: str) -> int | str:
        own = self._headers if item_message.path.startswith("/v1/") else self._sentry_auth
        headers = {**own, "content-type": item_message.media_type}
        began_s = time.monotonic()
        try:
            async with session.post(url + item_message.path, data=item_message.body, headers=headers) as answer:
                await answer.read()
                if answer.status == ACCEPTED:
                    self.latencies_s.append(time.monotonic() - began_s)
                return answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return type(error).__name__
