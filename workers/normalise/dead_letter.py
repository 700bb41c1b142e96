"""A message of DEAD as a row of dead_letter_rows. Pure, and it never refuses: what is in DEAD must be seen by SQL."""

from __future__ import annotations

import re
from typing import Final

from schemas import headers, subjects
from schemas.headers import Origin
from schemas.key_masking import mask_keys
from schemas.rows import Row, row_id
from workers.consume.message import Message, channel_id
from workers.normalise.verdict import Verdict

COLUMNS: Final = (
    "organisation", "channel_id", "key_id", "dead_id", "stage", "item_type", "reason", "error", "received_at",
    "origin_stream", "origin_seq", "dead_seq", "deliveries", "headers", "body", "version",
    "item_index", "generation",
)  # fmt: skip

_MAX_NS: Final = 2**63 - 1
_MAX_INDEX: Final = 2**32 - 1
# A broken envelope may carry its DSN. The stream keeps the bytes as they came; a table that people query must not.
_KEY: Final = re.compile(rb"\b(ak|pt)_\w{16,125}", re.ASCII)


def origin_of(message: Message) -> Origin:
    """The Origin its headers tell; where they do not, the subject's channel and the time the broker stored it."""
    try:
        return headers.read(message.headers, message.seq)
    except headers.UnreadableHeaders:
        return lenient_origin(message)


def lenient_origin(message: Message) -> Origin:
    """As much of an Origin as there is, for a message whose headers are not ours."""
    get = message.headers.get
    return Origin(
        organisation=get(headers.ORGANISATION, ""),
        channel_id=channel_id(message),
        key_id=get(headers.KEY_ID, ""),
        environment="",
        environment_from_event=False,
        received_at_ns=message.stored_at_ns,
        origin_id=get(headers.ORIGIN_ID) or get(headers.MESSAGE_ID) or f"{message.stream}:{message.seq}",
        origin_seq=_number(get(headers.ORIGIN_SEQ, "")) or message.seq,
        item_index=min(_number(get(headers.ITEM_INDEX, "")), _MAX_INDEX),
        replay_generation=min(_number(get(headers.REPLAY_GENERATION, "")), headers.MAX_GENERATION),
    )


def normalise(origin: Origin, message: Message) -> Verdict:
    """One row, whatever the message is. `dead_id` is the message's and the stage's: dying twice there is one row."""
    return Verdict(rows=[_row(origin, message)], accepted=1)


def _row(origin: Origin, message: Message) -> Row:
    get = message.headers.get
    _, stage, item_type, *_ = (*message.subject.split("."), "", "")
    return (
        origin.organisation,
        origin.channel_id,
        origin.key_id,
        row_id(origin.origin_id, origin.item_index, get(headers.DEAD_STAGE, stage)),
        get(headers.DEAD_STAGE, stage),
        item_type,
        get(headers.DEAD_REASON, "unknown"),
        get(headers.DEAD_ERROR, ""),
        origin.received_at_ns if 0 <= origin.received_at_ns <= _MAX_NS else message.stored_at_ns,
        get(headers.ORIGIN_STREAM, subjects.DEAD),
        origin.origin_seq,
        message.seq,
        _number(get(headers.DELIVERIES, "")),
        dict(message.headers),
        _KEY.sub(rb"\1_[key]", mask_keys(message.body)),
        message.seq,
        origin.item_index,
        origin.replay_generation,
    )


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
