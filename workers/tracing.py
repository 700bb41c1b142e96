"""Spans of the workers: unpacking, normalising, inserting. Imported only if tracing is on; Pipeline and Batcher do not
use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from opentelemetry.trace import Span, SpanContext, SpanKind

from ops.runtime import tracing
from ops.runtime.tracing import Tracing
from schemas import headers, subjects
from schemas.headers import Origin
from workers.consume.message import Entry, Message
from workers.consume.pipeline import Handler
from workers.settings import WorkerSettings
from workers.store.batcher import Batcher, BatchLimits, Outlets

SERVICE: Final = "axonpush-worker"
_NORMALISE: Final = "normalise"


_BatcherArguments = tuple[str, str, Sequence[str], Outlets, BatchLimits]


@dataclass(frozen=True, slots=True)
class Spans:
    """Wraps worker components so that they record tracing spans."""

    traces: Tracing

    @classmethod
    def open(cls, settings: WorkerSettings) -> Spans:
        """The spans of this process, sent to the address in its settings."""
        return cls(Tracing(settings, SERVICE))

    def handler(self, worker: str, handler: Handler) -> Handler:
        """The same handler, with spans."""
        return TracedHandler(worker, handler, self.traces)

    def batcher(self, *arguments: *_BatcherArguments) -> Batcher:
        """A Batcher of the same arguments, with spans."""
        return TracedBatcher(self.traces, *arguments)

    def close(self) -> None:
        """Sends the waiting spans; blocks for ops.runtime.tracing.CLOSE_S at most."""
        self.traces.close()


class TracedHandler:
    """A handler with a span around each message whose request is traced.

    What it publishes carries the span's context.
    """

    def __init__(self, worker: str, handler: Handler, traces: Tracing) -> None:
        self._worker = worker
        self._name = worker if worker == subjects.UNPACK else f"{_NORMALISE} {worker}"
        self._handler = handler
        self._traces = traces

    async def __call__(self, message: Message, origin: Origin) -> Entry:
        parent = tracing.read(message.headers.get(headers.TRACE_PARENT))
        if parent is None:
            return await self._handler(message, origin)
        with self._traces.span(self._name, SpanKind.CONSUMER, self._attributes(message, origin), parent=parent) as span:
            original_headers, headers_with_span = message.headers, dict(message.headers)
            tracing.write(span, headers_with_span)
            message.headers = headers_with_span
            try:
                entry = await self._handler(message, origin)
            finally:
                message.headers = original_headers  # a dead letter keeps the headers it came with
            _set_result(span, entry)
        entry.trace = span.get_span_context()
        return entry

    def _attributes(self, message: Message, origin: Origin) -> dict[str, str | int]:
        return {
            "messaging.system": "nats",
            "messaging.operation.name": self._name.partition(" ")[0],
            "messaging.destination.name": message.stream,
            "messaging.message.body.size": len(message.body),
            "axonpush.worker": self._worker,
            "axonpush.channel_id": str(origin.channel_id),
            "axonpush.raw_seq": origin.origin_seq,
            "axonpush.deliveries": message.deliveries,
        }


def _set_result(span: Span, entry: Entry) -> None:
    span.set_attribute("axonpush.rows", len(entry.rows))
    span.set_attribute("axonpush.items", entry.passed_on)
    span.set_attribute("axonpush.outcomes", len(entry.outcomes))
    if entry.dead is not None:
        tracing.failed(span, entry.dead.reason)


class TracedBatcher(Batcher):
    """A Batcher with one span around the insert of a batch that has a traced message.

    The span is in the trace of the first such message and links to all of them.
    """

    def __init__(self, traces: Tracing, *arguments: *_BatcherArguments) -> None:
        super().__init__(*arguments)
        self._traces = traces

    async def _insert_rows(self, entries: list[Entry], *, retries_our_fault: bool = True) -> None:
        traced = [entry.trace for entry in entries if entry.trace is not None and entry.rows]
        if not traced:
            await super()._insert_rows(entries, retries_our_fault=retries_our_fault)
            return
        attributes = self._attributes(entries, traced)
        with self._traces.span(
            f"INSERT {self._table}", SpanKind.CLIENT, attributes, parent=traced[0], links=traced
        ) as span:
            await super()._insert_rows(entries, retries_our_fault=retries_our_fault)
            span.set_attribute("axonpush.dead", sum(entry.dead is not None for entry in entries))

    def _attributes(self, entries: list[Entry], traced: list[SpanContext]) -> dict[str, str | int]:
        return {
            "db.system.name": "clickhouse",
            "db.operation.name": "INSERT",
            "db.collection.name": self._table,
            "db.operation.batch.size": sum(len(entry.rows) for entry in entries),
            "axonpush.worker": self._worker,
            "axonpush.messages": len(entries),
            "axonpush.traced_messages": len(traced),
        }
