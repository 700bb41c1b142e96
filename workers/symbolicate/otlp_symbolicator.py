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
from schemas.otlp.http_bodies import media_type
from workers import metrics
from workers.symbolicate import words
from workers.symbolicate.event_traces import EventTraces
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

# A larger JSON body stays as it came: orjson reads it in one call, which holds the event loop.
MAX_JSON_BYTES: Final = 512 * 1024

# By service and text: the text, its lines, its frames.
_Found = dict[tuple[Service, str], tuple[str, StackText, EventTraces]]
_New = dict[tuple[Service, str], NewTrace | None]

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
        body = _inflated(message)
        if encoding == "json" and len(body) > MAX_JSON_BYTES:
            return message
        rewrite = partial(replace_stacktraces, body, encoding, self._is_logs)
        traces = await asyncio.to_thread(self._found, rewrite, origin.organisation)
        new = await self._resolved(message, origin, traces)
        if not any(new.values()):
            return message
        changed = await asyncio.to_thread(rewrite, lambda service, text: new.get((service, text)))
        message.inflated = None
        return replace(message, inflated=changed)

    async def _resolved(self, message: Message, origin: Origin, traces: _Found) -> _New:
        try:
            return {key: await self._new_trace(origin, *traces[key]) for key in traces}
        except (nats.errors.Error, OSError, TimeoutError) as error:
            if message.deliveries < LAST_TRY:
                raise nats.errors.TimeoutError from error
            return _unresolved(traces, words.SOURCE_MAP_UNREACHABLE)
        except Exception:
            # A fault of ours must not cost the records.
            log.exception("symbolication_failed", channel=origin.channel_id, seq=message.seq)
            return _unresolved(traces, words.FAILED)

    def _found(self, rewrite: partial[bytes], organisation: str) -> _Found:
        """Each stack trace that has frames and whose release has artifacts."""
        traces: _Found = {}
        looked_at: set[tuple[Service, str]] = set()

        def note(service: Service, text: str) -> None:
            key = service, text
            if key in looked_at or len(looked_at) == MAX_TEXTS:
                return
            if release := self._release(organisation, service):
                looked_at.add(key)
                stack = StackText(text)
                event = stack.traces(release)
                if event.traces:
                    traces[key] = text, stack, event

        rewrite(note)
        return traces

    def _release(self, organisation: str, service: Service) -> str:
        """The release of a service that has artifacts; '' if none has."""
        names = (service.version, f"{service.name}@{service.version}") if service.version else ()
        return next((name for name in names if self._known.has_release(organisation, name)), "")

    async def _new_trace(self, origin: Origin, sent: str, stack: StackText, event: EventTraces) -> NewTrace | None:
        progress = Progress()
        await self._frames.resolve_javascript(origin, event, progress)
        if not progress.has_resolved and not progress.repairs:
            return None
        metrics.SYMBOLICATED.labels(progress.state).inc()
        text = sent if progress.state == NONE else stack.with_frames(event)
        return NewTrace(text, progress.state, tuple(progress.repairs))


def _unresolved(traces: _Found, word: str) -> _New:
    return {key: NewTrace(text, NONE, (word,)) for key, (text, _, _) in traces.items()}


def _inflated(message: Message) -> bytes:
    return message.body if message.inflated is None else message.inflated
