"""Recreates deleted durables where they stopped, so that no message is lost and few are delivered twice.

The bucket `control` keeps the ack floor of each durable. A recreated durable starts after it, or at the first message
if none is stored. A message that is delivered twice makes the same rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog
from nats.js.api import ConsumerConfig, DeliverPolicy, RetentionPolicy
from nats.js.errors import APIError, NotFoundError
from prometheus_client import Counter

from ops.provisioning.desired_state import stored_state
from ops.provisioning.streams import consumers
from ops.replay.control import AckFloor, open_control
from ops.runtime.ack_floor import acknowledged_up_to
from ops.runtime.stream_state import consumers_of

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js.api import ConsumerInfo, StreamInfo

log = structlog.get_logger()

MADE_AGAIN: Final = Counter("axonpush_durables_made_again", "durables that were gone and were made again", ["worker"])


def _worker(durable: str) -> str:
    return durable.rpartition("-v")[0]


for _config in (consumer for configs in consumers().values() for consumer in configs):
    # Exported as 0 from the start: otherwise the first increment is not seen as an increase.
    MADE_AGAIN.labels(_worker(str(_config.durable_name)))


class Durables:
    """Recreates missing durables. Two of these at once do no harm: each knows only ack floors that were true once, and
    a durable that exists already is left unchanged."""

    def __init__(self, client: Client) -> None:
        self._js = client.jetstream(timeout=5)
        self._saved: dict[str, AckFloor] | None = None
        self._refused: set[str] = set()

    async def keep(self) -> list[str]:
        """Recreates missing durables and stores the ack floors of the others. Returns the names of those recreated.

        A stream that is missing is left to `axonpush migrate`. Raises NatsError, Failed.
        """
        control = await open_control(self._js)
        if self._saved is None:
            self._saved = await control.ack_floors()
        restored: list[str] = []
        ack_floors: dict[str, AckFloor] = dict(self._saved)
        state = await stored_state(self._js)
        for stream, wanted in consumers(state.system_id if state else "").items():
            try:
                info = await self._js.stream_info(stream)  # before the consumers: later messages are not considered
                existing = {consumer.name: consumer for consumer in await consumers_of(self._js, stream)}
            except NotFoundError:
                continue
            for config in wanted:
                name = str(config.durable_name)
                if name in existing:
                    ack_floors[name] = _ack_floor(info, existing[name])
                elif await self._made(info, config, self._saved.get(name)):
                    restored.append(name)
        if ack_floors != self._saved:
            await control.save_ack_floors(ack_floors)
            self._saved = ack_floors
        return restored

    async def _made(self, stream: StreamInfo, config: ConsumerConfig, known: AckFloor | None) -> bool:
        """Whether the durable was created. A refusal of the server for one durable does not stop the others."""
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

    async def _make(self, stream: StreamInfo, config: ConsumerConfig, known: AckFloor | None) -> None:
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


def next_after(stream: StreamInfo, known: AckFloor | None) -> int:
    """The first message that the durable may not have acknowledged; 0 = start at the first message of the stream.

    An ack floor of an earlier stream with this name says nothing about this one. A work queue holds no acknowledged
    message, and the server accepts no other start there.
    """
    if stream.config.retention == RetentionPolicy.WORK_QUEUE:
        return 0
    if known is None or known.created != _created(stream) or known.seq > stream.state.last_seq:
        return 0
    return known.seq + 1


def beginning_at(config: ConsumerConfig, seq: int) -> ConsumerConfig:
    """The durable's configuration, starting at `seq`; 0 leaves it at the first message."""
    if not seq:
        return config
    return config.evolve(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=seq)


def _ack_floor(stream: StreamInfo, reader: ConsumerInfo) -> AckFloor:
    return AckFloor(created=_created(stream), seq=acknowledged_up_to(stream.state.last_seq, reader))


def _created(stream: StreamInfo) -> str:
    return stream.created.isoformat() if stream.created else ""
