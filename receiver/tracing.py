"""Spans of the receiver: the request, and the publish within it. Imported only if tracing is on; App and RequestSteps
do not use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.trace import Span, SpanKind

from ops.runtime import tracing
from ops.runtime.frames import NOTHING_SHARED, Block
from ops.runtime.tracing import Tracing
from receiver.app import App
from receiver.delivery.publish import BodyPublisher, PublishError, StoredBody
from receiver.http.answers import Answer
from receiver.http.request import Receive, Request
from receiver.steps import RequestSteps
from schemas import subjects

# Requests for health, readiness and metrics have no spans.
OWN_DIALECT: Final = "own"


class TracedApp(App):
    """App with a span around a sample of requests. Spans have neither path nor query, because both may hold keys."""

    def __init__(self, steps: RequestSteps, traces: Tracing) -> None:
        steps.delivery.publisher = TracedPublisher(steps.delivery.publisher, traces)
        super().__init__(steps)
        self._traces = traces

    async def _answer(self, request: Request) -> tuple[str, Answer]:
        if not self._traces.wants(request.headers):
            return await super()._answer(request)
        match = self._routes.find(request.path)
        if match is None or match[0].dialect.name == OWN_DIALECT or request.method not in match[0].methods:
            return await super()._answer(request)
        return await self._trace_request(request, match[0].pattern)

    async def _trace_request(self, request: Request, pattern: str) -> tuple[str, Answer]:
        attributes = {"http.request.method": request.method, "http.route": pattern}
        sender_context = tracing.read(request.headers.get("traceparent"))
        links = [sender_context] if sender_context else []
        with self._traces.span(f"{request.method} {pattern}", SpanKind.SERVER, attributes, links=links) as span:
            request.receive = received = _Received(request.receive)
            name, answer = await super()._answer(request)
            _set_result(span, received.size_bytes, answer.status)
        return name, answer


def _set_result(span: Span, size_bytes: int, status: int) -> None:
    span.set_attribute("http.request.body.size", size_bytes)
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        tracing.failed(span, str(status))


class _Received:
    """A request's `receive` that adds up the body's bytes on the wire."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.size_bytes = 0

    async def __call__(self) -> Mapping[str, Any]:
        message = await self._receive()
        self.size_bytes += len(message.get("body") or b"")
        return message


class TracedPublisher:
    """A Publisher with a span from publish to ack inside a traced request; the message gets its context."""

    def __init__(self, publisher: BodyPublisher, traces: Tracing) -> None:
        self._publisher = publisher
        self._traces = traces

    @property
    def connected(self) -> bool:
        return self._publisher.connected

    async def publish(
        self, subject: str, body: bytes, headers: dict[str, str], shared: Block = NOTHING_SHARED
    ) -> StoredBody:
        if not tracing.is_traced():
            return await self._publisher.publish(subject, body, headers, shared)
        attributes: dict[str, str | int] = {
            "messaging.system": "nats",
            "messaging.operation.name": "publish",
            "messaging.destination.name": subjects.RAW,
            "messaging.message.body.size": len(body),
            "axonpush.route": subjects.route_of(subject),
        }
        with self._traces.span(f"publish {subjects.RAW}", SpanKind.PRODUCER, attributes) as span:
            tracing.write(span, headers)
            try:
                stored = await self._publisher.publish(subject, body, headers, shared)
            except PublishError as error:
                span.set_attribute("axonpush.publish_error", error.reason)
                raise
            span.set_attribute("axonpush.raw_seq", stored.seq)
            span.set_attribute("axonpush.duplicate", stored.duplicate)
        return stored
