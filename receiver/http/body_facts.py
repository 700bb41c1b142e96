"""Reads the few facts of a body that a receiver needs for its answer, such as an event's id.

Runs in the receiver for small bodies and in reader_process.py for large ones, with the same functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

from schemas import native_event
from schemas.crash.upload_form import crash_id
from schemas.envelope.body import parse_event_id
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

    `size_bytes` is the event's size after base64 and zlib are undone, 0 if it is no event.
    """

    event_id: str | None
    is_fresh: bool
    is_complete: bool = True
    size_bytes: int = 0


class Unreadable(ValueError):
    """The endpoint does not accept such a body; the text says what was expected and found."""


def submission(inflated: bytes, *, is_batch: bool, wants_fingerprint: bool) -> SubmissionFacts:
    """The facts for `POST /event` and `/event/batch`. Raises Unreadable."""
    try:
        parsed = native_event.read_submission(loads(inflated), is_batch=is_batch)
    except BadEvent as error:
        raise Unreadable(error.detail) from error
    except ValueError as error:
        raise Unreadable(f"body: expected a JSON object, found {error}") from error
    return SubmissionFacts(
        events=[EventFacts(event.identifier, event.dedup_key) for event in parsed.events],
        channel=parsed.channel,
        environment=parsed.environment,
        wants_sync=parsed.wants_sync,
        dedup_key=parsed.dedup_key,
        has_numeric_ids=parsed.has_numeric_ids,
        is_batch=parsed.is_batch,
        has_sync="sync" in parsed.events[0].fields,
        fingerprint=native_event.fingerprint(parsed.events).hex() if wants_fingerprint or parsed.dedup_key else "",
    )


def store(inflated: bytes, limit_bytes: int) -> StoreFacts:
    """The facts for `/store`, of a body in any of its forms. The event may have `limit_bytes`.

    Two events with neither id nor time can have equal bytes and still be two events.
    """
    try:
        text = event_text(inflated, limit_bytes)
    except StoreBodyTooLarge:
        return StoreFacts(None, is_fresh=False, is_complete=False)
    except ValueError:
        return StoreFacts(None, is_fresh=False)
    identifier, is_fresh = _event_identity(text)
    return StoreFacts(identifier, is_fresh, size_bytes=len(text))


def _event_identity(text: bytes) -> tuple[str | None, bool]:
    """(id, whether it has neither id nor time) of an event's JSON."""
    try:
        event = orjson.loads(text)
    except ValueError:
        return None, False
    if not isinstance(event, Mapping):
        return None, False
    identifier = event.get("event_id")
    is_fresh = not (identifier or event.get("timestamp"))
    return parse_event_id(identifier) if isinstance(identifier, str) else None, is_fresh


def read(kind: str, arguments: dict[str, Any], inflated: bytes) -> Any:
    """The facts of one kind as plain values, to send them between processes. Raises Unreadable."""
    if kind == NATIVE:
        events, *rest = submission(inflated, **arguments)
        return [[tuple(event) for event in events], *rest]
    if kind == STORE:
        return tuple(store(inflated, **arguments))
    return crash_id(inflated, **arguments)


def submission_of(plain: list[Any]) -> SubmissionFacts:
    """SubmissionFacts from the plain values of `read`."""
    events, *rest = plain
    return SubmissionFacts([EventFacts(*event) for event in events], *rest)
