"""The way of every body through the receiver: read, publish, wait for the ack, then for the counts. No dialect here."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from ops.runtime.frames import Block
from receiver import metrics
from receiver.admission import auth
from receiver.admission.auth import Grant
from receiver.admission.quotas import QuotaExceeded, Quotas
from receiver.admission.refusal_budget import COUNTED, RefusalBudget, TooManyRefusals
from receiver.admission.refusals import RefusalCounter
from receiver.admission.registry import Registry
from receiver.delivery import identity
from receiver.delivery.counts import Inbox, Tally, Ticket
from receiver.delivery.fates import Fates
from receiver.delivery.idempotency import FirstAnswers, RecordOwner
from receiver.delivery.publish import RETRY_AFTER_S, BodyPublisher, BodyTooLarge, StoredBody, Unavailable
from receiver.delivery.storage import Storage
from receiver.http import body as bodies
from receiver.http.answers import Refused
from receiver.http.body import Body, BodyLimits
from receiver.http.body_readers import BodyReaders
from receiver.http.budget import Budget, Kind, Share
from receiver.http.lingering import Lingering
from receiver.http.request import Request
from receiver.recent import Recent
from receiver.settings import ReceiverSettings
from schemas import headers, subjects
from schemas.registry import Key

_REFUSED_BEFORE: Final = (
    "body: the same bytes were refused a short while ago; the view dead_letters has the reason; correct the body"
)
# Of a message alone; all its other headers are its sender's.
_OWN: Final = frozenset({headers.MESSAGE_ID, headers.RECEIVED_AT, headers.COUNTS_TO})
# For bodies of which only the first line may tell whose they are: bytes, bodies of one address, time for that line.
STRANGERS_BYTES: Final = 8 * 1024 * 1024
STRANGERS_BODIES: Final = 128
STRANGERS_DEADLINE_S: Final = 5.0


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
    # Set where the bytes alone do not say which message it is, whose rows it makes, or when it came first.
    identity: str = ""
    origin_id: str = ""
    received_at_ns: int = 0
    # Whoever has opened it waits for the counts and closes it; the request does not.
    ticket: Ticket | None = None


@dataclass(slots=True)
class Delivered:
    """A stored body: its message id, its place in RAW, whether it was there already, its counts if they are known."""

    message_id: str
    seq: int
    duplicate: bool
    tally: Tally | None


@dataclass(slots=True)
class _SenderHeaders:
    """What all bodies of one sender share: the headers of their messages, and the beginning of their ids' hash."""

    headers: Block
    prefix: hashlib.blake2b


