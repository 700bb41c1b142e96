"""unpack: a Sentry body in, one message per item out. What an item's payload means is its own worker's business."""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from schemas import encodings, envelope, headers, subjects
from schemas.counts import Counts
from schemas.headers import Origin
from schemas.tolerant_json import loads
from workers import counts, metrics
from workers.counts import Outcome, Replies
from workers.letters import Dead, Entry, Letter
from workers.normalise.verdict import Invalid
from workers.publish import Parcel, Publisher

UNSUPPORTED: Final = "unsupported_item_type"
UNKNOWN_ROUTE: Final = "unknown_route"
MAX_TYPE_LENGTH: Final = 40

_ENVELOPE_MEDIA_TYPE: Final = "application/x-sentry-envelope"
_NOT_A_WORD: Final = re.compile(r"[^A-Za-z0-9_.-]")
_ITEM_WORKERS: Final = frozenset(
    source.worker for source in subjects.SOURCES.values() if source.stream == subjects.ITEMS
)


# Item types that another type's worker reads; the item's own header keeps its type.
_WORKER_OF: Final = {"sessions": "session", "user_report": "feedback", "minidump": "attachment"}


@dataclass(slots=True)
class Split:
    """One body taken apart: (place of the item, worker, one-item envelope), and how many of which type are dropped."""

    items: list[tuple[int, str, bytes]] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


def split_envelope(body: bytes) -> Split:
    """The items of a Sentry envelope (Sentry envelope specification). Raises Invalid."""
    try:
        header, items = envelope.read(body)
    except envelope.EnvelopeError as error:
        raise Invalid(str(error)) from error
    line = _without_key(header)
    found = Split()
    for item in items:
        worker = _WORKER_OF.get(item.type, item.type)
        if worker in _ITEM_WORKERS:
            found.items.append((item.index, worker, envelope.write_single(line, item.header, item.payload)))
        else:
            found.dropped[_word(item.type)] += 1
    return found


def split_store(body: bytes, limit_bytes: int) -> Split:
    """The one event of the legacy store endpoint: JSON, or base64 of JSON or of deflated JSON. Raises Invalid."""
    text = _legacy_json(body, limit_bytes)
    try:
        event = loads(text)
    except ValueError as error:
        raise Invalid(f"store body: expected one event as a JSON object, found {error}; send valid JSON") from error
    if not isinstance(event, dict):
        kind = type(event).__name__
        raise Invalid(f"store body: expected one event as a JSON object, found {kind}; send one object")
    worker = "transaction" if event.get("type") == "transaction" else "event"
    header = orjson.dumps(_store_header(event))
    return Split(items=[(0, worker, envelope.write_single(header, {"type": worker}, text))])


def _without_key(header: envelope.EnvelopeHeader) -> bytes:
    """The header line; a `dsn` in it holds the key, which must not travel on into tables."""
    if header.dsn is None:
        return header.raw
    fields = loads(header.raw)
    fields.pop("dsn", None)
    return orjson.dumps(fields)


def _store_header(event: dict[str, Any]) -> dict[str, str]:
    given = event.get("event_id")
    if given is None:
        return {}
    identifier = envelope.event_id(given.strip()) if isinstance(given, str) else None
    if identifier is None:
        raise Invalid("store body: expected a UUID as event_id, found something else; send 32 hex digits or none")
    return {"event_id": identifier}


def _legacy_json(body: bytes, limit_bytes: int) -> bytes:
    """Undoes what old SDKs did before they sent Content-Encoding."""
    text = body.strip()
    if not text:
        raise Invalid("store body: expected one event as a JSON object, found an empty body; send the event")
    if text[:1] == b"{" or text[:4] == b"\xef\xbb\xbf{":
        return text
    try:
        raw = base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error as error:
        raise Invalid("store body: expected {, or base64 of an event, found neither; send JSON") from error
    if raw.lstrip()[:1] == b"{":
        return raw
    return _inflate(raw, "deflate", limit_bytes)


def _inflate(body: bytes, encoding: str, limit_bytes: int) -> bytes:
    try:
        return encodings.inflate(body, encodings.normalise_encoding(encoding), limit_bytes)
    except (encodings.CorruptBody, encodings.TooLarge, encodings.UnsupportedEncoding) as error:
        raise Invalid(str(error)) from error


def _word(item_type: str) -> str:
    """A type as it may stand in a reason and in a column of few values: bounded and plain."""
    return _NOT_A_WORD.sub("?", item_type[:MAX_TYPE_LENGTH]) or "?"


class Unpack:
    """The work of the unpack worker: split, reply, publish the items, then settle the body."""

    def __init__(self, publisher: Publisher, replies: Replies, max_body_bytes: int) -> None:
        self._publisher = publisher
        self._replies = replies
        self._max_body_bytes = max_body_bytes
        self._routes: dict[str, Callable[[bytes], Split]] = {
            subjects.SENTRY_ENVELOPE: split_envelope,
            subjects.SENTRY_STORE: lambda body: split_store(body, max_body_bytes),
        }

    async def __call__(self, letter: Letter, origin: Origin) -> Entry:
        """Returns when the broker holds every item; the entry then waits for the outcomes of what was dropped."""
        route = subjects.route_of(letter.subject)
        if origin.content_type.startswith(_ENVELOPE_MEDIA_TYPE) and route == subjects.SENTRY_STORE:
            route = subjects.SENTRY_ENVELOPE
        if route not in self._routes:
            return await self._unknown(letter, origin, route)
        body = _inflate(letter.body, origin.content_encoding, self._max_body_bytes)
        split = self._routes[route](body)
        entry = Entry(letter, origin, outcomes=_dropped_rows(origin, split))
        await self._replies.send(entry, _counts(split))
        await self._publisher.publish([self._parcel(letter, origin, item) for item in split.items])
        for _, worker, _ in split.items:
            metrics.ITEMS.labels(worker).inc()
        return entry

    def _parcel(self, letter: Letter, origin: Origin, item: tuple[int, str, bytes]) -> Parcel:
        index, worker, body = item
        item_headers = headers.for_item(letter.headers, origin, index)
        item_headers.pop("Content-Encoding", None)
        return Parcel(subjects.item(worker, origin.channel_id), body, item_headers)

    async def _unknown(self, letter: Letter, origin: Origin, route: str) -> Entry:
        error = f"expected one of {', '.join(sorted(self._routes))}, found {_word(route)}; upgrade the workers"
        row = counts.outcome_row(origin, subjects.UNPACK, Outcome(counts.DEAD, UNKNOWN_ROUTE, _word(route)))
        entry = Entry(letter, origin, outcomes=[row], dead=Dead(UNKNOWN_ROUTE, error))
        await self._replies.send(entry, Counts(stage=subjects.UNPACK, expect=0, rejected=1, reasons=[UNKNOWN_ROUTE]))
        return entry


def _dropped_rows(origin: Origin, split: Split) -> list[tuple[object, ...]]:
    return [
        counts.outcome_row(origin, subjects.UNPACK, Outcome(counts.DROPPED, f"{UNSUPPORTED}:{name}", name, quantity))
        for name, quantity in split.dropped.items()
    ]


def _counts(split: Split) -> Counts:
    return Counts(
        stage=subjects.UNPACK,
        expect=len(split.items),
        rejected=split.dropped.total(),
        reasons=[f"{UNSUPPORTED}:{name}" for name in split.dropped],
    )
