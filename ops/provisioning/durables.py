"""Durables that somebody deleted are made again where they stopped, so that no message is lost and few come twice.

How far each durable has settled its messages is kept in the bucket `control`. A durable that is made again begins
behind that, or at the first message where nothing is known: what is delivered once more makes the same rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog
from nats.js.api import ConsumerConfig, DeliverPolicy, RetentionPolicy
from nats.js.errors import APIError, NotFoundError
from prometheus_client import Counter

from ops.provisioning.streams import consumers
from ops.replay.control import Floor, open_control
from ops.runtime.settled import floor
from ops.runtime.stream_state import consumers_of

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js.api import ConsumerInfo, StreamInfo

log = structlog.get_logger()

MADE_AGAIN: Final = Counter("axonpush_durables_made_again", "durables that were gone and were made again", ["worker"])


def _worker(durable: str) -> str:
    return durable.rpartition("-v")[0]


for _config in (one for configs in consumers().values() for one in configs):
    # Served from the first moment on, or the first one would be no increase.
    MADE_AGAIN.labels(_worker(str(_config.durable_name)))


class Durables:
    """Looks after every durable there should be. Two of these at once do no harm: each only ever knows a floor that
    was true, and a durable that exists already is left as it is."""

    def __init__(self, client: Client) -> None:
        self._js = client.jetstream(timeout=5)
        self._saved: dict[str, Floor] | None = None
        self._refused: set[str] = set()

    async def keep(self) -> list[str]:
        """One look: makes again what is missing and notes how far the others are. The names of those made.

        A stream that is missing is left to `axonpush migrate`. Raises NatsError, Failed.
        """
        control = await open_control(self._js)
        if self._saved is None:
            self._saved = await control.floors()
        made: list[str] = []
        floors: dict[str, Floor] = dict(self._saved)
        for stream, wanted in consumers().items():
            try:
                info = await self._js.stream_info(stream)  # before the readers: what comes after it is not judged
                found = {one.name: one for one in await consumers_of(self._js, stream)}
            except NotFoundError:
                continue
            for config in wanted:
                name = str(config.durable_name)
                if name in found:
                    floors[name] = _floor(info, found[name])
                elif await self._made(info, config, self._saved.get(name)):
                    made.append(name)
        if floors != self._saved:
            await control.save_floors(floors)
            self._saved = floors
        return made

    async def _made(self, stream: StreamInfo, config: ConsumerConfig, known: Floor | None) -> bool:
        """Whether the durable could be made. What the server refuses for one does not hold up the others."""
        name = str(config.durable_name)
        try:
            await self._make(stream, config, known)
        except APIError as error:
            if name not in self._refused:
                log.error("durable_not_made", stream=stream.config.name, durable=name, error=str(error))
            self._refused.add(name)
            return False
        self._refused.discard(name)
        return True

    async def _make(self, stream: StreamInfo, config: ConsumerConfig, known: Floor | None) -> None:
        start = next_after(stream, known)
        await self._js.add_consumer(str(stream.config.name), beginning_at(config, start))
        name = str(config.durable_name)
        MADE_AGAIN.labels(_worker(name)).inc()
        log.error(
            "durable_made_again",
            stream=stream.config.name,
            durable=name,
            from_seq=start or stream.state.first_seq,
            cause="somebody deleted it; its messages were kept and are delivered now",
        )


def next_after(stream: StreamInfo, known: Floor | None) -> int:
    """The first message that the durable may not have settled; 0 = begin with what is there.

    A floor of another stream of this name says nothing about this one. A work queue holds nothing that was settled, and
    the server refuses any other beginning there.
    """
    if stream.config.retention == RetentionPolicy.WORK_QUEUE:
        return 0
    if known is None or known.created != _created(stream) or known.seq > stream.state.last_seq:
        return 0
    return known.seq + 1


def beginning_at(config: ConsumerConfig, seq: int) -> ConsumerConfig:
    """The durable's configuration with another beginning; 0 leaves it at the first message."""
    if not seq:
        return config
    return config.evolve(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=seq)


def _floor(stream: StreamInfo, reader: ConsumerInfo) -> Floor:
    return Floor(created=_created(stream), seq=floor(stream.state.last_seq, reader))


def _created(stream: StreamInfo) -> str:
    return stream.created.isoformat() if stream.created else ""
