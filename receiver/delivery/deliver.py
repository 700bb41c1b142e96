"""The step that stores a body: publishes it to RAW, waits for the broker's acknowledgement, then for workers' counts.

The endpoints make the answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from ops.runtime.frames import Block
from receiver import metrics
from receiver.admission.auth import Grant
from receiver.delivery import identity
from receiver.delivery.counts import Inbox, Tally, Waiter
from receiver.delivery.idempotency import FirstAnswers, RecordOwner
from receiver.delivery.publish import (
    RETRY_AFTER_S,
    BodyPublisher,
    BodyTooLarge,
    PublishError,
    Unavailable,
    Unconfirmed,
)
from receiver.delivery.storage import Storage
from receiver.http.answers import NOT_CONFIRMED, Refused
from receiver.http.body import Body
from receiver.http.request import Request
from receiver.short_cache import ShortCache
from schemas import headers, subjects

_REFUSED_BEFORE: Final = (
    "body: the same bytes were refused a short while ago; the view dead_letters has the reason; correct the body"
)
_MAY_BE_TWO: Final = (
    "sent again it may be a second event. With an Idempotency-Key, the same key sent again is one event"
)
# Headers that differ for each message; all others are the same for one sender.
_OWN: Final = frozenset({headers.MESSAGE_ID, headers.RECEIVED_AT, headers.COUNTS_TO})


@dataclass(slots=True)
class RawMessage:
    """One body as it is published: everything beside its bytes.

    The request waits `counts_wait_ms` for `expected` replies; None if unpack will say how many come.
    """

    route: str
    content_type: str
    counts_wait_ms: int
    expected: int | None
    sentry_client: str = ""
    salt: bytes = b""
    wants_sync: bool = False
    resource: str = ""
    query: str = ""
    # Set by native events, whose message id, origin and time do not follow from the bytes alone.
    identity: str = ""
    origin_id: str = ""
    received_at_ns: int = 0
    # The caller that opened the waiter waits for the counts and closes it; `Delivery` does not.
    waiter: Waiter | None = None


@dataclass(slots=True)
class Delivered:
    """A stored body: its message id, its number in RAW, whether it was stored before; the request's waiter."""

    grant: Grant
    message: RawMessage
    message_id: str
    waiter: Waiter | None
    seq: int = 0
    duplicate: bool = False


@dataclass(slots=True)
class _SenderHeaders:
    """What all bodies of one sender share: message headers, and the start of the hash for message ids."""

    headers: Block
    prefix: hashlib.blake2b


