"""The way of every body through the receiver: read, publish, wait for the ack, then for the counts. No dialect here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from ops.runtime.frames import Block
from receiver import auth, metrics
from receiver import body as bodies
from receiver.answers import Refused
from receiver.auth import Grant
from receiver.body import Body, Budget, Limits
from receiver.counts import Inbox, Tally, Ticket
from receiver.idempotency import FirstAnswers
from receiver.publish import BodyTooLarge, Publisher, Stored, Unavailable, message_id
from receiver.quotas import QuotaExceeded, Quotas
from receiver.recent import Recent
from receiver.refusals import Refusals
from receiver.registry import Registry
from receiver.request import Request
from receiver.settings import ReceiverSettings
from receiver.storage import Storage
from schemas import headers, subjects

# Of a message alone; all its other headers are its sender's.
_OWN: Final = frozenset({headers.MESSAGE_ID, headers.RECEIVED_AT, headers.COUNTS_TO})


@dataclass(slots=True)
class Delivery:
    """What the broker is to know about one body beside its bytes. `expected` replies come, None if unpack will say."""

    route: str
    content_type: str
    counts_wait_ms: int
    expected: int | None
    sentry_client: str = ""
    salt: bytes = b""
    wants_sync: bool = False
    resource: str = ""
    query: str = ""
    # Set where the bytes alone do not say which message it is, or when it came first.
    identity: str = ""
    received_at_ns: int = 0


@dataclass(slots=True)
class Delivered:
    """A stored body: its message id, its place in RAW, whether it was there already, its counts if they are known."""

    message_id: str
    seq: int
    duplicate: bool
    tally: Tally | None


@dataclass(slots=True)
class Door:
    """Everything the endpoints share. `clock_ns` is the wall clock: the only time a row will ever know."""

    settings: ReceiverSettings
    registry: Registry
    publisher: Publisher
    inbox: Inbox
    clock_ns: Callable[[], int] = time.time_ns
    quotas: Quotas = field(default_factory=Quotas)
    refusals: Refusals = field(default_factory=Refusals)
    first_answers: FirstAnswers | None = None
    storage: Storage = field(default_factory=Storage)
    budget: Budget = field(init=False)
    limits: Limits = field(init=False)
    _recent: Recent[Block] = field(init=False, default_factory=Recent)

    def __post_init__(self) -> None:
        self.budget = Budget(self.settings.in_flight_bytes)
        self.limits = Limits(self.settings.max_body_bytes, self.settings.body_deadline_s)

    async def admit(self, request: Request, secret: str, channel_text: str, where: str) -> Grant:
        """Authenticates as auth.admit does and then asks the quotas, before any of the body is read. Raises Refused."""
        grant = await auth.admit(self.registry, request, secret, channel_text, where)
        try:
            request.give_back = self.quotas.take(grant.key)
        except QuotaExceeded as error:
            metrics.QUOTA_REFUSED.labels(error.reason).inc()
            self.refusals.add(grant, request.route, error.reason)
            raise
        return grant

    async def read(self, request: Request, share: bodies.Share, keep_bytes: int = bodies.HEAD_BYTES) -> Body:
        """The body of an admitted request; `share` is its part of the budget. Raises Refused, Disconnected."""
        return await bodies.read(request, bodies.encoding_of(request), self.limits, share, keep_bytes)

    async def deliver(self, request: Request, grant: Grant, body: Body, delivery: Delivery) -> Tally | None:
        """Returns once the body is stored: its counts, or None when they are not known. Raises Refused (413, 503).

        A body that the workers call malformed is Refused (400) with their reason.
        """
        return (await self.store(request, grant, body, delivery)).tally

    async def store(self, request: Request, grant: Grant, body: Body, delivery: Delivery) -> Delivered:
        """The same as deliver, with where the body is stored."""
        number = grant.channel.id
        identity = delivery.identity or message_id(_address(delivery), number, body.encoding, body.wire, delivery.salt)
        ticket = self.inbox.ticket(delivery.route, delivery.counts_wait_ms, delivery.expected)
        try:
            shared = self._shared(request, grant, body, delivery)
            own = {
                headers.MESSAGE_ID: identity,
                headers.RECEIVED_AT: str(delivery.received_at_ns or self.clock_ns()),
            }
            if ticket is not None:
                own[headers.COUNTS_TO] = ticket.reply_to
            stored = await self._publish(delivery.route, number, body.wire, own, shared)
            request.give_back = None
            tally = await self._counts(delivery, identity, stored, ticket)
        finally:
            self.inbox.close(ticket)
        if tally is not None and tally.invalid is not None:
            raise Refused(400, tally.invalid)
        return Delivered(identity, stored.seq, stored.duplicate, tally)

    def _shared(self, request: Request, grant: Grant, body: Body, delivery: Delivery) -> Block:
        """The message's headers but those that are its own. One sender's are the same every time."""
        said = (
            *(grant.key.sha256, grant.channel.id, grant.environment, grant.environment_from_event),
            *(delivery.content_type, delivery.sentry_client, delivery.wants_sync, delivery.resource, delivery.query),
            *(body.encoding, request.headers.get("user-agent", "")),
            request.sender_ip(trust_forwarded=self.settings.trust_forwarded),
        )
        shared = self._recent.get(said)
        if shared is None:
            fields = headers.write(self._origin(request, grant, body, delivery), "")
            shared = Block({name: value for name, value in fields.items() if name not in _OWN})
            self._recent.put(said, shared)
        return shared

    def _origin(self, request: Request, grant: Grant, body: Body, delivery: Delivery) -> headers.Origin:
        return headers.Origin(
            organisation=grant.channel.organisation,
            channel_id=grant.channel.id,
            key_id=grant.key.id,
            environment=grant.environment,
            environment_from_event=grant.environment_from_event,
            received_at_ns=0,
            content_type=delivery.content_type,
            content_encoding=body.encoding,
            sender_ip=request.sender_ip(trust_forwarded=self.settings.trust_forwarded),
            user_agent=request.headers.get("user-agent", ""),
            sentry_client=delivery.sentry_client,
            wants_sync=delivery.wants_sync,
            resource=delivery.resource,
            query=delivery.query,
        )

    async def _publish(self, route: str, number: int, wire: bytes, own: dict[str, str], shared: Block) -> Stored:
        try:
            stored = await self.publisher.publish(subjects.raw(route, number), wire, own, shared)
        except BodyTooLarge as error:
            raise Refused(413, "body: larger than the broker takes; this is final: send less in one request") from error
        except Unavailable as error:
            self.storage.failed(error.reason)
            raise Refused(
                503,
                f"the broker did not store the body ({error.reason}); send the same again",
                retry_after_s=error.retry_after_s,
            ) from error
        if not stored.duplicate:  # else nothing was written
            self.storage.stored()
        metrics.labelled(metrics.BODY_BYTES, route).inc(len(wire))
        return stored

    async def _counts(self, delivery: Delivery, identity: str, stored: Stored, ticket: Ticket | None) -> Tally | None:
        if stored.duplicate:  # no worker will see it, so nobody would answer
            metrics.DUPLICATES.labels(delivery.route).inc()
            return self.inbox.recall(identity)
        if ticket is None:
            return None
        tally = await self.inbox.wait(delivery.route, ticket, delivery.counts_wait_ms)
        if tally is not None:
            self.inbox.remember(identity, tally)
        return tally


def _address(delivery: Delivery) -> str:
    """Where a body was sent: equal bytes for two resources (one screenshot, two events) are two messages."""
    if not delivery.resource and not delivery.query:
        return delivery.route
    return "\n".join(filter(None, (delivery.route, delivery.resource, delivery.query)))
