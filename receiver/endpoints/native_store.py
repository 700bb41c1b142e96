"""Stores native events: each on its own, or once under its idempotency key, and waits for the row if asked to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from receiver.admission.auth import Grant
from receiver.delivery.counts import Tally, Ticket
from receiver.delivery.fates import FOLLOW_S, fate_of
from receiver.delivery.idempotency import Fate, First, FirstAnswers, RecordOwner
from receiver.delivery.publish import PublishError, Unavailable, fresh_salt
from receiver.delivery.steps import Delivered, Delivery, RequestSteps
from receiver.http.answers import Refused
from receiver.http.body import Body
from receiver.http.body_facts import SubmissionFacts
from receiver.http.request import Request
from schemas import native_event, subjects
from schemas.key_masking import mask_keys_in
from schemas.native_event import MAX_IDEMPOTENCY_KEY_LENGTH

IDEMPOTENCY_HEADER: Final = "idempotency-key"
JSON: Final = "application/json"
T = TypeVar("T")
_EXPECTED_COUNTS: Final = 1  # one worker reads the whole body
# Answers after which nobody will store the body: malformed, too large.
_NEVER_STORED: Final = frozenset({400, 413})
# Between two looks at what another request under the key has come to.
_LOOK_MS: Final = 50
_NS_PER_S: Final = 10**9


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """An idempotency key. `is_strict`: a repeat has to say the same as the first."""

    text: str
    is_strict: bool


@dataclass(frozen=True, slots=True)
class Taken:
    """A body that is stored: what its answer says. `identifier` is '' where that of the body counts."""

    origin_id: str
    received_at_ns: int
    environment: str
    identifier: str = ""
    key: str = ""
    is_repeat: bool = False


def idempotency_key(request: Request, submission: SubmissionFacts) -> IdempotencyKey | None:
    """The key of the header, else the event's `dedupKey`, None without either. Raises Refused (400).

    Two events with one `dedupKey` are one event, whatever else they say: that is what the sender uses it for.
    """
    text = request.headers.get(IDEMPOTENCY_HEADER, "").strip()
    if len(text) > MAX_IDEMPOTENCY_KEY_LENGTH:
        raise Refused(
            400, f"Idempotency-Key: expected at most {MAX_IDEMPOTENCY_KEY_LENGTH} characters, found {len(text)}"
        )
    if text:
        return IdempotencyKey(text, is_strict=True)
    return IdempotencyKey(submission.dedup_key, is_strict=False) if submission.dedup_key else None


async def take(steps: RequestSteps, request: Request, grant: Grant, body: Body, submission: SubmissionFacts) -> Taken:
    """Returns once the body is stored, or was; with `sync`, once its rows are in ClickHouse.

    Raises Refused: 413 and 503 as for every body, 400 for a key that is none, 422 for one that was used for something
    else or a row that ClickHouse will not take, 504 where the body is stored and its rows could not be confirmed.
    """
    key = idempotency_key(request, submission)
    delivery = Delivery(
        route=subjects.NATIVE_EVENT,
        content_type=JSON,
        counts_wait_ms=steps.settings.sync_wait_ms if submission.wants_sync else 0,
        expected=_EXPECTED_COUNTS,
        wants_sync=submission.wants_sync,
        resource=native_event.BATCH if submission.is_batch else "",
        received_at_ns=steps.clock_ns(),
    )
    if key is not None:
        if steps.first_answers is None:
            raise Refused(503, "idempotency keys are not kept here; send the same without one")
        owner = RecordOwner.of(grant.key)
        name = native_event.key_name(grant.channel.id, owner.key_class, grant.environment, key.text)
        return await _Keyed(steps, request, grant, body, submission, delivery, steps.first_answers, owner, name).take(
            key
        )
    # Without a key, equal bytes are two events.
    salted = replace(delivery, salt=fresh_salt())
    delivered = await steps.store(request, grant, body, salted)
    taken = Taken(delivered.message_id, delivery.received_at_ns, grant.environment)
    if submission.wants_sync:
        _check_confirmed(steps, delivered.tally, _id_of(grant, taken.origin_id))
    return taken


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
    delivery: Delivery
    answers: FirstAnswers
    owner: RecordOwner
    name: bytes

    async def take(self, key: IdempotencyKey) -> Taken:
        """The first answer to the key, whichever receiver gave it."""
        mine = self._first(key)
        found = await self._claimed(mine)
        if found is not None and key.is_strict and found.fingerprint != mine.fingerprint:
            raise Refused(422, "Idempotency-Key: used before for another event; expected the same or a new key")
        first = found or mine
        origin_id = native_event.keyed_id(self.name, first.fingerprint)
        waited = None
        if not first.seq:
            first, waited = await self._store(first, origin_id, is_mine=found is None)
        if self.submission.wants_sync:
            says_the_same = first.fingerprint == mine.fingerprint
            await self._confirm(first, waited, origin_id, says_the_same=says_the_same)
        elif first.fate is Fate.REFUSED:
            raise self._without_rows(origin_id)
        is_repeat = found is not None
        return Taken(
            origin_id, first.received_at_ns, self.grant.environment, first.identifier, key.text, is_repeat=is_repeat
        )

    def _first(self, key: IdempotencyKey) -> First:
        events = self.submission.events
        is_named = not key.is_strict and not self.submission.is_batch
        return First(
            received_at_ns=self.delivery.received_at_ns,
            fingerprint=bytes.fromhex(self.submission.fingerprint),
            identifier=mask_keys_in(events[0].identifier) if is_named else "",
        )

    async def _claimed(self, mine: First) -> First | None:
        """None if the key is `mine` now. One whose event was refused is free for any other event."""
        found = await _asked(self.answers.claim(self.owner, self.name, mine))
        if found is None or found.fate is not Fate.REFUSED or found.fingerprint == mine.fingerprint:
            return found
        await _asked(self.answers.release(self.owner, self.name, found))
        return await _asked(self.answers.claim(self.owner, self.name, mine))

    async def _store(self, first: First, origin_id: str, *, is_mine: bool) -> tuple[First, _Waited | None]:
        """Stores the body unless the broker has it already; id and time are the first's, and so is the row."""
        ticket = self._ticket()
        followed = False
        try:
            delivered = await self._deliver(first, origin_id, ticket, is_mine=is_mine)
            first = replace(first, seq=delivered.seq)
            if delivered.duplicate:  # the request that stored it notes it, too
                return first, None
            tally = await self._reply(ticket)
            first = replace(first, fate=fate_of(tally) if tally else Fate.UNKNOWN)
            with suppress(Unavailable):  # a repeat will store it again then, as the same message
                await self.answers.mark(self.owner, self.name, first)
            if tally is None and ticket is not None:
                followed = True
                self.steps.fates.follow(self.steps.inbox, ticket, self.answers, (self.owner, self.name, first))
            return first, _Waited(tally)
        finally:
            if not followed:
                self.steps.inbox.close(ticket)

    def _ticket(self) -> Ticket | None:
        """For the worker's reply, which comes after the insert; None where nobody could wait for it."""
        is_asking = not self.submission.wants_sync or self.steps.inbox.allows(self.delivery.route)
        return self.steps.inbox.open_ticket(_EXPECTED_COUNTS) if is_asking and not self.steps.fates.is_full else None

    async def _deliver(self, first: First, origin_id: str, ticket: Ticket | None, *, is_mine: bool) -> Delivered:
        """Raises Refused; a body that will never be stored leaves its key free for a corrected one."""
        delivery = replace(
            self.delivery, identity=origin_id, received_at_ns=first.received_at_ns, wants_sync=True, ticket=ticket
        )
        try:
            return await self.steps.store(self.request, self.grant, self.body, replace(delivery, counts_wait_ms=0))
        except Refused as refused:
            if is_mine and refused.status in _NEVER_STORED:
                with suppress(Unavailable):
                    await self.answers.release(self.owner, self.name, first)
            raise

    async def _reply(self, ticket: Ticket | None) -> Tally | None:
        """The reply to the body just stored, None if it is not there yet."""
        if ticket is None:
            return None
        if self.submission.wants_sync:
            return await self.steps.inbox.wait_kept(self.delivery.route, ticket, self.delivery.counts_wait_ms)
        return ticket.future.result() if ticket.future.done() else None

    async def _confirm(self, first: First, waited: _Waited | None, origin_id: str, *, says_the_same: bool) -> None:
        """Returns once the rows are known to be in ClickHouse. Raises Refused (422, 504)."""
        event_id = _id_of(self.grant, origin_id)
        if waited is not None:
            _check_confirmed(self.steps, waited.tally, event_id)
            return
        is_left_alone = self.steps.clock_ns() - first.received_at_ns > FOLLOW_S * _NS_PER_S
        if first.fate is Fate.UNKNOWN and is_left_alone and says_the_same:
            first = await self._ask_again(first, origin_id)
        elif first.fate is Fate.UNKNOWN:
            first = await self._look(first)
        if first.fate is Fate.UNKNOWN:
            raise _not_confirmed(self.steps, event_id)
        if first.fate is not Fate.ROWS:
            raise self._without_rows(origin_id)

    async def _look(self, first: First) -> First:
        """Waits until whoever stored the body has noted what became of it, as long as for a reply."""
        looks = self.delivery.counts_wait_ms // _LOOK_MS if self.steps.inbox.allows(self.delivery.route) else 0
        for _ in range(looks):
            await asyncio.sleep(_LOOK_MS / 1000)
            found = await _asked(self.answers.find(self.owner, self.name))
            if found is not None and found.fate is not Fate.UNKNOWN:
                return found
        return first

    async def _ask_again(self, first: First, origin_id: str) -> First:
        """Has this body, which says the same, processed as a further message of the first one's origin.

        So it makes the same rows and gets a reply; the reconciliation counts the further message as one that was
        merged.
        """
        again = replace(
            self.delivery,
            identity=fresh_salt().hex(),
            origin_id=origin_id,
            received_at_ns=first.received_at_ns,
            wants_sync=True,
        )
        tally = (await self.steps.store(self.request, self.grant, self.body, again)).tally
        if tally is None:
            return first
        known = replace(first, fate=fate_of(tally))
        with suppress(Unavailable):
            await self.answers.mark(self.owner, self.name, known)
        return known

    def _without_rows(self, origin_id: str) -> Refused:
        told = f"event {_id_of(self.grant, origin_id)} did not become a row; the view dead_letters has the reason"
        return Refused(422, f"{told}; send it corrected")


async def _asked(answer: Awaitable[T]) -> T:
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
        raise Refused(422, f"sync: event {event_id} did not become a row: {tally.message}")


def _not_confirmed(steps: RequestSteps, event_id: str) -> Refused:
    return Refused(
        504,
        f"sync: stored as event {event_id}, its row not seen within {steps.settings.sync_wait_ms} ms; "
        "it will come. Ask again with the same Idempotency-Key; without one it would be a second event",
    )


def _id_of(grant: Grant, origin_id: str) -> str:
    return native_event.id_text(native_event.event_id(grant.channel.id, origin_id))
