"""How far a reader of a stream has settled its messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nats.js.api import ConsumerInfo


def floor(last_seq: int, reader: ConsumerInfo) -> int:
    """Up to which sequence `reader` has settled everything; `last_seq` must have been read before it.

    The floor of a filtered reader stands still while nothing comes that it wants. One that has nothing to come and
    nothing in hand has settled all there was.
    """
    if not reader.num_pending and not reader.num_ack_pending:
        return last_seq
    return min(last_seq, reader.ack_floor.stream_seq if reader.ack_floor else 0)
