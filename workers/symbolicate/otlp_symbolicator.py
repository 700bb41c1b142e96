"""Gives stack traces in OTLP spans and log records the frames of their source, by release and address.

The release is the resource's `service.version`, else `service.name@service.version`. OpenTelemetry names no dist and no
debug ids. Only JavaScript: a stack trace of Java does not say which mapping it needs.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

import nats.errors
import structlog

from schemas import headers
from schemas.otlp.http_bodies import Encoding, media_type
from workers import metrics
from workers.symbolicate.frame_resolver import NONE, FrameResolver, Progress
from workers.symbolicate.otlp_bodies import NewTrace, Service, has_stacktrace, replace_stacktraces
from workers.symbolicate.stack_texts import StackText

if TYPE_CHECKING:
    from schemas.headers import Origin
    from workers.consume.message import Message
    from workers.symbolicate.known import KnownArtifacts

# A message delivered this often is stored as it came if the object store still does not answer.
LAST_TRY: Final = 3
# Different stack traces of one body that are resolved; the others stay as they are.
MAX_TEXTS: Final = 64

_Texts = dict[tuple[Service, str], NewTrace]

log = structlog.get_logger()


class OtlpSymbolicator:
    """Resolves stack traces of the spans or log records of one process."""

    def __init__(self, known: KnownArtifacts, frames: FrameResolver, *, is_logs: bool) -> None:
        self._known = known
        self._frames = frames
        self._is_logs = is_logs

    def concerns(self, message: Message) -> bool:
        """True if the organisation has artifacts and the inflated body names a stack trace."""
        if not self._known.has_organisation(message.headers.get(headers.ORGANISATION, "")):
            return False
        return has_stacktrace(_inflated(message))

    async def resolve(self, message: Message, origin: Origin) -> Message:
        """The message with resolved stack traces; the same message if there are none. Raises nats.errors.Error."""
        encoding = media_type(origin.content_type)
        if encoding is None or not self.concerns(message):
            return message
        try:
            return await self._resolved(message, origin, encoding)
        except (nats.errors.Error, OSError, TimeoutError) as error:
            if message.deliveries < LAST_TRY:
                raise nats.errors.TimeoutError from error
            return message
        except Exception:
            # A fault of ours must not cost the records.
            log.exception("symbolication_failed", channel=origin.channel_id, seq=message.seq)
            return message

    async def _resolved(self, message: Message, origin: Origin, encoding: Encoding) -> Message:
        body = _inflated(message)
        rewrite = partial(replace_stacktraces, body, encoding, self._is_logs)
        sent = await asyncio.to_thread(self._texts, rewrite, origin.organisation)
        resolved: _Texts = {}
        for (service, text), release in sent.items():
            if new := await self._new_trace(origin, release, text):
                resolved[service, text] = new
        if not resolved:
            return message
        changed = await asyncio.to_thread(rewrite, lambda service, text: resolved.get((service, text)))
        message.inflated = None
        return replace(message, inflated=changed)

    def _texts(self, rewrite: partial[bytes], organisation: str) -> dict[tuple[Service, str], str]:
        """The release of each stack trace whose release has artifacts."""
        found: dict[tuple[Service, str], str] = {}

        def note(service: Service, text: str) -> None:
            if len(found) < MAX_TEXTS and (release := self._release(organisation, service)):
                found[service, text] = release

        rewrite(note)
        return found

    def _release(self, organisation: str, service: Service) -> str:
        """The release of a service that has artifacts; '' if none has."""
        names = (service.version, f"{service.name}@{service.version}") if service.version else ()
        return next((name for name in names if self._known.has_release(organisation, name)), "")

    async def _new_trace(self, origin: Origin, release: str, sent: str) -> NewTrace | None:
        stack, progress = StackText(sent), Progress()
        event = stack.traces(release)
        if not event.traces:
            return None
        await self._frames.resolve_javascript(origin, event, progress)
        if not progress.has_resolved and not progress.repairs:
            return None
        metrics.SYMBOLICATED.labels(progress.state).inc()
        text = sent if progress.state == NONE else stack.with_frames(event)
        return NewTrace(text, progress.state, tuple(progress.repairs))


def _inflated(message: Message) -> bytes:
    return message.body if message.inflated is None else message.inflated