@dataclass(slots=True)
class Delivery:
    """Stores bodies. `clock_ns` is the wall clock: rows get their time of arrival from it, and no other time."""

    publisher: BodyPublisher
    inbox: Inbox
    storage: Storage
    clock_ns: Callable[[], int]
    trust_forwarded: bool
    first_answers: FirstAnswers | None = None
    _senders: ShortCache[_SenderHeaders] = field(init=False, default_factory=ShortCache)

    async def deliver(self, request: Request, grant: Grant, body: Body, message: RawMessage) -> Delivered:
        """Returns once the body is on the broker's disk; `wait_for_counts` has to follow. Raises Refused (413, 503)."""
        sender = self._sender(request, grant, body, message)
        message_id = message.identity or identity.message_id(sender.prefix, body.wire, message.salt)
        waiter = message.waiter or self.inbox.waiter(message.route, message.counts_wait_ms, message.expected)
        delivered = Delivered(grant, message, message_id, None if waiter is message.waiter else waiter)
        own_headers = {
            headers.MESSAGE_ID: message_id,
            headers.RECEIVED_AT: str(message.received_at_ns or self.clock_ns()),
        }
        if message.origin_id:
            own_headers[headers.ORIGIN_ID] = message.origin_id
        if waiter is not None:
            own_headers[headers.COUNTS_TO] = waiter.reply_to
        if delivered.waiter is not None:
            self.inbox.begin(message_id, delivered.waiter)
        subject = subjects.raw(message.route, grant.channel.id)
        try:
            stored = await self.publisher.publish(subject, body.wire, own_headers, sender.headers)
        except PublishError as error:
            self._close(delivered)
            raise self._refusal_of(error, message) from error
        except BaseException:  # a request that is cancelled waits for no counts either
            self._close(delivered)
            raise
        delivered.seq, delivered.duplicate = stored.seq, stored.duplicate
        if not stored.duplicate:  # else nothing was written
            self.storage.stored()
        metrics.with_labels(metrics.BODY_BYTES, message.route).inc(len(body.wire))
        if request.charge is not None:
            request.charge.is_stored = True
        return delivered

    async def wait_for_counts(self, delivered: Delivered) -> Tally | None:
        """The workers' counts of a stored body, None when they are not known. Raises Refused (400, 503).

        400 is for a body that the workers call malformed, with their reason.
        """
        if delivered.waiter is None and not delivered.duplicate:
            return None
        try:
            tally = await (self._earlier(delivered) if delivered.duplicate else self._counts(delivered))
        finally:
            self._close(delivered)
        if tally is not None and tally.invalid is not None:
            raise Refused(400, tally.invalid, reason="repeated", is_counted=not delivered.duplicate)
        return tally

    def _sender(self, request: Request, grant: Grant, body: Body, message: RawMessage) -> _SenderHeaders:
        """Headers and hash that are the same for all bodies of a sender, so they are made once and cached."""
        sender_texts = (
            *(grant.key.sha256, grant.channel.id, grant.environment, grant.environment_from_event, request.path),
            *(message.content_type, message.sentry_client, message.wants_sync, message.resource, message.query),
            *(message.route, body.encoding, request.headers.get("user-agent", "")),
            request.sender_ip(trust_forwarded=self.trust_forwarded),
            _counts_rows(request),
        )
        sender = self._senders.get(sender_texts)
        if sender is None:
            fields = headers.write(self._origin(request, grant, body, message), "")
            shared = Block({name: value for name, value in fields.items() if name not in _OWN})
            sender = _SenderHeaders(shared, _prefix(request, grant, body, message))
            self._senders.put(sender_texts, sender)
        return sender

    def _origin(self, request: Request, grant: Grant, body: Body, message: RawMessage) -> headers.Origin:
        return headers.Origin(
            organisation=grant.channel.organisation,
            channel_id=grant.channel.id,
            key_id=grant.key.id,
            environment=grant.environment,
            environment_from_event=grant.environment_from_event,
            received_at_ns=0,
            content_type=message.content_type,
            content_encoding=body.encoding,
            sender_ip=request.sender_ip(trust_forwarded=self.trust_forwarded),
            user_agent=request.headers.get("user-agent", ""),
            sentry_client=message.sentry_client,
            wants_sync=message.wants_sync,
            resource=message.resource,
            query=message.query,
            counts_rows=_counts_rows(request),
        )

    def _refusal_of(self, error: PublishError, message: RawMessage) -> Refused:
        if isinstance(error, BodyTooLarge):
            return Refused(413, "body: larger than the broker takes; this is final: send less in one request")
        self.storage.failed(error.reason)
        if not isinstance(error, Unconfirmed):
            detail = f"the broker did not store the body ({error.reason}); send the same again"
            return Refused(503, detail, retry_after_s=error.retry_after_s)
        # A salted body is another one when it comes again; all others have the same identity.
        advice = _MAY_BE_TWO if message.salt else "send the same again: it is stored once"
        return Refused(
            503,
            f"the broker did not confirm the body in time ({error.reason}), so it may be stored; {advice}",
            retry_after_s=error.retry_after_s,
            reason=NOT_CONFIRMED,
            may_be_stored=True,
        )

    async def _counts(self, delivered: Delivered) -> Tally | None:
        assert delivered.waiter is not None
        message = delivered.message
        tally = await self.inbox.wait(message.route, delivered.waiter, message.counts_wait_ms)
        if tally is not None:
            self.inbox.remember(delivered.message_id, tally)
            if tally.invalid is not None and self.first_answers is not None:
                with suppress(Unavailable):  # without the note, another receiver would answer a repeat with success
                    await self.first_answers.refuse(RecordOwner.of(delivered.grant.key), delivered.message_id)
        return tally

    async def _earlier(self, delivered: Delivered) -> Tally | None:
        """The counts of the copy that was stored before, None if they are not known. Raises Refused.

        No worker sees a duplicate, so no counts would come. A repeat of a refused body is refused by every receiver,
        because it makes no rows.
        """
        message, waiter = delivered.message, delivered.waiter
        metrics.DUPLICATES.labels(message.route).inc()
        tally = self.inbox.recall(delivered.message_id)
        if tally is None and waiter is not None:
            tally = await self.inbox.verdict_under_way(delivered.message_id, waiter, message.counts_wait_ms)
        if tally is not None or self.first_answers is None:
            return tally
        try:
            owner = RecordOwner.of(delivered.grant.key)
            is_refused = await self.first_answers.was_refused(owner, delivered.message_id)
        except Unavailable as error:
            detail = f"a body with these bytes is stored, and whether it was refused cannot be read ({error.reason})"
            raise Refused(
                503,
                f"{detail}; send the same again",
                retry_after_s=RETRY_AFTER_S,
                reason=NOT_CONFIRMED,
                may_be_stored=True,
            ) from error
        if is_refused:
            raise Refused(400, _REFUSED_BEFORE, reason="repeated")
        return None

    def _close(self, delivered: Delivered) -> None:
        """Ends the wait for the counts."""
        if delivered.waiter is not None:
            self.inbox.end(delivered.message_id, delivered.waiter)
            self.inbox.close(delivered.waiter)


def _counts_rows(request: Request) -> bool:
    return request.charge is not None and request.charge.counts_rows


def _prefix(request: Request, grant: Grant, body: Body, message: RawMessage) -> hashlib.blake2b:
    """Sender, channel and kind: equal bytes that differ in one of these are two messages.

    The sender's address, client and version are left out, because a retry may differ in them.
    """
    return identity.prefix(
        *(grant.key.sha256, grant.environment, grant.environment_from_event, grant.channel.id),
        *(message.route, identity.path(request.path), message.resource, message.query),
        *(identity.media_type(message.content_type), body.encoding),
    )
