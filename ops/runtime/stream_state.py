"""Asks the broker about streams: first message, contents, consumers. Changes nothing."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy
from nats.js.errors import APIError, NotFoundError

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js import JetStreamContext

    from schemas.subjects import Source

REQUEST_TIMEOUT_S: Final = 5.0
# The broker deletes an unused consumer after this time.
READER_INACTIVE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class StreamState:
    """What a stream holds now. `last_seq` counts every message ever stored; `first_at` is None if it is empty.

    `last_at` is when the last one was stored, also if it was deleted since.
    """

    name: str
    messages: int
    size_bytes: int
    max_bytes: int
    first_seq: int
    last_seq: int
    first_at: dt.datetime | None
    by_subject: dict[str, int]
    last_at: dt.datetime | None = None

    @property
    def fill(self) -> float:
        """The used fraction of the stream's byte limit, 0 to 1; 0 without a limit."""
        return self.size_bytes / self.max_bytes if self.max_bytes > 0 else 0.0


async def stream_state(client: Client, name: str, *, by_subject: bool = False) -> StreamState:
    """The state of a stream, optionally with message counts by subject. Raises NotFoundError, NatsError."""
    subjects: dict[str, int] = {}
    while True:
        options = {"subjects_filter": ">", "offset": len(subjects)} if by_subject else {}
        reply = await client.request(
            f"$JS.API.STREAM.INFO.{name}", json.dumps(options).encode(), timeout=REQUEST_TIMEOUT_S
        )
        answer = json.loads(reply.data)
        if "error" in answer:
            APIError.from_error(answer["error"])
        state = answer["state"]
        counts_by_subject = state.get("subjects") or {}
        subjects |= counts_by_subject
        if not counts_by_subject or len(subjects) >= state.get("num_subjects", 0):
            break
    return StreamState(
        name=name,
        messages=state["messages"],
        size_bytes=state["bytes"],
        max_bytes=answer["config"]["max_bytes"],
        first_seq=state["first_seq"],
        last_seq=state["last_seq"],
        first_at=as_time(state["first_ts"]) if state["messages"] else None,
        by_subject=subjects,
        last_at=as_time(state["last_ts"]) if state["last_seq"] else None,
    )


async def consumers_of(js: JetStreamContext, stream: str) -> list[ConsumerInfo]:
    """Every consumer of a stream. Raises NotFoundError, NatsError."""
    consumers: list[ConsumerInfo] = []
    while page := await js.consumers_info(stream, offset=len(consumers)):
        consumers += page
    return consumers


async def open_reader(
    js: JetStreamContext,
    stream: str,
    start: dt.datetime | int,
    *,
    headers_only: bool,
    subjects: Sequence[str] = (),
) -> ConsumerInfo:
    """Creates a short-lived consumer that acknowledges nothing, from a time or a sequence on. Raises NatsError.

    Its `num_pending` is the number of messages it will deliver on `subjects` (all subjects if empty).
    """
    if isinstance(start, int):
        where = ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=max(1, start))
    else:
        where = ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_TIME, opt_start_time=start)
    return await js.add_consumer(
        stream,
        where.evolve(
            ack_policy=AckPolicy.NONE,
            headers_only=headers_only,
            filter_subjects=list(subjects) or None,
            mem_storage=True,
            num_replicas=1,
            inactive_threshold=READER_INACTIVE_S,
        ),
    )


async def first_seq_since(js: JetStreamContext, stream: str, time: dt.datetime) -> int:
    """The sequence of the first message stored at or after `time`, or the next sequence if there is none.

    Creating a consumer with that start time makes the broker search; nothing is delivered.
    """
    reader = await open_reader(js, stream, time, headers_only=True)
    try:
        return (reader.delivered.stream_seq if reader.delivered else 0) + 1
    finally:
        await js.delete_consumer(stream, reader.name)


async def stored_at(js: JetStreamContext, stream: str, seq: int, subject: str) -> dt.datetime | None:
    """When the first message at or after `seq` on `subject` was stored; None if there is none. Raises NatsError."""
    try:
        message = await js.get_msg(stream, seq=max(1, seq), subject=subject, direct=True, next=True)
    except NotFoundError:
        return None
    return message.time


async def unacknowledged_since(js: JetStreamContext, source: Source, info: ConsumerInfo) -> dt.datetime | None:
    """When the oldest message that `source`'s worker has not acknowledged was stored; None if there is none.

    Raises NatsError.
    """
    if not info.num_pending and not info.num_ack_pending:
        return None
    settled = info.ack_floor.stream_seq if info.ack_floor else 0
    return await stored_at(js, source.stream, settled + 1, source.subject)


def as_time(text: str) -> dt.datetime:
    """Parses a time of the broker, cut to microseconds."""
    head, _, fraction = text.removesuffix("Z").partition(".")
    return dt.datetime.fromisoformat(f"{head}.{fraction[:6].ljust(6, '0')}+00:00")
