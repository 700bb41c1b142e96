"""Gives an event the frames of its source, where artifacts for it were uploaded; the frames as sent stay beside them.

Normalising stays pure: it gets an event whose frames are resolved. What could not be resolved is named in the item's
header, from where it comes into the row's `repairs`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import nats.errors
import structlog

from schemas import headers
from schemas.envelope import body as envelope
from schemas.tolerant_json import dumps_text, loads_with_text
from workers import metrics
from workers.normalise.envelope_item import PAYLOAD_REWRITTEN, SYMBOLICATED
from workers.normalise.scalars import as_list
from workers.symbolicate import words
from workers.symbolicate.event_traces import named_debug_ids, named_releases, read_stack_traces
from workers.symbolicate.frame_resolver import NONE, Progress

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.headers import Origin
    from workers.consume.message import Message
    from workers.symbolicate.frame_resolver import FrameResolver
    from workers.symbolicate.known import KnownArtifacts

# A message delivered this often is stored as it came if the object store still does not answer.
LAST_TRY: Final = 3

log = structlog.get_logger()


class EventSymbolicator:
    """Resolves frames of the events of one process."""

    def __init__(self, known: KnownArtifacts, frames: FrameResolver) -> None:
        self._known = known
        self._frames = frames

    def concerns(self, message: Message) -> bool:
        """True if the event names an uploaded debug id or release.

        Only searches the raw bytes; returns at once if the organisation has no artifacts.
        """
        known, organisation = self._known, message.headers.get(headers.ORGANISATION, "")
        if not known.has_organisation(organisation):
            return False
        return any(known.by_debug_id(organisation, debug_id) for debug_id in named_debug_ids(message.body)) or any(
            known.has_release(organisation, release) for release in named_releases(message.body)
        )

    async def resolve(self, message: Message, origin: Origin) -> Message:
        """The message with resolved frames; the same message if there are none. Raises nats.errors.Error."""
        if not self.concerns(message):
            return message
        try:
            return await self._resolved(message, origin)
        except (nats.errors.Error, OSError, TimeoutError) as error:
            if message.deliveries < LAST_TRY:
                raise nats.errors.TimeoutError from error
            return _with_repair(message, words.SOURCE_MAP_UNREACHABLE)
        except Exception:
            # A fault of ours must not cost the event.
            log.exception("symbolication_failed", channel=origin.channel_id, seq=message.seq)
            return _with_repair(message, words.FAILED)

    async def _resolved(self, message: Message, origin: Origin) -> Message:
        opened = _open(message.body)
        if opened is None:
            return message
        header, item, payload, rewritten = opened
        event, progress = read_stack_traces(payload), Progress()
        await self._frames.resolve_javascript(origin, event, progress)
        await self._frames.resolve_java(origin, event, payload, progress)
        if not progress.has_resolved and not progress.repairs:
            return message
        metrics.SYMBOLICATED.labels(progress.state).inc()
        if not progress.has_resolved:
            return replace(message, body=_write_envelope(header, item, item.payload, progress.state, progress.repairs))
        # The normaliser gets strict JSON from here on, and cannot see any more that what was sent was none.
        repairs = [*progress.repairs, PAYLOAD_REWRITTEN] if rewritten else progress.repairs
        resolved = dumps_text(payload).encode()
        return replace(message, body=_write_envelope(header, item, resolved, progress.state, repairs))


def _open(body: bytes) -> tuple[envelope.EnvelopeHeader, envelope.Item, dict[str, Any], bool] | None:
    """The event in the envelope; None where normalising will refuse it."""
    try:
        header, items = envelope.read(body)
        payload, _, rewritten = loads_with_text(items[0].payload) if len(items) == 1 else (None, "", False)
    except (envelope.EnvelopeError, ValueError):
        return None
    return (header, items[0], payload, rewritten) if payload.__class__ is dict else None


def _with_repair(message: Message, word: str) -> Message:
    """The message as it came, with a word for its repairs."""
    opened = _open(message.body)
    if opened is None:
        return message
    header, item, *_ = opened
    return replace(message, body=_write_envelope(header, item, item.payload, NONE, [word]))


def _write_envelope(
    header: envelope.EnvelopeHeader,
    item: envelope.Item,
    payload: bytes | memoryview,
    state: str,
    repairs: Iterable[str],
) -> bytes:
    item_header = {**item.header, "repairs": [*as_list(item.header.get("repairs")), *repairs], SYMBOLICATED: state}
    return envelope.write_single(header.raw, item_header, payload)
