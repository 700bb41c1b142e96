"""The one event of the legacy store endpoint: JSON, or base64 of JSON or of deflated JSON."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import orjson

from schemas import envelope
from schemas.headers import Origin
from schemas.tolerant_json import loads
from workers.normalise.verdict import Invalid
from workers.split.pieces import Split, inflate


def read(body: bytes, _origin: Origin, limit_bytes: int) -> Split:
    """The event as an envelope of one item. Raises Invalid."""
    text = _legacy_json(body, limit_bytes)
    try:
        event = loads(text)
    except ValueError as error:
        raise Invalid(f"store body: expected one event as a JSON object, found {error}; send valid JSON") from error
    if not isinstance(event, dict):
        kind = type(event).__name__
        raise Invalid(f"store body: expected one event as a JSON object, found {kind}; send one object")
    worker = "transaction" if event.get("type") == "transaction" else "event"
    header = orjson.dumps(_header(event))
    return Split(items=[(0, worker, envelope.write_single(header, {"type": worker}, text))])


def _header(event: dict[str, Any]) -> dict[str, str]:
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
    return inflate(raw, "deflate", limit_bytes)
