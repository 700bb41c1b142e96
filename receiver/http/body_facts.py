"""What the receiver has to know of a body's content: facts for its answer, and none of the content itself.

Runs in the receiver for small bodies and in reader_process.py for large ones, with the same functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

from schemas import native_event
from schemas.crash.upload_form import crash_id
from schemas.envelope.body import event_id
from schemas.envelope.store_body import StoreBodyTooLarge, event_text
from schemas.native_event import BadEvent
from schemas.tolerant_json import loads

NATIVE: Final = "native"
STORE: Final = "store"
CRASH: Final = "crash"


class EventFacts(NamedTuple):
    """One event of a submission."""

    identifier: str
    dedup_key: str


class SubmissionFacts(NamedTuple):
    """One request with native events, all of them valid. Fields as in schemas.native_event.Submission.

    `has_sync` says that the first event names `sync` at all; `fingerprint` is hexadecimal, '' where no idempotency key
    asks for it.
    """

    events: list[EventFacts]
    channel: str
    environment: str
    wants_sync: bool
    dedup_key: str
    has_numeric_ids: bool
    is_batch: bool
    has_sync: bool
    fingerprint: str


class StoreFacts(NamedTuple):
    """The id of an event, None without one; whether equal bytes may be another event; whether it could be read.

    `size_bytes` is the event's size once everything it was packed in is undone, 0 for what is none.
    """

    event_id: str | None
    is_fresh: bool
    is_complete: bool = True
    size_bytes: int = 0


class Unreadable(ValueError):
    """The body is not what its endpoint takes; the text says what was expected and found."""


def submission(inflated: bytes, *, is_batch: bool, wants_fingerprint: bool) -> SubmissionFacts:
    """What `POST /event` and `/event/batch` need to know. Raises Unreadable."""
    try:
        found = native_event.read_submission(loads(inflated), is_batch=is_batch)
    except BadEvent as error:
        raise Unreadable(error.detail) from error
    except ValueError as error:
        raise Unreadable(f"body: expected a JSON object, found {error}") from error
    return SubmissionFacts(
        events=[EventFacts(one.identifier, one.dedup_key) for one in found.events],
        channel=found.channel,
        environment=found.environment,
        wants_sync=found.wants_sync,
        dedup_key=found.dedup_key,
        has_numeric_ids=found.has_numeric_ids,
        is_batch=found.is_batch,
        has_sync="sync" in found.events[0].fields,
        fingerprint=native_event.fingerprint(found.events).hex() if wants_fingerprint or found.dedup_key else "",
    )


def store(inflated: bytes, limit_bytes: int) -> StoreFacts:
    """What `/store` needs to know of a body in any of its forms, whose event may have `limit_bytes`.

    An event with neither id nor time may honestly come twice with equal bytes.
    """
    try:
        text = event_text(inflated, limit_bytes)
    except StoreBodyTooLarge:
        return StoreFacts(None, is_fresh=False, is_complete=False)
    except ValueError:
        return StoreFacts(None, is_fresh=False)
    found, is_fresh = _event_identity(text)
    return StoreFacts(found, is_fresh, size_bytes=len(text))


def _event_identity(text: bytes) -> tuple[str | None, bool]:
    """(id, whether it has neither id nor time) of an event's JSON."""
    try:
        event = orjson.loads(text)
    except ValueError:
        return None, False
    if not isinstance(event, Mapping):
        return None, False
    found = event.get("event_id")
    is_fresh = not (found or event.get("timestamp"))
    return event_id(found) if isinstance(found, str) else None, is_fresh


def read(kind: str, told: dict[str, Any], inflated: bytes) -> Any:
    """The facts of one kind as plain values, for the way between two processes. Raises Unreadable."""
    if kind == NATIVE:
        events, *rest = submission(inflated, **told)
        return [[tuple(one) for one in events], *rest]
    if kind == STORE:
        return tuple(store(inflated, **told))
    return crash_id(inflated, **told)


def submission_of(plain: list[Any]) -> SubmissionFacts:
    """The reverse of what a SubmissionFacts becomes on that way."""
    events, *rest = plain
    return SubmissionFacts([EventFacts(*one) for one in events], *rest)
