"""Up to which message a consumer has acknowledged its stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nats.js.api import ConsumerInfo


def acknowledged_up_to(last_seq: int, consumer: ConsumerInfo) -> int:
    """The sequence up to which `consumer` has acknowledged everything. Read `last_seq` before `consumer`.

    The broker's ack floor of a filtered consumer does not move while no message matches its filter. A consumer with
    no pending and no unacknowledged message has acknowledged the whole stream, whatever its ack floor says.
    """
    if not consumer.num_pending and not consumer.num_ack_pending:
        return last_seq
    return min(last_seq, consumer.ack_floor.stream_seq if consumer.ack_floor else 0)
