"""What `axonpush dead …` prints of dead letters: columns, headers, the start of a body."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ops.cli.terminal import printable

if TYPE_CHECKING:
    from ops.dead_letters.actions import DeadLetter
    from ops.runtime.stream_reader import StoredMessage

# Shown of a body by default; --raw writes all of it.
PREVIEW_CHARACTERS = 2_000
MAX_ERROR_WIDTH = 120
_KEY = re.compile(r"\b(ak|pt)_\w{16,125}", re.ASCII)


def dead_letter_json(dead_letter: DeadLetter) -> dict[str, Any]:
    """A dead letter as `--json` prints it."""
    return {
        "number": dead_letter.seq,
        "received_at": dead_letter.received_at.isoformat(),
        "organisation": dead_letter.organisation,
        "channel": dead_letter.channel,
        "stage": dead_letter.stage,
        "type": dead_letter.item_type,
        "reason": dead_letter.reason,
        "error": dead_letter.error,
        "origin_subject": dead_letter.origin_subject,
        "origin_seq": dead_letter.message[2],
        "item_index": dead_letter.message[3],
        "deliveries": dead_letter.deliveries,
        "bytes": dead_letter.size_bytes,
    }


def _received(dead_letter: DeadLetter) -> str:
    return dead_letter.received_at.isoformat(sep=" ", timespec="seconds").removesuffix("+00:00")


def _error(dead_letter: DeadLetter) -> str:
    text = dead_letter.error
    return printable(text if len(text) <= MAX_ERROR_WIDTH else f"{text[:MAX_ERROR_WIDTH]}…")


COLUMNS: dict[str, Callable[[DeadLetter], object]] = {
    "number": lambda dead_letter: dead_letter.seq,
    "received": _received,
    "channel": lambda dead_letter: dead_letter.channel,
    "stage": lambda dead_letter: dead_letter.stage,
    "type": lambda dead_letter: dead_letter.item_type,
    "reason": lambda dead_letter: dead_letter.reason,
    "bytes": lambda dead_letter: dead_letter.size_bytes,
    "error": _error,
}


def readable(name: str, value: str) -> str:
    """A header for people: a time in nanoseconds also as a date."""
    from schemas import headers  # noqa: PLC0415

    if name != headers.RECEIVED_AT or not value.isdigit():
        return printable(value)
    seconds, nanoseconds = divmod(int(value), 1_000_000_000)
    try:
        received = dt.datetime.fromtimestamp(seconds, dt.UTC)
    except (OverflowError, ValueError, OSError):
        return value
    return f"{received:%Y-%m-%d %H:%M:%S}.{nanoseconds // 1_000_000:03} UTC"


def preview(stored: StoredMessage) -> str:
    """The start of the body as text, decompressed if possible, with keys masked."""
    from schemas import headers  # noqa: PLC0415
    from schemas.encodings import CorruptBody, TooLarge, UnsupportedEncoding, inflate  # noqa: PLC0415

    body, note = stored.body, ""
    encoding = stored.headers.get(headers.CONTENT_ENCODING, "")
    try:
        body = inflate(body, encoding, 64_000_000)
    except (CorruptBody, TooLarge, UnsupportedEncoding) as error:
        note = f" (not decompressed: {error})"
    text = printable(_KEY.sub(r"\1_[key]", body[: 2 * PREVIEW_CHARACTERS].decode("utf-8", "replace")))
    more = "…" if len(text) > PREVIEW_CHARACTERS or len(body) > 2 * PREVIEW_CHARACTERS else ""
    return f"{len(stored.body)} bytes{note}:\n{text[:PREVIEW_CHARACTERS]}{more}"
