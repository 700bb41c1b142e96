"""Stores native events: each on its own, or once under its idempotency key, and waits for the row if asked to."""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from receiver.answers import Refused
from receiver.auth import Grant
from receiver.body import Body
from receiver.body_facts import SubmissionFacts
from receiver.counts import Tally
from receiver.door import Delivery, Door
from receiver.idempotency import First, FirstAnswers
from receiver.publish import PublishError, Unavailable, fresh_salt
from receiver.request import Request
from schemas import headers, native, subjects
from schemas.key_masking import mask_keys_in
from schemas.native import MAX_IDEMPOTENCY_KEY_LENGTH

IDEMPOTENCY_HEADER: Final = "idempotency-key"
JSON: Final = "application/json"
T = TypeVar("T")
# How the broker was asked to store it is not asked again: a batch of concurrent requests, say.
_BROKER_PREFIX: Final = "Nats-"
_EXPECTED_COUNTS: Final = 1  # one worker reads the whole body


@dataclass(frozen=True, slots=True)
class Key:
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


def idempotency_key(request: Request, submission: SubmissionFacts) -> Key | None:
    """The key of the header, else the event's `dedupKey`, None without either. Raises Refused (400).

    Two events with one `dedupKey` are one event, whatever else they say: that is what the sender uses it for.
    """
    text = request.headers.get(IDEMPOTENCY_HEADER, "").strip()
    if len(text) > MAX_IDEMPOTENCY_KEY_LENGTH:
        raise Refused(
            400, f"Idempotency-Key: expected at most {MAX_IDEMPOTENCY_KEY_LENGTH} characters, found {len(text)}"
        )
    if text:
        return Key(text, is_strict=True)
    return Key(submission.dedup_key, is_strict=False) if submission.dedup_key else None


async def take(door: Door, request: Request, grant: Grant, body: Body, submission: SubmissionFacts) -> Taken:
    """Returns once the body is stored, or was; with `sync`, once its rows are in ClickHouse.

    Raises Refused: 413 and 503 as for every body, 400 for a key that is none, 422 for one that was used for something
    else or a row that ClickHouse will not take, 504 where the body is stored and its rows could not be confirmed.
    """
    key = idempotency_key(request, submission)
    delivery = Delivery(
        route=subjects.NATIVE_EVENT,
        content_type=JSON,
        counts_wait_ms=door.settings.sync_wait_ms if submission.wants_sync else 0,
        expected=_EXPECTED_COUNTS,
        wants_sync=submission.wants_sync,
        resource=native.BATCH if submission.is_batch else "",
        received_at_ns=door.clock_ns(),
    )
    if key is not None:
        return await _Keyed(door, request, grant, body, submission, delivery).take(key)
    # Without a key, equal bytes are two events.
    salted = replace(delivery, salt=fresh_salt())
    delivered = await door.store(request, grant, body, salted)
    taken = Taken(delivered.message_id, delivery.received_at_ns, grant.environment)
    if submission.wants_sync:
        _check_confirmed(door, delivered.tally, _id_of(grant, taken.origin_id))
    return taken


@dataclass(frozen=True, slots=True)
class _Keyed:
    """One request under an idempotency key."""

    door: Door
    request: Request
    grant: Grant
    body: Body
    submission: SubmissionFacts
    delivery: Delivery

    async def take(self, key: Key) -> Taken:
        """The first answer to the key, whichever receiver gave it."""
        answers = self._answers()
        name = native.keyed_id(self.grant.channel.id, key.text)
        mine = self._first()
        found = await _asked(answers.claim(name, mine))
        if found is not None and key.is_strict and found.fingerprint != mine.fingerprint:
            raise Refused(422, "Idempotency-Key: used before for another event; expected the same or a new key")
        await self._ensure_stored(answers, name, found or mine)
        first = found or mine
        return Taken(name, first.received_at_ns, first.environment, first.identifier, key.text, found is not None)

    def _answers(self) -> FirstAnswers:
        if self.door.first_answers is None:
            raise Refused(503, "idempotency keys are not kept here; send the same without one")
        return self.door.first_answers

    def _first(self) -> First:
        events = self.submission.events
        return First(
            received_at_ns=self.delivery.received_at_ns,
            environment=self.grant.environment,
            identifier="" if self.submission.is_batch else mask_keys_in(events[0].identifier),
            fingerprint=self.submission.fingerprint,
        )

    async def _ensure_stored(self, answers: FirstAnswers, name: str, first: First) -> None:
        """Stores the body unless that is known to have happened; id and time are the first's, and so is the row."""
        seq, tally = first.seq, None
        if seq is None:
            delivery = replace(self.delivery, identity=name, received_at_ns=first.received_at_ns)
            grant = replace(self.grant, environment=first.environment)
            delivered = await self.door.store(self.request, grant, self.body, delivery)
            seq, tally = delivered.seq, delivered.tally
            with suppress(Unavailable):  # a repeat will store it again then, as the same message
                await answers.mark(name, replace(first, seq=seq))
            is_asked = not delivered.duplicate
        else:
            is_asked = False
        if self.submission.wants_sync:
            if not is_asked:
                tally = await self._ask_again(answers, name, seq)
            _check_confirmed(self.door, tally, _id_of(self.grant, name))

    async def _ask_again(self, answers: FirstAnswers, name: str, seq: int) -> Tally | None:
        """The counts of a body that is stored already: the same bytes once more, as a message of the same origin.

        So they make the same rows; the books count the second message as one that was merged.
        """
        kept = await _asked(answers.kept(seq))
        wait_ms = self.delivery.counts_wait_ms
        ticket = self.door.inbox.ticket(self.delivery.route, wait_ms, _EXPECTED_COUNTS)
        if kept is None or ticket is None:
            self.door.inbox.close(ticket)
            return None
        told = {
            **{told: text for told, text in kept.headers.items() if not told.startswith(_BROKER_PREFIX)},
            headers.MESSAGE_ID: fresh_salt().hex(),
            headers.ORIGIN_ID: name,
            headers.COUNTS_TO: ticket.reply_to,
            "Sync": "1",
        }
        try:
            subject = subjects.raw(self.delivery.route, self.grant.channel.id)
            await _asked(self.door.publisher.publish(subject, kept.body, told))
            return await self.door.inbox.wait(self.delivery.route, ticket, wait_ms)
        finally:
            self.door.inbox.close(ticket)


async def _asked(answer: Awaitable[T]) -> T:
    try:
        return await answer
    except PublishError as error:
        raise Refused(
            503,
            f"the broker does not answer ({error.reason}); send the same again",
            retry_after_s=error.retry_after_s,
        ) from error


def _check_confirmed(door: Door, tally: Tally | None, event_id: str) -> None:
    """Raises Refused (422, 504)."""
    if tally is None:
        raise Refused(
            504,
            f"sync: stored as event {event_id}, its row not seen within {door.settings.sync_wait_ms} ms; it will come. "
            "Ask again with the same Idempotency-Key; without one it would be a second event",
        )
    if not tally.stored or tally.rejected:
        raise Refused(422, f"sync: event {event_id} did not become a row: {tally.message}")


def _id_of(grant: Grant, origin_id: str) -> str:
    return native.id_text(native.event_id(grant.channel.id, origin_id))
