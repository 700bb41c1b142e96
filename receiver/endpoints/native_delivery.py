"""Delivers native events: each on its own, or once under its idempotency key, and waits for the row if asked to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from receiver.admission.auth import Grant
from receiver.delivery.counts import Tally, Waiter
from receiver.delivery.deliver import Delivered, RawMessage
from receiver.delivery.idempotency import BodyResult, FirstAnswers, FirstBody, RecordOwner
from receiver.delivery.late_replies import WAIT_S, result_of
from receiver.delivery.publish import PublishError, Unavailable, fresh_salt
from receiver.http.answers import Refused
from receiver.http.body import Body
from receiver.http.body_facts import SubmissionFacts
from receiver.http.request import Request
from receiver.steps import RequestSteps
from schemas import native_event, subjects
from schemas.key_masking import mask_keys_in
from schemas.native_event import MAX_IDEMPOTENCY_KEY_LENGTH

IDEMPOTENCY_HEADER: Final = "idempotency-key"
JSON: Final = "application/json"
T = TypeVar("T")
_EXPECTED_COUNTS: Final = 1  # one worker reads the whole body
# Answers after which nobody will store the body: malformed, too large.
_NEVER_STORED: Final = frozenset({400, 413})
# Pause between two reads of the result of another request under the same key.
_LOOK_MS: Final = 50
_NS_PER_S: Final = 10**9


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """An idempotency key. `is_strict`: a repeat must have the same content as the first request."""

    text: str
    is_strict: bool


@dataclass(frozen=True, slots=True)
class StoredEvents:
    """The answer for stored events. `identifier` is '' if the answer repeats that of the body."""

    origin_id: str
    received_at_ns: int
    environment: str
    identifier: str = ""
    key: str = ""
    is_repeat: bool = False


def idempotency_key(request: Request, submission: SubmissionFacts) -> IdempotencyKey | None:
    """The key of the header, else the event's `dedupKey`, None without either. Raises Refused (400).

    Two events with one `dedupKey` are one event, even if they differ: that is what a dedupKey is for.
    """
    text = request.headers.get(IDEMPOTENCY_HEADER, "").strip()
    if len(text) > MAX_IDEMPOTENCY_KEY_LENGTH:
        raise Refused(
            400, f"Idempotency-Key: expected at most {MAX_IDEMPOTENCY_KEY_LENGTH} characters, found {len(text)}"
        )
    if text:
        return IdempotencyKey(text, is_strict=True)
    return IdempotencyKey(submission.dedup_key, is_strict=False) if submission.dedup_key else None


async def store(
    steps: RequestSteps, request: Request, grant: Grant, body: Body, submission: SubmissionFacts
) -> StoredEvents:
    """Returns once the body is stored now or earlier; with `sync`, once its rows are in ClickHouse.

    Raises Refused: 413 and 503 as for every body, 400 for an invalid key, 422 for a key that was used for other events
    or for events that did not become rows, 504 if the body is stored and its rows could not be confirmed.
    """
    key = idempotency_key(request, submission)
    message = RawMessage(
        route=subjects.NATIVE_EVENT,
        content_type=JSON,
        counts_wait_ms=steps.settings.sync_wait_ms if submission.wants_sync else 0,
        expected=_EXPECTED_COUNTS,
        wants_sync=submission.wants_sync,
        resource=native_event.BATCH if submission.is_batch else "",
        received_at_ns=steps.clock_ns(),
    )
    if key is not None:
        if steps.delivery.first_answers is None:
            raise Refused(503, "idempotency keys are not kept here; send the same without one")
        owner = RecordOwner.of(grant.key)
        name = native_event.key_name(grant.channel.id, owner.key_class, grant.environment, key.text)
        answers = steps.delivery.first_answers
        return await _Keyed(steps, request, grant, body, submission, message, answers, owner, name).store(key)
    # Without a key, equal bytes are two events.
    delivered = await steps.delivery.deliver(request, grant, body, replace(message, salt=fresh_salt()))
    tally = await steps.delivery.wait_for_counts(delivered)
    if submission.wants_sync:
        _check_confirmed(steps, tally, _id_of(grant, delivered.message_id))
    return StoredEvents(delivered.message_id, message.received_at_ns, grant.environment)


@dataclass(frozen=True, slots=True)
class _Waited:
    """A request that stored its body itself and waited for the reply; None if it did not come in time."""

    tally: Tally | None


@dataclass(frozen=True, slots=True)
class _Keyed:
    """One request under an idempotency key."""

    steps: RequestSteps
    request: Request
    grant: Grant
    body: Body
    submission: SubmissionFacts
    message: RawMessage
    answers: FirstAnswers
    owner: RecordOwner
    name: bytes

    async def store(self, key: IdempotencyKey) -> StoredEvents:
        """The first answer to the key, whichever receiver gave it."""
        own = self._first(key)
        earlier = await self._claim(own)
        if earlier is not None and key.is_strict and earlier.fingerprint != own.fingerprint:
            raise Refused(422, "Idempotency-Key: used before for another event; expected the same or a new key")
        first = earlier or own
        origin_id = native_event.keyed_id(self.name, first.fingerprint)
        waited = None
        if not first.seq:
            first, waited = await self._store(first, origin_id, is_claimed_here=earlier is None)
        if self.submission.wants_sync:
            has_same_events = first.fingerprint == own.fingerprint
            await self._confirm(first, waited, origin_id, has_same_events=has_same_events)
        elif first.result is BodyResult.REFUSED:
            raise self._without_rows(origin_id)
        is_repeat = earlier is not None
        return StoredEvents(
            origin_id, first.received_at_ns, self.grant.environment, first.identifier, key.text, is_repeat=is_repeat
        )

    def _first(self, key: IdempotencyKey) -> FirstBody:
        events = self.submission.events
        is_named = not key.is_strict and not self.submission.is_batch
        return FirstBody(
            received_at_ns=self.message.received_at_ns,
            fingerprint=bytes.fromhex(self.submission.fingerprint),
            identifier=mask_keys_in(events[0].identifier) if is_named else "",
        )

    async def _claim(self, own: FirstBody) -> FirstBody | None:
        """Claims the key: None if it was free, else the earlier body. A key whose event was refused is free again."""
        earlier = await _await_answer(self.answers.claim(self.owner, self.name, own))
        if earlier is None or earlier.result is not BodyResult.REFUSED or earlier.fingerprint == own.fingerprint:
            return earlier
        await _await_answer(self.answers.release(self.owner, self.name, earlier))
        return await _await_answer(self.answers.claim(self.owner, self.name, own))

    async def _store(
        self, first: FirstBody, origin_id: str, *, is_claimed_here: bool
    ) -> tuple[FirstBody, _Waited | None]:
        """Stores the body unless it is stored already, with the first body's id and time: it makes the same row."""
        waiter = self._waiter()
        is_awaited = False
        try:
            delivered = await self._deliver(first, origin_id, waiter, is_claimed_here=is_claimed_here)
            first = replace(first, seq=delivered.seq)
            if delivered.duplicate:  # the request that stored it writes the record
                return first, None
            tally = await self._reply(waiter)
            first = replace(first, result=result_of(tally) if tally else BodyResult.UNKNOWN)
            with suppress(Unavailable):  # then a repeat stores it again, as the same message
                await self.answers.mark(self.owner, self.name, first)
            if tally is None and waiter is not None:
                is_awaited = True
                self.steps.late_replies.note(
                    self.steps.delivery.inbox, waiter, self.answers, (self.owner, self.name, first)
                )
            return first, _Waited(tally)
        finally:
            if not is_awaited:
                self.steps.delivery.inbox.close(waiter)

    def _waiter(self) -> Waiter | None:
        """A waiter for the worker's reply, which comes after the insert; None if it cannot be waited for."""
        is_asking = not self.submission.wants_sync or self.steps.delivery.inbox.allows(self.message.route)
        if not is_asking or self.steps.late_replies.is_full:
            return None
        return self.steps.delivery.inbox.open_waiter(_EXPECTED_COUNTS)

    async def _deliver(
        self, first: FirstBody, origin_id: str, waiter: Waiter | None, *, is_claimed_here: bool
    ) -> Delivered:
        """Raises Refused; a body that will never be stored leaves its key free for a corrected one."""
        message = replace(
            self.message,
            counts_wait_ms=0,
            identity=origin_id,
            received_at_ns=first.received_at_ns,
            wants_sync=True,
            waiter=waiter,
        )
        try:
            delivered = await self.steps.delivery.deliver(self.request, self.grant, self.body, message)
            await self.steps.delivery.wait_for_counts(delivered)
            return delivered
        except Refused as refused:
            if is_claimed_here and refused.status in _NEVER_STORED:
                with suppress(Unavailable):
                    await self.answers.release(self.owner, self.name, first)
            raise

    async def _reply(self, waiter: Waiter | None) -> Tally | None:
        """The reply to the body just stored, None if it is not there yet."""
        if waiter is None:
            return None
        if self.submission.wants_sync:
            return await self.steps.delivery.inbox.wait_kept(self.message.route, waiter, self.message.counts_wait_ms)
        return waiter.future.result() if waiter.future.done() else None

    async def _confirm(
        self, first: FirstBody, waited: _Waited | None, origin_id: str, *, has_same_events: bool
    ) -> None:
        """Returns once the rows are known to be in ClickHouse. Raises Refused (422, 504)."""
        event_id = _id_of(self.grant, origin_id)
        if waited is not None:
            _check_confirmed(self.steps, waited.tally, event_id)
            return
        is_left_alone = self.steps.clock_ns() - first.received_at_ns > WAIT_S * _NS_PER_S
        if first.result is BodyResult.UNKNOWN and is_left_alone and has_same_events:
            first = await self._ask_again(first, origin_id)
        elif first.result is BodyResult.UNKNOWN:
            first = await self._wait_for_result(first)
        if first.result is BodyResult.UNKNOWN:
            raise _not_confirmed(self.steps, event_id)
        if first.result is not BodyResult.ROWS:
            raise self._without_rows(origin_id)

    async def _wait_for_result(self, first: FirstBody) -> FirstBody:
        """Waits until the request that stored the body has recorded its result, as long as for a reply."""
        looks = self.message.counts_wait_ms // _LOOK_MS if self.steps.delivery.inbox.allows(self.message.route) else 0
        for _ in range(looks):
            await asyncio.sleep(_LOOK_MS / 1000)
            stored = await _await_answer(self.answers.find(self.owner, self.name))
            if stored is not None and stored.result is not BodyResult.UNKNOWN:
                return stored
        return first

    async def _ask_again(self, first: FirstBody, origin_id: str) -> FirstBody:
        """Processes this body, which has the same events, as another message with the origin of the first one.

        So it makes the same rows and gets a reply; the reconciliation counts the second message as merged.
        """
        message = replace(
            self.message,
            identity=fresh_salt().hex(),
            origin_id=origin_id,
            received_at_ns=first.received_at_ns,
            wants_sync=True,
        )
        delivered = await self.steps.delivery.deliver(self.request, self.grant, self.body, message)
        tally = await self.steps.delivery.wait_for_counts(delivered)
        if tally is None:
            return first
        result = replace(first, result=result_of(tally))
        with suppress(Unavailable):
            await self.answers.mark(self.owner, self.name, result)
        return result

    def _without_rows(self, origin_id: str) -> Refused:
        detail = f"event {_id_of(self.grant, origin_id)} did not become a row; the view dead_letters has the reason"
        return Refused(422, f"{detail}; send it corrected", is_counted=True)


async def _await_answer(answer: Awaitable[T]) -> T:
    try:
        return await answer
    except PublishError as error:
        raise Refused(
            503,
            f"the broker does not answer ({error.reason}); send the same again",
            retry_after_s=error.retry_after_s,
        ) from error


def _check_confirmed(steps: RequestSteps, tally: Tally | None, event_id: str) -> None:
    """Raises Refused (422, 504)."""
    if tally is None:
        raise _not_confirmed(steps, event_id)
    if not tally.stored or tally.rejected:
        raise Refused(422, f"sync: event {event_id} did not become a row: {tally.message}", is_counted=True)


def _not_confirmed(steps: RequestSteps, event_id: str) -> Refused:
    return Refused(
        504,
        f"sync: stored as event {event_id}, its row not seen within {steps.settings.sync_wait_ms} ms; "
        "it will come. Ask again with the same Idempotency-Key; without one it would be a second event",
        is_counted=True,
    )


def _id_of(grant: Grant, origin_id: str) -> str:
    return native_event.id_text(native_event.event_id(grant.channel.id, origin_id))