@dataclass(slots=True)
class RequestSteps:
    """Everything the endpoints share. `clock_ns` is the wall clock: the only time a row will ever know."""

    settings: ReceiverSettings
    registry: Registry
    publisher: BodyPublisher
    inbox: Inbox
    clock_ns: Callable[[], int] = time.time_ns
    quotas: Quotas = field(default_factory=Quotas)
    refusals: RefusalCounter = field(default_factory=RefusalCounter)
    first_answers: FirstAnswers | None = None
    fates: Fates = field(default_factory=Fates)
    readers: BodyReaders = field(default_factory=BodyReaders)
    storage: Storage = field(default_factory=Storage)
    budget: Budget = field(init=False)
    strangers: Budget = field(init=False)
    limits: BodyLimits = field(init=False)
    strangers_limits: BodyLimits = field(init=False)
    refusal_budget: RefusalBudget = field(init=False)
    _recent: Recent[_SenderHeaders] = field(init=False, default_factory=Recent)

    def __post_init__(self) -> None:
        told = self.settings
        # A body may be held twice: as it came, and inflated.
        self.budget = Budget(told.in_flight_bytes, 2 * told.max_body_bytes)
        metrics.IN_FLIGHT_BYTES.set_function(lambda: self.budget.held_bytes)
        self.strangers = Budget(min(STRANGERS_BYTES, told.in_flight_bytes), max_bodies=STRANGERS_BODIES)
        self.limits = self._limits(told.body_deadline_s)
        self.strangers_limits = self._limits(min(STRANGERS_DEADLINE_S, told.body_deadline_s))
        self.refusal_budget = RefusalBudget(told.refused_per_minute)

    def _limits(self, deadline_s: float) -> BodyLimits:
        told = self.settings
        return BodyLimits(told.max_body_bytes, deadline_s, told.max_inflation_ratio, told.body_min_bytes_per_s)

    async def admit(self, request: Request, secret: str, channel_text: str, where: str) -> Grant:
        """Authenticates as auth.admit does and then asks the quotas, before any of the body is read. Raises Refused."""
        grant = await auth.admit(self.registry, request, secret, channel_text, where)
        self.take_quota(request, grant.key, grant.environment, grant.channel.id)
        return grant

    def take_quota(self, request: Request, key: Key, environment: str, channel_id: int) -> None:
        """Counts one request of `key`, and what has come of its body already.

        Raises Refused (429), which is counted for that channel.
        """
        try:
            if not self.refusal_budget.is_empty:
                self.refusal_budget.check(key, request.route, self.network(request))
            request.charge = self.quotas.take(key)
        except (QuotaExceeded, TooManyRefusals) as error:
            metrics.QUOTA_REFUSED.labels(error.reason).inc()
            self.refusals.add_of(key, environment, channel_id, request.route, error.reason)
            raise
        self.came(request, request.inflated_bytes)

    def came(self, request: Request, size_bytes: int) -> None:
        """So much of the request has come, inflated; it counts for the quotas of bytes."""
        request.inflated_bytes = max(request.inflated_bytes, size_bytes)
        if request.charge is not None:
            request.charge.count_bytes(request.inflated_bytes)

    def count_refusal(self, request: Request, status: int) -> None:
        """A request ended without being stored: too many of one sender are refused unread."""
        if status in COUNTED:
            self.refusal_budget.add(request.key, request.route, self.network(request), request.inflated_bytes)

    async def linger(self, request: Request, lingering: Lingering) -> None:
        """Reads on after a refusal so that it is heard, unless the sender has been refused too often."""
        network = self.network(request)
        if not self.refusal_budget.is_exceeded(network):
            await lingering.drain(request, network)

    def network(self, request: Request) -> str:
        """The sender's address as it is counted."""
        return request.network(trust_forwarded=self.settings.trust_forwarded)

    def share(self, request: Request, key: Key) -> Share:
        """A body's part of the budget: of the key's, its organisation's and its sender's. Raises Refused (413)."""
        bodies.check_declared(request, self.limits)
        network = self.network(request)
        holders: list[tuple[Kind, str]] = [("key", key.id), ("organisation", key.organisation), ("address", network)]
        if key.kind == "public":
            holders.append(("visitor", f"{key.id} {network}"))
        return self.budget.share(*holders)

    async def read(self, request: Request, share: Share, keep_bytes: int = bodies.HEAD_BYTES) -> Body:
        """The body of an admitted request; `share` is its part of the budget. Raises Refused, Disconnected.

        Its bytes count at once, those of a refused body too: it was read and inflated all the same.
        """
        try:
            return await bodies.read(request, bodies.encoding_of(request), self.limits, share, keep_bytes)
        finally:
            self.came(request, request.inflated_bytes)

    async def read_stranger(self, request: Request, is_enough: bodies.Enough) -> bytes:
        """The beginning of a body that may tell whose it is, from a budget of its own. Raises Refused, Disconnected."""
        network = self.network(request)
        self.refusal_budget.check_stranger(network)
        bodies.check_declared(request, self.limits)
        with self.strangers.share(("address", network)) as share:
            encoding = bodies.encoding_of(request)
            return await bodies.read_head(request, encoding, self.strangers_limits, share, is_enough)

    async def deliver(self, request: Request, grant: Grant, body: Body, delivery: Delivery) -> Tally | None:
        """Returns once the body is stored: its counts, or None when they are not known. Raises Refused (413, 503).

        A body that the workers call malformed is Refused (400) with their reason.
        """
        return (await self.store(request, grant, body, delivery)).tally

    async def store(self, request: Request, grant: Grant, body: Body, delivery: Delivery) -> Delivered:
        """The same as deliver, with where the body is stored."""
        sender = self._sender(request, grant, body, delivery)
        message_id = delivery.identity or identity.message_id(sender.prefix, body.wire, delivery.salt)
        ticket = delivery.ticket or self.inbox.ticket(delivery.route, delivery.counts_wait_ms, delivery.expected)
        try:
            own = {
                headers.MESSAGE_ID: message_id,
                headers.RECEIVED_AT: str(delivery.received_at_ns or self.clock_ns()),
            }
            if delivery.origin_id:
                own[headers.ORIGIN_ID] = delivery.origin_id
            if ticket is not None:
                own[headers.COUNTS_TO] = ticket.reply_to
                if ticket is not delivery.ticket:
                    self.inbox.begin(message_id, ticket)
            stored = await self._publish(delivery.route, grant.channel.id, body.wire, own, sender.headers)
            if request.charge is not None:
                request.charge.is_stored = True
            tally = await self._counts(grant, delivery, message_id, stored, ticket)
        finally:
            if ticket is not None and ticket is not delivery.ticket:
                self.inbox.end(message_id, ticket)
                self.inbox.close(ticket)
        if tally is not None and tally.invalid is not None:
            raise Refused(400, tally.invalid)
        return Delivered(message_id, stored.seq, stored.duplicate, tally)

    def _sender(self, request: Request, grant: Grant, body: Body, delivery: Delivery) -> _SenderHeaders:
        """One sender says the same every time: the message's headers but those that are its own, and who it is."""
        said = (
            *(grant.key.sha256, grant.channel.id, grant.environment, grant.environment_from_event, request.path),
            *(delivery.content_type, delivery.sentry_client, delivery.wants_sync, delivery.resource, delivery.query),
            *(delivery.route, body.encoding, request.headers.get("user-agent", "")),
            request.sender_ip(trust_forwarded=self.settings.trust_forwarded),
            _counts_rows(request),
        )
        sender = self._recent.get(said)
        if sender is None:
            fields = headers.write(self._origin(request, grant, body, delivery), "")
            shared = Block({name: value for name, value in fields.items() if name not in _OWN})
            sender = _SenderHeaders(shared, _prefix(request, grant, body, delivery))
            self._recent.put(said, sender)
        return sender

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
            counts_rows=_counts_rows(request),
        )

    async def _publish(self, route: str, number: int, wire: bytes, own: dict[str, str], shared: Block) -> StoredBody:
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

    async def _counts(
        self, grant: Grant, delivery: Delivery, message_id: str, stored: StoredBody, ticket: Ticket | None
    ) -> Tally | None:
        if stored.duplicate:  # no worker will see it, so nobody would answer
            metrics.DUPLICATES.labels(delivery.route).inc()
            return await self._earlier(grant, delivery, message_id, ticket)
        if ticket is None or ticket is delivery.ticket:
            return None
        tally = await self.inbox.wait(delivery.route, ticket, delivery.counts_wait_ms)
        if tally is not None:
            self.inbox.remember(message_id, tally)
            if tally.invalid is not None and self.first_answers is not None:
                with suppress(Unavailable):  # this receiver knows it; another one would take a repeat for a success
                    await self.first_answers.refuse(RecordOwner.of(grant.key), message_id)
        return tally

    async def _earlier(self, grant: Grant, delivery: Delivery, message_id: str, ticket: Ticket | None) -> Tally | None:
        """The counts of the copy that is stored, None if they are not known. Raises Refused.

        A repeat of a refused body is refused again, on whichever receiver it comes: nothing of it will become a row.
        """
        tally = self.inbox.recall(message_id)
        if tally is None and ticket is not delivery.ticket:
            tally = await self.inbox.verdict_under_way(message_id, ticket, delivery.counts_wait_ms)
        if tally is not None or self.first_answers is None:
            return tally
        try:
            is_refused = await self.first_answers.was_refused(RecordOwner.of(grant.key), message_id)
        except Unavailable as error:
            told = f"a body with these bytes is stored, and whether it was refused cannot be read ({error.reason})"
            raise Refused(503, f"{told}; send the same again", retry_after_s=RETRY_AFTER_S) from error
        if is_refused:
            raise Refused(400, _REFUSED_BEFORE)
        return None


def _counts_rows(request: Request) -> bool:
    return request.charge is not None and request.charge.counts_rows


def _prefix(request: Request, grant: Grant, body: Body, delivery: Delivery) -> hashlib.blake2b:
    """Who sends, where to and as what: equal bytes that differ in one of these are two messages.

    Sender's address, client and version are not among them: a retry may come by another way.
    """
    return identity.prefix(
        *(grant.key.sha256, grant.environment, grant.environment_from_event, grant.channel.id),
        *(delivery.route, identity.path(request.path), delivery.resource, delivery.query),
        *(identity.media_type(delivery.content_type), body.encoding),
    )
