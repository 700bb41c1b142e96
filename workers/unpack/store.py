"""Makes one item of a body of the legacy store endpoint. schemas.envelope.store_body knows its forms."""

from __future__ import annotations

from typing import Any

import orjson

from schemas.envelope import body as envelope
from schemas.envelope.store_body import StoreBodyError, event_text
from schemas.headers import Origin
from schemas.tolerant_json import loads
from workers.normalise.verdict import Invalid
from workers.unpack.pieces import Split


def read(body: bytes, _origin: Origin, limit_bytes: int) -> Split:
    """The event as an envelope of one item. Raises Invalid."""
    try:
        text = event_text(body, limit_bytes)
        event = loads(text)
    except StoreBodyError as error:
        raise Invalid(f"store body: {error}") from error
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
    identifier = envelope.parse_event_id(given.strip()) if isinstance(given, str) else None
    if identifier is None:
        raise Invalid("store body: expected a UUID as event_id, found something else; send 32 hex digits or none")
    return {"event_id": identifier}
